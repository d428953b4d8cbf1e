"""Jobs: nodes that run now and then, judged by a calendar instead of by their silence.

    declare, hand -> due instants        begin, end -> Run        watch -> the alarm clock

A job is a node with a plan. While it runs under heartbeats (`beatward exec`) it is a node like any
other, found dead by its silence and asked by probes. At all other times, and while a run is under
way of which only the beginning was said (the bare URL), its alarm clock is the calendar's, and no
probe can refute what that says.

Everything here is by job and not by node: a dict, and arrays as long as there are jobs. Nodes that
are none cost nothing. Not here: expressions and time zones (`beatward.timetable`), changes of
status (`core.hearing`, `core.monitor`), words (`core.job_words`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from beatward.core.arrays import BoolArray, IntArray
from beatward.core.detect.base import DetectorSettings
from beatward.core.detect.calendar import Calendar
from beatward.core.entry import JobPlan, JobRecord
from beatward.core.instants import NEVER
from beatward.core.intake import Via
from beatward.core.membership import Status
from beatward.core.state import State

_ROOM = 64
_SPEAKING = (Status.ALIVE, Status.FAILING, Status.RECOVERING, Status.SUSPECT)


@dataclass(frozen=True, slots=True)
class Dues:
    """The next due instants of one job's schedule, in order, on the monitor's clock.

    zone_ns, zone   what local time is ahead of UTC by at the first of them, and its name
    anew            the wall clock was set; nothing that was handed before holds
    """

    name: str
    instants_ns: tuple[int, ...]
    zone_ns: int = 0
    zone: str = "UTC"
    anew: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """One word about a run. `what` is `started`, `succeeded`, `failed` or `overran`.

    late_ns   started: how long after it was due; None where it was not awaited
    """

    slot: int
    what: str
    at_ns: int
    late_ns: int | None = None


class Jobs:
    """All jobs. False while there are none, so that no other room has to ask further."""

    def __init__(self, state: State) -> None:
        self._book = state.jobs
        self.calendar = Calendar(DetectorSettings(kind="calendar"), _ROOM)
        self._registry = state.registry
        self._membership = state.membership
        self._rows: dict[int, int] = {}
        self._slots: IntArray = np.full(_ROOM, -1, np.int64)
        self._beats = np.zeros(_ROOM, np.bool_)
        self._free = list(range(_ROOM))[::-1]
        self._plans: dict[str, JobPlan | None] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, slot: int) -> bool:
        return slot in self._rows

    def take_plans(self) -> Mapping[str, JobPlan | None]:
        """Return by name whose schedule is new or changed, and whose is over (None)."""
        if not self._plans:
            return {}
        plans, self._plans = self._plans, {}
        return plans

    # -- declaring ---------------------------------------------------------------------------

    def declare(self, slot: int, plan: JobPlan, now_ns: int) -> bool:
        """Make a node a job, or change its plan; return whether that is news.

        A node that sends heartbeats already is taken to have begun a run just now.
        """
        known = self._book.records.get(slot)
        if known is not None and known.plan == plan:
            return False
        if known is None:
            known = JobRecord(plan)
            row = self._take_row(slot)
            self.calendar.forget(row)
        self._plan(slot, plan)
        if plan.period_ns and known.started_ns is None:
            # It has no instants of its own; its period begins now.
            self._observe(slot, now_ns)
        self._keep(slot, replace(known, plan=plan))
        if not self._is_beating(slot):
            self._registry.clear_interval(slot)
        elif known.started_ns is None:
            self.begin(slot, now_ns, beats=True)
        self.watch(slot)
        return True

    def restore(self, slot: int, record: JobRecord, now_ns: int, *, grace_ns: int) -> None:
        """Take up a job that the journal knows; its node was placed before.

        What was due while we were away is not judged: it is unknown whether it was heard.
        """
        row = self._take_row(slot)
        self.calendar.forget(row)
        self._plan(slot, record.plan)
        if record.plan.period_ns:
            # As if it had spoken just now: whatever it said while we were away, it speaks again
            # within a period.
            self._observe(slot, now_ns)
        due_ns = record.due_ns
        missed = record.started_ns is None and due_ns is not None and due_ns <= now_ns
        record = replace(record, excused_ns=due_ns if missed else record.excused_ns)
        self._keep(slot, record)
        if record.started_ns is None:
            self.watch(slot)
            return
        self.calendar.begin(row, np.array([record.started_ns]))
        if record.overran:
            self.calendar.disarm(row)
        self._beats[row] = self._is_beating(slot)
        if not self._beats[row[0]]:
            self.calendar.extend(row, np.array([now_ns + grace_ns]))
        self.watch(slot)

    def drop(self, slot: int) -> None:
        """Forget a job; its node must still have its name."""
        row = self._rows.pop(slot, None)
        if row is None:
            return
        self._book.drop(slot)
        self._slots[row] = -1
        self._beats[row] = False
        self._free.append(row)
        self._plans[self._registry.name(slot)] = None

    def hand(self, dues: Dues) -> None:
        """Take due instants in; those of a name that is no job, or has no schedule, do nothing."""
        slot = self._registry.slot_of(dues.name)
        record = self._book.records.get(slot)
        if record is None or not record.plan.schedule:
            return
        row = self._rows[slot]
        awaited_ns = int(self.calendar.awaited_ns[row])
        self.calendar.hand(row, dues.instants_ns, anew=dues.anew)
        record = replace(record, zone_ns=dues.zone_ns, zone=dues.zone)
        if dues.anew and record.due_ns is not None:
            skipped_ns = int(self.calendar.awaited_ns[row]) - awaited_ns
            if skipped_ns > self.calendar.interval_ns[row] // 2:
                record = replace(record, excused_ns=record.due_ns)
        self._keep(slot, record)
        self.watch(slot)

    # -- runs --------------------------------------------------------------------------------

    def begin(self, slot: int, at_ns: int, *, beats: bool) -> Run:
        """Note that a run began; `beats`: heartbeats say that it goes on."""
        row = np.array([self._rows[slot]])
        due_ns = self.calendar.counts_for_ns(int(row[0]), at_ns)
        self.calendar.begin(row, np.array([at_ns]))
        self._beats[row] = beats
        record = self._book.records[slot]
        self._keep(slot, replace(record, started_ns=at_ns, overran=False, excused_ns=None))
        self.watch(slot)
        return Run(slot, "started", at_ns, None if due_ns is None else max(at_ns - due_ns, 0))

    def end(self, slot: int, at_ns: int, *, failed: bool, exit_code: int | None = None) -> Run:
        """Note that a run ended, and await the next."""
        record = self._book.records[slot]
        began_ns = record.started_ns
        self._observe(slot, at_ns)
        self._beats[self._rows[slot]] = False
        ended = replace(
            record,
            started_ns=None,
            overran=False,
            excused_ns=None,
            ended_ns=at_ns,
            ran_ns=None if began_ns is None else max(at_ns - began_ns, 0),
            succeeded_ns=record.succeeded_ns if failed else at_ns,
            has_failed=failed,
            exit_code=exit_code if failed else None,
        )
        self._keep(slot, ended)
        # Its interval was that of the heartbeats; a job that waits promises none.
        self._registry.clear_interval(slot)
        self.watch(slot)
        return Run(slot, "failed" if failed else "succeeded", at_ns)

    def is_running(self, slot: int) -> bool:
        """Tell whether a run of a job is under way."""
        return self._book.records[slot].started_ns is not None

    def overrun(self, now_ns: int) -> list[Run]:
        """Return the runs under heartbeats that take too long, each once."""
        late = np.flatnonzero(self._beats & (self.calendar.deadline_ns <= now_ns))
        self.calendar.disarm(late)
        runs = []
        for slot in self._slots[late].tolist():
            if not self._is_beating(slot):
                continue  # it is dead, and so is the run; or no report is wanted
            self._keep(slot, replace(self._book.records[slot], overran=True))
            runs.append(Run(slot, "overran", now_ns))
        return runs

    def next_ns(self) -> int:
        """Return when the next run under heartbeats takes too long, or NEVER."""
        if not self:
            return NEVER
        return int(self.calendar.deadline_ns[self._beats].min(initial=NEVER))

    # -- whose silence means what ------------------------------------------------------------

    def among(self, slots: IntArray) -> BoolArray:
        """Return which slots (k,) are jobs."""
        found = (slot in self._rows for slot in slots.tolist())
        return np.fromiter(found, np.bool_, len(slots))

    def waiting(self, slots: IntArray) -> BoolArray:
        """Return which slots (k,) are jobs of which no heartbeats are expected now."""
        waits = self.among(slots)
        rows = [self._rows[slot] for slot in slots[waits].tolist()]
        waits[waits] = ~self._beats[rows]
        return waits

    def watch(self, slot: int) -> None:
        """Set the alarm clock of a job that waits to what the calendar says."""
        row = self._rows[slot]
        if not self._beats[row]:
            self._membership.watch(np.array([slot]), self.calendar.deadline_ns[[row]])

    # -- its parts ---------------------------------------------------------------------------

    def _plan(self, slot: int, plan: JobPlan) -> None:
        self.calendar.plan(
            self._rows[slot],
            interval_ns=plan.period_ns,
            grace_ns=plan.grace_ns,
            run_ns=plan.run_ns,
        )
        if plan.schedule:
            self._plans[self._registry.name(slot)] = plan

    def _observe(self, slot: int, at_ns: int) -> None:
        row = np.array([self._rows[slot]])
        self.calendar.observe(row, row, self.calendar.interval_ns[row], np.array([at_ns]))

    def _keep(self, slot: int, record: JobRecord) -> None:
        due_ns = int(self.calendar.awaited_ns[self._rows[slot]])
        self._book.keep(slot, replace(record, due_ns=None if due_ns == NEVER else due_ns))

    def _is_beating(self, slot: int) -> bool:
        # What comes by the bare URL is no heartbeat of a run; a job that waits promises nothing.
        speaks = self._membership.status[slot] in _SPEAKING
        promises = self._registry.interval_ms[slot] != 0
        return bool(speaks and promises and self._registry.via[slot] != Via.PING)

    def _take_row(self, slot: int) -> IntArray:
        if not self._free:
            capacity = len(self._slots)
            self._free = list(range(capacity, 2 * capacity))[::-1]
            self.calendar.grow(2 * capacity)
            self._slots = np.concatenate((self._slots, np.full(capacity, -1, np.int64)))
            self._beats = np.concatenate((self._beats, np.zeros(capacity, np.bool_)))
        row = self._free.pop()
        self._rows[slot], self._slots[row] = row, slot
        return np.array([row])
