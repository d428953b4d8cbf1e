"""What people have said of nodes: paused for maintenance, an alarm acknowledged, silences.

    pause        the node: it is not judged, whatever it does
    acknowledge  one alarm: an operator knows, so it is not reported again before it is over
    silence      the messages: nodes are judged as ever, and notifications wait

Only what was said is kept, so a large fleet costs nothing here. The planned end of a maintenance is
the node's alarm clock (`core.membership`). Not here: the orders (`core.orders`).
"""

from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import NamedTuple

from beatward.core.arrays import CodeArray, IntArray
from beatward.core.entry import Acknowledgement, Maintenance, Silence
from beatward.core.instants import NEVER
from beatward.core.membership import Status

# Every notification is compared with every silence.
SILENCES_MAX = 256
_NO_LABELS: Mapping[str, str] = {}

# What can be acknowledged: an alarm is over when the node is none of these any more.
ALARMED = frozenset((Status.SUSPECT, Status.DEAD, Status.FAILING, Status.RECOVERING))
# The words of those that notifications are about; who returns is good news.
_BAD_NEWS = frozenset(("suspect", "dead", "failing"))
# Acknowledged as one of these, a death is still news.
_LESS_THAN_DEAD = frozenset(("suspect", "failing"))


class NodeNotes(NamedTuple):
    """What has been said of one node; `silence` is the one that holds its notifications longest."""

    maintenance: Maintenance | None = None
    acknowledgement: Acknowledgement | None = None
    silence: Silence | None = None


NO_NOTES = NodeNotes()


class Upkeep:
    """By slot, and silences by their ids. Public dicts are read by every room."""

    def __init__(self) -> None:
        self.maintenance: dict[int, Maintenance] = {}
        self.acknowledged: dict[int, Acknowledgement] = {}
        self.silences: dict[str, Silence] = {}

    def copy(self) -> "Upkeep":
        """Return a copy for readers in other threads."""
        twin = Upkeep()
        twin.maintenance, twin.acknowledged = self.maintenance.copy(), self.acknowledged.copy()
        twin.silences = self.silences.copy()
        return twin

    def follow(self, slots: IntArray, status: CodeArray) -> None:
        """Drop what has ended of slots (k,) whose status has changed; `status` is all nodes'."""
        if not self.maintenance and not self.acknowledged:
            return
        for slot, code in zip(slots.tolist(), status[slots].tolist(), strict=True):
            if code != Status.PAUSED:
                self.maintenance.pop(slot, None)
            if code not in ALARMED:
                self.acknowledged.pop(slot, None)

    def pause(self, slots: IntArray, maintenance: Maintenance) -> None:
        """Note that slots (k,) are paused."""
        self.maintenance.update(dict.fromkeys(slots.tolist(), maintenance))

    def resume(self, slots: IntArray, by: str) -> None:
        """Note who ends the maintenance of slots (k,); the end of their status drops it."""
        for slot in slots.tolist():
            known = self.maintenance.get(slot, Maintenance())
            self.maintenance[slot] = replace(known, ended_by=by)

    def acknowledge(self, slot: int, known: Acknowledgement) -> None:
        """Note that an alarm was acknowledged."""
        self.acknowledged[slot] = known

    def unacknowledge(self, slot: int) -> bool:
        """Take that back; return whether there was anything to take back."""
        return self.acknowledged.pop(slot, None) is not None

    def begin_silence(self, silence: Silence) -> None:
        """Hold the notifications that a silence is about."""
        self.silences[silence.id] = silence

    def end_silence(self, name: str) -> Silence | None:
        """End a silence and return it; None where there is none of that id."""
        return self.silences.pop(name, None)

    def forget(self, slot: int) -> None:
        """Drop all that was said of a node."""
        self.maintenance.pop(slot, None)
        self.acknowledged.pop(slot, None)

    def notes(self, slot: int, name: str, labels: Mapping[str, str] | None) -> NodeNotes:
        """Return all that has been said of a node."""
        silence = self.silence(name, labels) if self.silences else None
        found = NodeNotes(self.maintenance.get(slot), self.acknowledged.get(slot), silence)
        return NO_NOTES if found == NO_NOTES else found

    def knows(self, slot: int, status: str) -> Acknowledgement | None:
        """Return by what an operator already knows that a node is in a status, if so."""
        known = self.acknowledged.get(slot)
        if known is None or status not in _BAD_NEWS:
            return None
        return None if status == "dead" and known.status in _LESS_THAN_DEAD else known

    def silence(
        self, name: str, labels: Mapping[str, str] | None, *, revives: bool = False
    ) -> Silence | None:
        """Return the silence that holds notifications of a node for longest, if any.

        revives   such a one only that holds repairs too
        """
        longest = None
        for one in self.silences.values():
            if revives and not one.actions:
                continue
            is_longer = longest is None or one.until_ns > longest.until_ns
            if is_longer and covers(one, name, labels or _NO_LABELS):
                longest = one
        return longest

    def next_end_ns(self) -> int:
        """Return when the next silence ends, or NEVER."""
        if not self.silences:
            return NEVER
        return min(one.until_ns for one in self.silences.values())


def covers(silence: Silence, name: str, labels: Mapping[str, str]) -> bool:
    """Tell whether a silence is about a node."""
    return fnmatchcase(name, silence.nodes) and has_labels(labels, silence.labels)


def has_labels(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Tell whether a node with these labels has all that are wanted."""
    return all(labels.get(key) == value for key, value in wanted.items())
