"""A reader's place in the journal, and whether this is the journal that it has read.

Ids grow by one, within one journal. A monitor whose journal was restored from a backup gives ids a
second time, to other events, so an id alone says nothing about what was seen. The mark of an event
does: it is made of the event itself, so it needs no room in the journal, and a copy that holds the
event holds the mark. A client that comes back with id and mark is known to have read this journal,
or another; by the id alone only a place behind the end is known to be of another.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from beatward.web.backend import Events
from beatward.web.problems import Problem, shown

# The largest id there can be; SQLite's integers end there.
ID_MAX = 2**63 - 1
_MARK_SIZE = 8
MARK_PATTERN = f"^[0-9a-f]{{{2 * _MARK_SIZE}}}$"
_PLACE = re.compile(rf"([0-9]{{1,19}})(?:-([0-9a-f]{{{2 * _MARK_SIZE}}}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Position:
    """Behind the event `after`, whose mark is `mark` where the reader has kept it; 0: the start."""

    after: int
    mark: str | None = None


def mark_of(event: Mapping[str, Any]) -> str:
    """Return what tells an event from one of another journal under the same id."""
    text = f"{event['id']} {event['at']} {event['event']} {event['node']}"
    return blake2b(text.encode(), digest_size=_MARK_SIZE).hexdigest()


def read_position(text: str) -> Position:
    """Read `ID` or `ID-MARK`, as in Last-Event-ID; raises Problem 422."""
    found = _PLACE.fullmatch(text)
    if found is None or int(found[1]) > ID_MAX:
        expected = "the id of an event, or id and mark as in 4711-0123456789abcdef"
        detail = f"Last-Event-ID: found {shown(text[:40])}, expected {expected}"
        raise Problem(422, "not-as-expected", detail)
    return Position(int(found[1]), found[2])


def why_lost(events: Events, position: Position) -> str | None:
    """Say why a position is not one of this journal; None: it is. May block on the disk."""
    if position.after == 0:
        return None
    last = events.last_sequence()
    if position.after > last:
        return (
            f"event {position.after} was read in another journal: this one ends with {last}. Was "
            "it restored from a backup?"
        )
    if position.mark is None:
        return None
    there = events.events(after=position.after - 1, limit=1, node=None, newest_first=False)
    if there and there[0]["id"] == position.after and mark_of(there[0]) == position.mark:
        return None
    return (
        f"event {position.after} was read in another journal: in this one that id is another "
        "event. Was it restored from a backup?"
    )
