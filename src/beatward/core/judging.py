"""What is not heard: alarm clocks that have rung -> suspicions, probes, verdicts.

The counterpart of `core.hearing`, in the same turn and after it. Before a node is accused, the
guards are asked whether the silence may be ours (`core.guard`, `core.mass`). Not here: when a
deadline lies (`core.detect`), and what a status leads to (`core.ledger`).
"""

from dataclasses import replace

import numpy as np

from beatward.core.arrays import BoolArray, IntArray
from beatward.core.conflicts import Conflicts
from beatward.core.entry import Event
from beatward.core.guard import DOUBTS_MAX, Guard, Stall
from beatward.core.instants import NEVER, format_duration
from beatward.core.intake import Via
from beatward.core.jobs import Jobs
from beatward.core.ledger import Ledger
from beatward.core.mass import MassGuard
from beatward.core.mass_entries import MassEntries
from beatward.core.membership import NOTHING_DUE, WATCHED, Cause, Due, Status
from beatward.core.probing import Probing
from beatward.core.registry import NO_VIA
from beatward.core.state import State
from beatward.core.voice import Voice


class Judging:
    """Judges silence at the watermark of a turn; holds nothing but what it was made with."""

    def __init__(
        self,
        state: State,
        ledger: Ledger,
        guard: Guard,
        *,
        mass: MassGuard,
        mass_entries: MassEntries,
        jobs: Jobs,
        voice: Voice,
        conflicts: Conflicts,
        start_grace_ns: int,
    ) -> None:
        self._state = state
        self._registry = state.registry
        self._membership = state.membership
        self._detector = state.detector
        self._ledger = ledger
        self._mass = mass
        self._mass_entries = mass_entries
        self._guard = guard
        self._heard_ns = 0
        self._back_ns = 0  # when a node was heard again after none was
        self._jobs = jobs
        self._voice = voice
        self.probing = Probing(state, voice, conflicts)
        self._start_grace_ns = start_grace_ns

    def judge(self, now_ns: int) -> IntArray:
        """Suspect, probe and judge the nodes whose alarm clock has rung.

        Returns the paused slots (k,) whose maintenance was planned to end by now.
        """
        if self._mass.has_events:  # an operator's word
            self._mass_entries.take(now_ns)
        due = self._membership.sweep(self._registry.count, now_ns)
        if due is NOTHING_DUE and not self._jobs and not self._guard.drops.count:
            return due.over  # as in most turns
        if self._jobs:
            due = self._judge_jobs(due, now_ns)
        if self._guard.pauses.health > 1:
            due = self._stretch(due, now_ns)
        if self._guard.drops.count:
            due = self._spare(due, now_ns)
        if len(due.silent):
            due = self._withhold(due, now_ns)
        self._ledger.record_changes(self._membership.apply(due.silent, Cause.SILENT, now_ns))
        changes = self._membership.apply(due.overdue, Cause.OVERDUE, now_ns)
        if changes:
            self.open_window(due.overdue, now_ns)
        self.probing.probe(np.concatenate((due.overdue, due.probed)), now_ns)
        self._ledger.record_changes(changes)
        return due.over

    def _judge_jobs(self, due: Due, now_ns: int) -> Due:
        """Judge runs that did not come, did not end, or take too long; return the other slots."""
        waiting = self._jobs.waiting(due.overdue)
        missed = due.overdue[waiting]
        # What is not running cannot be probed, so there is no window to wait for.
        for cause in (Cause.OVERDUE, Cause.SILENT):
            self._ledger.record_changes(self._membership.apply(missed, cause, now_ns))
        for run in self._jobs.overrun(now_ns):
            changes = self._membership.apply(np.array([run.slot]), Cause.ILL, now_ns)
            self._ledger.record_run(run, changes[0] if changes else None)
            self._ledger.record_changes(changes)
        return Due(due.overdue[~waiting], due.probed, due.silent, due.over)

    def _stretch(self, due: Due, now_ns: int) -> Due:
        """Give the overdue the margin they have while our own turns are late; return the others."""
        detector = self._detector
        known = (detector.deadline_ns[due.overdue] != NEVER) & (
            self._membership.status[due.overdue] != Status.NEW
        )
        slots = due.overdue[known]
        margin_ns = detector.margin_ns(slots) * self._guard.pauses.health
        until_ns = detector.due_ns(slots) + margin_ns
        slots, until_ns = slots[until_ns > now_ns], until_ns[until_ns > now_ns]
        detector.extend(slots, until_ns)
        self._membership.watch(slots, detector.deadline_ns[slots])
        return replace(due, overdue=due.overdue[~np.isin(due.overdue, slots)])

    def _spare(self, due: Due, now_ns: int) -> Due:
        """Give those more time whose silence our own drops may explain; return the others."""
        spared, asked = self._spare_overdue(due.overdue, now_ns), self._spare_silent(due, now_ns)
        self._record_doubt(now_ns)
        return Due(
            due.overdue[~np.isin(due.overdue, spared)],
            np.concatenate((due.probed, asked)),
            due.silent[~np.isin(due.silent, asked)],
            due.over,
        )

    def _spare_overdue(self, overdue: IntArray, now_ns: int) -> IntArray:
        membership, detector = self._membership, self._detector
        # Who has not been heard since its enrolment, its resumption or our start has no schedule
        # by which to tell whose drop it was. It has a long grace instead, and a window after it.
        scheduled = detector.deadline_ns[overdue] != NEVER
        scheduled &= membership.status[overdue] != Status.NEW
        slots = overdue[scheduled & self._by_datagram(overdue)]
        due_ns, margin_ns = detector.due_ns(slots), detector.margin_ns(slots)
        timeout_ns = self._timeout_ns(slots)
        # Its heartbeat comes no earlier than a margin before it is due. Once it has got more
        # time, another drop has to explain that another heartbeat is missing.
        since_ns = np.maximum(due_ns - margin_ns, detector.deadline_ns[slots] - timeout_ns)
        late_ns = now_ns - due_ns - margin_ns
        spared: IntArray = slots[self._guard.doubts(since_ns, late_ns, timeout_ns)]
        detector.extend(spared, now_ns + self._timeout_ns(spared))
        membership.watch(spared, detector.deadline_ns[spared])
        return spared

    def _spare_silent(self, due: Due, now_ns: int) -> IntArray:
        membership = self._membership
        slots = due.silent[self._by_datagram(due.silent)]
        window_ns = np.full(len(slots), membership.settings.window_ns)
        begun_ns = membership.window_ends_ns[slots] - window_ns
        late_ns = now_ns - self._first_asked_ns(slots) - window_ns
        asked: IntArray = slots[self._guard.doubts(begun_ns, late_ns, window_ns)]
        membership.prolong(asked, now_ns)
        return asked

    def _first_asked_ns(self, slots: IntArray) -> IntArray:
        """Return when the first window of suspects (k,) began that drops alone made longer.

        Who was a suspect before our own start, or before a pause of ours, was asked anew after it
        (seed 7: it was judged at once, as if its three windows had passed while we were away). So
        was who was a suspect while we heard no node at all (seed 101308).
        """
        state, since_ns = self._state, self._membership.since_ns[slots]
        restored = since_ns < state.started_ns
        grace_ns = self._registry.grace_ns(slots, self._start_grace_ns)
        since_ns[restored] = state.started_ns + grace_ns[restored]
        return np.maximum(since_ns, max(state.pauses.last_ns, self._back_ns))

    def _timeout_ns(self, slots: IntArray) -> IntArray:
        # Who announces a longer interval may have gone over to it since it was heard.
        announced_ns = self._registry.interval_ns(slots) - self._detector.interval_ns[slots]
        timeout_ns: IntArray = self._detector.timeout_ns(slots) + np.maximum(announced_ns, 0)
        return timeout_ns

    def _by_datagram(self, slots: IntArray) -> BoolArray:
        # What comes over HTTP is not what the datagrams' socket drops. Of whom nothing was heard
        # yet, the very first word may have been dropped (seed 273).
        via = self._registry.via[slots]
        found: BoolArray = (via == Via.UDP) | (via == NO_VIA)
        return found

    def _record_doubt(self, now_ns: int) -> None:
        doubt = self._guard.take_doubt(now_ns)
        if doubt is None:
            return
        self._ledger.record(
            Event.GUARD,
            now_ns,
            cause="own_drops",
            explanation=f"{doubt.dropped:,} datagrams were dropped before the monitor could read "
            f"them; {doubt.spared} times a silent node got more time, {doubt.judged} times one "
            f"was judged all the same, after {DOUBTS_MAX} timeouts",
            detail={"dropped": doubt.dropped, "spared": doubt.spared, "judged": doubt.judged},
        )

    def record_stall(self, stall: Stall, now_ns: int) -> None:
        """Write down that no node can be judged, or can again."""
        length = format_duration(stall.length_ns)
        words = f"for {length} the monitor has not come to the end of what waits to be read"
        words += "; it judges nobody on what it has not read"
        if stall.is_over:
            words = f"the monitor has caught up; it judged nobody for {length}"
        self._ledger.record(
            Event.GUARD,
            now_ns,
            cause="caught_up" if stall.is_over else "behind",
            explanation=words,
            detail={"length_ns": stall.length_ns},
        )

    def open_window(self, slots: IntArray, now_ns: IntArray | int) -> None:
        """Begin the probing of suspects; they are asked in the same turn."""
        self._membership.suspect(slots, self._voice.challenges(len(slots)), now_ns)
        self._membership.ring_now(slots, now_ns)
        extra = self._guard.pauses.health - 1
        if extra:
            self._membership.prolong(slots, now_ns + extra * self._membership.settings.window_ns)

    # -- many at once ------------------------------------------------------------------------

    def hear(self, now_ns: int) -> None:
        """Note that a node was heard in this turn."""
        self._heard_ns = now_ns
        if self._mass.hear():
            self._back_ns = now_ns
            self._mass_entries.take(now_ns)
            self._begin_anew(now_ns, is_back=True)

    def look(self, now_ns: int) -> None:
        """Look around once more, because something is held back or about to be done."""
        if self._mass.is_due(now_ns, at_once=False):
            self._mass.look(now_ns)
            self._mass_entries.take(now_ns)

    def _withhold(self, due: Due, now_ns: int) -> Due:
        """Look whether the silent are many, and judge no node while none at all is heard."""
        window_ns = self._membership.settings.window_ns
        since_ns = int(self._membership.window_ends_ns[due.silent].min()) - window_ns
        waits = self._mass.withholds(since_ns, self._heard_ns, now_ns)
        if not waits and self._mass.is_due(now_ns, at_once=True):
            self._mass.look(now_ns, since_ns=since_ns)
        self._mass_entries.take(now_ns)
        if not waits:
            return due
        return Due(due.overdue, np.concatenate((due.probed, due.silent)), due.silent[:0], due.over)

    # -- our own pause -----------------------------------------------------------------------

    def begin_anew(self, pause_ns: int, now_ns: int) -> None:
        """Let every deadline begin anew after a pause of our own."""
        begun = self._begin_anew(now_ns)
        length = format_duration(pause_ns)
        self._ledger.record(
            Event.GUARD,
            now_ns,
            cause="own_pause",
            explanation=f"the monitor itself paused for {length}; "
            f"the deadlines of {begun} nodes begin anew",
            detail={"pause_ns": pause_ns, "nodes": begun},
        )

    def _begin_anew(self, now_ns: int, *, is_back: bool = False) -> int:
        membership, detector = self._membership, self._detector
        status = membership.status[: self._registry.count]
        in_use = self._registry.in_use()
        watched = np.flatnonzero(WATCHED[status] & in_use)
        heard = watched[detector.deadline_ns[watched] != NEVER]
        detector.extend(heard, now_ns + self._timeout_ns(heard))
        # Never closer: who was just resumed has a grace that is longer than its timeout.
        membership.put_back(heard, detector.deadline_ns[heard])
        unheard = watched[detector.deadline_ns[watched] == NEVER]
        membership.put_back(unheard, now_ns + self._start_grace_ns)
        # The window of a suspect known from before a restart lies behind its grace, and stays.
        window_ns = membership.settings.window_ns
        is_open = membership.window_ends_ns[: len(status)] <= now_ns + window_ns
        suspects = np.flatnonzero((status == Status.SUSPECT) & in_use & is_open)
        self.open_window(suspects, now_ns)
        if is_back:
            # Agents that were cut off as well may speak from another address by now, where no probe
            # finds them before their next heartbeat.
            membership.prolong(suspects, now_ns + self._timeout_ns(suspects))
        return len(watched) + len(suspects)
