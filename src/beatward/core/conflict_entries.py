"""What the journal and people are told of two processes under one name.

Route: `Conflicts.turn -> entry of the node -> actions by the rules`. Not here: how they are found
(`core.conflicts`).
"""

import numpy as np

from beatward.core.conflicts import Conflicts, Found
from beatward.core.entry import Event
from beatward.core.explanation import conflict_numbers, conflict_words
from beatward.core.ledger import Ledger
from beatward.core.state import State

# The monitor's health names at most this many conflicts.
SHOWN_MAX = 3


class ConflictEntries:
    """Records conflicts, and hands over to all rooms which are known.

    sentences   about a few of them; replaced and never changed, so any thread may keep it
    """

    def __init__(self, state: State, ledger: Ledger, conflicts: Conflicts) -> None:
        self._state = state
        self._ledger = ledger
        self._conflicts = conflicts
        self.sentences: tuple[str, ...] = ()

    def turn(self, now_ns: int) -> None:
        """Ask nodes that may be two processes under one name, and record what was found."""
        for found in self._conflicts.turn(now_ns):
            self.publish()
            self._record(found, now_ns)
        self.publish()

    def publish(self) -> None:
        """Hand over what is known by now."""
        known = self._conflicts.known
        if self._state.conflicts is known:
            return
        self._state.note_conflicts(known)
        names = self._state.registry.names
        sentences = [conflict_words(names[slot], known[slot]) for slot in sorted(known)]
        rest = len(sentences) - SHOWN_MAX
        more = [f"and two processes speak under {rest} more names"] if rest > 0 else []
        self.sentences = (*sentences[:SHOWN_MAX], *more)

    def _record(self, found: Found, now_ns: int) -> None:
        (row,) = self._ledger.node_records(np.array([found.slot]))
        text = conflict_words(row.name, found.conflict)
        if found.is_over:
            text = f"only one process speaks as {row.name} again"
        entry = self._ledger.record(
            Event.CONFLICT,
            now_ns,
            node=row.name,
            status=row.status,
            cause="one_process" if found.is_over else "two_processes",
            explanation=text,
            detail=conflict_numbers(found.conflict, now_ns),
            node_record=row,
        )
        if not found.is_over:
            self._ledger.tell_of_conflict(entry, found.slot)
