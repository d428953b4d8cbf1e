"""Asking suspects, and no more of them at once than the network is to bear.

Where thousands fall silent together, each would be asked five times within a second. So a suspect
is admitted to its probing: if the rate is used up, it gets an instant that is its place in the
queue, and its window begins there, with its first probe. So

    no node is convicted that could not be asked: without a probe no window runs;
    the node nearest to its verdict goes first: a node that was admitted is asked to the end, in
    time;
    no node waits twice: the instant is a place that no other takes.

It is the virtual scheduling algorithm of ITU-T I.371 (GCRA). One admission costs all rounds of a
window, so at most rate x spacing suspects are asked at any time; half of them may come at once, and
the others in the course of a window. After a pause of our own the places that have passed meanwhile
are given anew. Who cannot be asked at all, over HTTP for instance, has nothing to wait for.
"""

import numpy as np

from beatward.core.arrays import BoolArray, IntArray
from beatward.core.conflicts import Conflicts
from beatward.core.instants import NEVER, SECOND
from beatward.core.state import State
from beatward.core.voice import Voice


class Probing:
    """Sends probes. `put_off_count`: how many suspects had to wait for their first."""

    def __init__(self, state: State, voice: Voice, conflicts: Conflicts) -> None:
        settings = state.membership.settings
        self._registry = state.registry
        self._membership = state.membership
        self._voice = voice
        self._conflicts = conflicts
        self._window_ns = settings.window_ns
        self._spacing_ns = settings.spacing_ns
        rounds = -(-settings.window_ns // settings.spacing_ns)
        self._step_ns = max(round(2 * rounds * SECOND / settings.probes_per_second), 1)
        self._free_ns = 0
        self.put_off_count = 0

    def probe(self, slots: IntArray, now_ns: int) -> None:
        """Ask suspects (k,) whose turn it is, or give them a place to be asked later."""
        if not len(slots):
            return
        slots = slots[self._admit(slots, now_ns)]
        challenge = self._membership.challenge[slots].astype(np.int64)
        sent = self._voice.probe(slots, challenge)
        if self._conflicts.is_watching:
            self._conflicts.probe_elsewhere(slots, challenge)
        self._membership.probe(slots, now_ns, sent=sent)

    def _admit(self, slots: IntArray, now_ns: int) -> BoolArray:
        """Return who is asked now (k,); the others get a place."""
        membership = self._membership
        ends_ns = membership.window_ends_ns[slots]
        waited = ends_ns == NEVER
        in_place = waited & (membership.due_ns[slots] + self._spacing_ns >= now_ns)
        # A longer window than usual is a guard's, which knows why; it must not become shorter.
        usual = waited | (ends_ns <= now_ns + self._window_ns)
        first = np.flatnonzero((membership.probes_sent[slots] == 0) & usual & ~in_place)
        first = first[self._can_be_asked(slots[first])]
        admitted = np.ones(len(slots), np.bool_)
        if len(first):
            begin_ns = max(self._free_ns, now_ns - self._window_ns)
            place_ns = begin_ns + self._step_ns * np.arange(len(first))
            self._free_ns = begin_ns + self._step_ns * len(first)
            waits = place_ns > now_ns
            admitted[first[waits]] = False
            membership.put_off(slots[first[waits]], place_ns[waits])
            self.put_off_count += int(waits.sum())
        membership.prolong(slots[waited & admitted], now_ns)
        return admitted

    def _can_be_asked(self, slots: IntArray) -> BoolArray:
        peers = self._registry.peers
        there: BoolArray = np.any((peers.of(slots) != 0) | (peers.before(slots) != 0), axis=1)
        return there
