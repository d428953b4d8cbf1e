"""What the journal and people are told of a mass failure: its begin, what was added, its end.

Route: `MassGuard.take_events -> entry of many nodes -> actions by the rules of single nodes`. A
message names the first ten and says how many there are. Not here: which nodes (`core.mass_group`).
"""

from heapq import nsmallest

import numpy as np
import numpy.typing as npt

from beatward.core.entry import Entry, Event
from beatward.core.ledger import Ledger
from beatward.core.mass import NODES_NAMED_MAX, Hold
from beatward.core.mass_group import News

IntArray = npt.NDArray[np.int64]


def record_hold(ledger: Ledger, hold: Hold, what: str, at_ns: int) -> None:
    """Record that many are dark at once, or no longer, with one alarm in place of each one's.

    what   `begun`, `over`, or `lifted` by an operator

    Whoever asked to be told of the dead is told that it began, and whoever asked to be told of the
    living that it is over.
    """
    words, dark = hold.words(at_ns), ledger.mass.dark(hold)
    if what == "begun":
        words += f"{_named(ledger, dark)}; destructive actions are held back, alarms are not"
        entry = _record(ledger, hold, hold.cause, words, dark, at_ns=at_ns)
        ledger.tell_of_many(entry, dark, ("dead", "suspect"))
        return
    ended = "over" if what == "over" else "ended by an operator"
    words = f"{ended}: {hold.last_words(at_ns)}"
    entry = _record(ledger, hold, f"{hold.cause}_over", words, dark, at_ns=at_ns)
    ledger.tell_of_many(entry, ledger.mass.scope(hold), ("alive", "recovering"))


def record_changed(ledger: Ledger, hold: Hold, news: News, at_ns: int) -> None:
    """Record what became of nodes of a mass after it was told of: one alarm for all that have gone
    dark since, one for all that are back; for whoever asked to be told of such a node alone.
    """
    if news.gone:
        slots = np.array(sorted(news.gone))
        count = "1 more node is" if len(slots) == 1 else f"{len(slots):,} more nodes are"
        words = f"{count} dead{_named(ledger, slots)}; {hold.words(at_ns)}"
        entry = _record(ledger, hold, f"{hold.cause}_grown", words, slots, at_ns=at_ns)
        ledger.tell_of_many(entry, slots, ("dead",))
    if news.back:
        slots = np.array(sorted(news.back))
        count = "1 node is" if len(slots) == 1 else f"{len(slots):,} nodes are"
        words = f"{count} back{_named(ledger, slots)}; {hold.words(at_ns)}"
        entry = _record(ledger, hold, f"{hold.cause}_back", words, slots, at_ns=at_ns)
        ledger.tell_of_many(entry, slots, ("alive", "recovering"))


def record_removed(ledger: Ledger, slot: int, at_ns: int) -> None:
    """Tell at once what was gathered of a node of a mass; call it before its name is forgotten."""
    for hold in ledger.mass.holds:
        record_changed(ledger, hold, hold.group.leave(slot, at_ns), at_ns)


def _record(
    ledger: Ledger, hold: Hold, cause: str, words: str, slots: IntArray, *, at_ns: int
) -> Entry:
    return ledger.record(
        Event.GUARD,
        at_ns,
        cause=cause,
        explanation=words,
        detail={
            "zone": hold.zone or None,
            "dark": hold.dark,
            "total": hold.total,
            "nodes": _first_names(ledger, slots),
            "count": len(slots),
        },
    )


def _named(ledger: Ledger, slots: IntArray) -> str:
    names = _first_names(ledger, slots)
    more = len(slots) - len(names)
    return f": {', '.join(names)}{f' and {more:,} more' if more else ''}"


def _first_names(ledger: Ledger, slots: IntArray) -> list[str]:
    names = ledger.rooms.registry.names
    return nsmallest(NODES_NAMED_MAX, (names[slot] for slot in slots.tolist()))
