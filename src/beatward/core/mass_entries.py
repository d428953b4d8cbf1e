"""What the journal and people are told of a mass failure: its begin, what was added, its end.

Route: `MassGuard.take_events -> entry of many nodes -> actions by the rules of single nodes`. A
message names the first ten and says how many there are. Not here: which nodes (`core.mass_group`).
"""

from heapq import nsmallest

import numpy as np

from beatward.core.arrays import IntArray
from beatward.core.entry import Entry, Event
from beatward.core.ledger import Ledger
from beatward.core.mass import NODES_NAMED_MAX, Hold, MassGuard
from beatward.core.mass_group import News
from beatward.core.state import State


class MassEntries:
    """Records mass failures, and hands over to all rooms what they hold back."""

    def __init__(self, state: State, ledger: Ledger, mass: MassGuard) -> None:
        self._state = state
        self._ledger = ledger
        self._mass = mass

    def take(self, now_ns: int) -> None:
        """Record what has become of mass failures since the last call."""
        self._state.note_holds(self._mass.holds)
        for hold, what, news in self._mass.take_events(now_ns):
            if what == "changed":
                self._record_changed(hold, news, now_ns)
            else:
                self._record_hold(hold, what, now_ns)

    def leave(self, slot: int, at_ns: int) -> None:
        """Record at once what was gathered of a node; call it before its name is forgotten."""
        for hold in self._mass.holds:
            self._record_changed(hold, hold.group.leave(slot, at_ns), at_ns)

    def _record_hold(self, hold: Hold, what: str, at_ns: int) -> None:
        """Record that many are dark at once, or no longer, with one alarm in place of each one's.

        what   `begun`, `over`, or `lifted` by an operator

        A rule about the dead is told that it began, and a rule about
        the living that it is over.
        """
        text, dark = hold.text(at_ns), self._mass.dark(hold)
        if what == "begun":
            text += f"{self._named(dark)}; destructive actions are held back, alarms are not"
            entry = self._record(hold, hold.cause, text, dark, at_ns=at_ns)
            self._ledger.tell_of_many(entry, dark, ("dead", "suspect"))
            return
        ended = "over" if what == "over" else "ended by an operator"
        text = f"{ended}: {hold.last_words(at_ns)}"
        entry = self._record(hold, f"{hold.cause}_over", text, dark, at_ns=at_ns)
        self._ledger.tell_of_many(entry, self._mass.scope(hold), ("alive", "recovering"))

    def _record_changed(self, hold: Hold, news: News, at_ns: int) -> None:
        """Record what became of nodes of a mass after it was told of: one alarm for all that have
        gone dark since, one for all that are back; for the rules about such a node
        alone.
        """
        if news.gone:
            slots = np.array(sorted(news.gone))
            count = "1 more node is" if len(slots) == 1 else f"{len(slots):,} more nodes are"
            text = f"{count} dead{self._named(slots)}; {hold.text(at_ns)}"
            entry = self._record(hold, f"{hold.cause}_grown", text, slots, at_ns=at_ns)
            self._ledger.tell_of_many(entry, slots, ("dead",))
        if news.back:
            slots = np.array(sorted(news.back))
            count = "1 node is" if len(slots) == 1 else f"{len(slots):,} nodes are"
            text = f"{count} back{self._named(slots)}; {hold.text(at_ns)}"
            entry = self._record(hold, f"{hold.cause}_back", text, slots, at_ns=at_ns)
            self._ledger.tell_of_many(entry, slots, ("alive", "recovering"))

    def _record(self, hold: Hold, cause: str, text: str, slots: IntArray, *, at_ns: int) -> Entry:
        return self._ledger.record(
            Event.GUARD,
            at_ns,
            cause=cause,
            explanation=text,
            detail={
                "zone": hold.zone or None,
                "dark": hold.dark,
                "total": hold.total,
                "nodes": self._first_names(slots),
                "count": len(slots),
            },
        )

    def _named(self, slots: IntArray) -> str:
        names = self._first_names(slots)
        more = len(slots) - len(names)
        return f": {', '.join(names)}{f' and {more:,} more' if more else ''}"

    def _first_names(self, slots: IntArray) -> list[str]:
        names = self._state.registry.names
        return nsmallest(NODES_NAMED_MAX, (names[slot] for slot in slots.tolist()))
