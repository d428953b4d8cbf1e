"""Live quality: how well this monitor detects, counted as it goes, by the measures of Chen.

S-transition: trust becomes suspicion. T-transition: it becomes trust again. With p a life of a node
and q this monitor (DETECTION 1.1; W. Chen, S. Toueg, M. K. Aguilera, "On the Quality of Service of
Failure Detectors", IEEE Transactions on Computers 51(5), May 2002):

    T_D          crash of p to the final suspicion             detection_time
    T_MR         one mistake to the next, while p is alive     mistake_recurrence_time
    T_M          an S-transition to the next T-transition      mistake_duration
    lambda_M     1 / E(T_MR)                                   mistake_rate
    P_A          1 - E(T_M) / E(T_MR)                          query_accuracy

A monitor is not told when a node crashed or whether it was mistaken; this is how it finds out:

A *mistake* is a suspicion or verdict that the very life spoke after which was suspected: it had
never ended. A new life proves nothing of the kind. The bare URL knows no lives: there a suspicion
that is refuted counts, and a verdict cannot be checked, so it counts as right.
*Alive* is the time in which a node was held alive, failing or recovering, and that of mistakes.
*Detection time* is the silence at a verdict, from the last word that was heard. No node crashes
before its last word, so the true one is shorter, by an interval at most where no heartbeat was
lost, and longer by no more than the delay of that word. A verdict that is refuted was none.
*Exits* are told by the agent; what is counted is the wait from the word to the verdict.
An *outage* is a silence that led to suspicion, from the last word before it to the first after it,
or an exit until the node is back; whatever the reason, and whether it was a mistake or not.
*Missing* are places of a sender's grid whose heartbeat never came, or too late to be news.

Loss is derived from the sequence and the count of gaps, so a heartbeat as it should be writes
nothing here, and every eighth moves the 4 bytes of jitter. What a node had to tell is kept in a
table of rows, for those that had anything. A slot costs 20 bytes, most of them untouched. Counting
begins with the session. Not here: any status (`core.membership`), nor what follows (`figures`).
"""

from collections.abc import Collection, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from beatward.core.arrays import BoolArray, FloatArray, IntArray, Rows, grown
from beatward.core.detect import Detector
from beatward.core.detect.base import DEVIATION_MAX
from beatward.core.figures import BOUNDS_NS, Adds, Figures, Goal
from beatward.core.instants import MILLISECOND, NEVER
from beatward.core.intake import Heartbeats, Via
from beatward.core.membership import Cause, Change, Membership, Status
from beatward.core.protocol.record import Flag
from beatward.core.registry import Registry

# RFC 3550, 6.4.1: J += (|D| - J) / 16, of every eighth place of the grid: 6 ns a heartbeat instead
# of 14 for all of them (benchmarks/quality.py, November 2026), and it follows within two minutes.
_GAIN = np.float32(1 / 16)
_MEASURED_MASK = 7
_SLOWING = int(Flag.SLOWING)
_ONE = np.uint32(1)
# A longer jump is another grid: at 1 Hz it is half a year.
_STEPS_MAX = 2**24
_MISSING_MAX = 2**31 - 1

TRUSTED = np.zeros(len(Status), np.bool_)
TRUSTED[[Status.ALIVE, Status.FAILING, Status.RECOVERING]] = True
_SUSPECTED = np.zeros(len(Status), np.bool_)
_SUSPECTED[[Status.SUSPECT, Status.DEAD]] = True

# What is added up, and of what the largest is kept; `Figures` has the meaning of each.
_SUMS = (
    "trusted_ns",
    "mistaken_ns",
    "suspicions_refuted",
    "verdicts_refuted",
    "detections",
    "detection_ns",
    "overdue_ns",
    "beyond",
    "exits",
    "exit_ns",
    "round_trips",
    "round_trip_ns",
    "outage_ns",
)
_LARGEST = ("detection_max_ns", "exit_max_ns", "outage_max_ns")
# `past`: places of the grids of past lives; `told_ns`: how long ago an exit was told.
# What is open: since when it is suspected, which life, and since when that is silent; the silence
# at the verdict and by how much its heartbeat was overdue then.
_OPEN = ("begun_ns", "life", "silent_ns", "found_ns", "late_ns")
_ROW = np.dtype(
    [
        *((name, np.int64 if name.endswith("_ns") else np.uint32) for name in _SUMS),
        *((name, np.int64) for name in (*_LARGEST, *_OPEN, "told_ns", "past")),
        ("outages", np.uint32, len(BOUNDS_NS) + 1),
    ]
)


class Quality(Rows):
    """Counts. One thread calls it; `freeze` makes what others may read.

    table   row 0 belongs to no node: there is kept what forgotten nodes have left behind
    jobs    slots that a calendar judges: their silence and their return say nothing of heartbeats,
            so they are neither alive nor suspected here
    """

    ROWS = ("first", "jitter", "missing", "row")

    def __init__(
        self,
        goal: Goal,
        registry: Registry,
        membership: Membership,
        detector: Detector,
        *,
        jobs: Collection[int] = (),
    ) -> None:
        self.goal = goal
        self.registry = registry
        self.membership = membership
        self._detector = detector
        self.jobs = jobs
        self.started_ns = 0
        # Where the grid of this life begins for us; what is before was not listened to.
        self.first = np.zeros(registry.capacity, np.int64)
        # Nanoseconds; negative: there is no arrival before the next one to measure it from.
        self.jitter = np.zeros(registry.capacity, np.float32)
        self.missing = np.zeros(registry.capacity, np.int32)
        self.row = np.zeros(registry.capacity, np.uint32)
        self.table: npt.NDArray[Any] = np.zeros(16, _ROW)
        self._rows_count = 1
        self._free: list[int] = []
        # Of all nodes, also of those that were forgotten since; nothing is ever taken back.
        self.received_count = 0
        self.missing_count = 0
        self.verdict_counts = np.zeros(len(BOUNDS_NS) + 1, np.int64)
        self.verdict_ns = 0

    def freeze(self, registry: Registry, membership: Membership) -> "Quality":
        """Return a copy for readers in other threads, with the copies of rooms that they have."""
        twin = self.cut(registry.count)
        twin.registry, twin.membership = registry, membership
        twin.jobs = tuple(self.jobs)
        twin.table = self.table[: self._rows_count].copy()
        twin.verdict_counts = self.verdict_counts.copy()
        return twin

    def forget(self, slot: int, now_ns: int) -> None:
        """Free a slot, while its status still stands; the fleet keeps what the node had."""
        one = self._rows(np.array([slot]))
        table, row = self.table, int(one[0])
        if TRUSTED[self.membership.status[slot]] and slot not in self.jobs:
            since_ns = max(int(self.membership.since_ns[slot]), self.started_ns)
            table["trusted_ns"][row] += now_ns - since_ns
        self._drop(one)
        for name in (*_SUMS, "outages"):
            table[name][0] += table[name][row]
        for name in _LARGEST:
            table[name][0] = max(table[name][0], table[name][row])
        table[row] = 0
        self._free.append(row)
        for name in self.ROWS:
            getattr(self, name)[slot] = 0

    def _rows(self, slots: IntArray) -> IntArray:
        """Return the rows (k,) of distinct slots; who has none is given one."""
        new = slots[self.row[slots] == 0]
        if len(new):
            reused = [self._free.pop() for _ in range(min(len(new), len(self._free)))]
            begin, fresh = self._rows_count, len(new) - len(reused)
            self._rows_count += fresh
            while self._rows_count > len(self.table):
                self.table = grown(self.table, 2 * len(self.table))
            self.row[new] = [*reused, *range(begin, begin + fresh)]
        return self.row[slots].astype(np.int64)

    # -- heartbeats --------------------------------------------------------------------------

    def hear(self, beats: Heartbeats, sequence: IntArray, steps: IntArray, *, learn: bool) -> None:
        """Count heartbeats of distinct slots (k,), before the registry notes them.

        steps    how many places of its grid each lies after the one before, which was -1 in a life
                 of which nothing was heard
        learn    False for arrivals stamped late by our own pause
        """
        slots = beats.slots
        self.received_count += len(slots)
        gaps = steps != 1
        if gaps.any():
            self._skip(slots[gaps], sequence[gaps], steps[gaps])
        if not learn:
            self._unanchor(slots)
            return
        rows = (sequence & _MEASURED_MASK == 0).nonzero()[0]
        if len(rows):
            self._measure(beats, rows, steps[rows], first=steps[rows] > sequence[rows])

    def _measure(
        self, beats: Heartbeats, rows: IntArray, steps: IntArray, *, first: BoolArray
    ) -> None:
        """Move the jitter by some rows of a batch (m,); `first` in their lives move nothing."""
        slots = beats.slots[rows]
        jitter, grid_ns = self.jitter[slots], self._detector.interval_ns[slots]
        deviation = beats.arrived_ns[rows] - self.registry.heard_ns[slots] - steps * grid_ns
        moved = np.minimum(np.abs(deviation), DEVIATION_MAX * grid_ns).astype(np.float32)
        known = np.abs(jitter)
        other = first | np.signbit(jitter)
        promised_ns = beats.records["interval_ms"][rows] * np.int64(MILLISECOND)
        if (promised_ns != grid_ns).any():
            # Who announces a longer interval is still on the old grid; another grid says nothing.
            slowing = beats.records["flags"][rows] & _SLOWING != 0
            other |= (promised_ns != grid_ns) & ~(slowing & (grid_ns < promised_ns))
        moved -= known
        moved[other] = 0.0
        self.jitter[slots] = known + _GAIN * moved

    def _skip(self, slots: IntArray, sequence: IntArray, steps: IntArray) -> None:
        """Count what lies between a heartbeat and the one before (k,), or begin a grid here."""
        begins = (steps > sequence) | (steps > _STEPS_MAX)
        begun = slots[begins]
        self.end_lives(begun)
        self.first[begun] = sequence[begins]
        self._miss(slots[~begins], steps[~begins] - 1)

    def _miss(self, slots: IntArray, count: IntArray) -> None:
        before = self.missing[slots]
        missing = np.minimum(before + count, _MISSING_MAX)
        self.missing_count += int((missing - before).sum())
        self.missing[slots] = missing

    def pass_over(self, slots: IntArray, sequence: IntArray) -> None:
        """Count heartbeats (k,) of which the newest of each slot alone is going to be taken.

        The others came as well, in a queue that was flushed; `hear` will take them for missing.
        """
        order = np.lexsort((sequence, slots))
        slots, sequence = slots[order], sequence[order]
        is_repeated = np.zeros(len(slots), np.bool_)
        is_repeated[1:] = (slots[1:] == slots[:-1]) & (sequence[1:] == sequence[:-1])
        found, counts = np.unique(slots[~is_repeated], return_counts=True)
        self._miss(found, 1 - counts)
        self.received_count += int(counts.sum()) - len(found)

    def answer(
        self, slots: IntArray, steps: IntArray, arrived_ns: IntArray, *, answered: BoolArray
    ) -> None:
        """Take answers to probes (k,) of distinct slots, before the registry notes them.

        steps      how many places of its grid are over by the answer since the last heartbeat
        answered   which echo the number asked for; their round trips are measured, where one probe
                   was sent: which of several is answered is unknown (P. Karn, C. Partridge,
                   "Improving Round-Trip Time Estimates in Reliable Transport Protocols", 1987)
        """
        self._end_places(slots, steps)
        # An answer is on no grid, so the next heartbeat has no arrival to be measured from.
        self._unanchor(slots)
        membership = self.membership
        once = answered & (membership.status[slots] == Status.SUSPECT)
        once &= membership.probes_sent[slots] == 1
        sent_ns = membership.window_ends_ns[slots] - membership.settings.window_ns
        once &= arrived_ns >= sent_ns
        rows = self._rows(slots[once])
        self.table["round_trips"][rows] += _ONE
        self.table["round_trip_ns"][rows] += (arrived_ns - sent_ns)[once]

    def leave(
        self, slots: IntArray, steps: IntArray, ago_ns: IntArray, *, exited: BoolArray
    ) -> None:
        """Take goodbyes (k,) of distinct slots, before the registry notes them.

        steps    how many places after the last heartbeat a goodbye says it is; 0: said again
        ago_ns   how long ago it came
        exited   whose process ended, as its agent saw
        """
        fresh = steps > 0
        self._end_places(slots[fresh], steps[fresh] - 1)
        # Its own place has no heartbeat.
        rows = self._rows(slots)  # first: it may put a larger table in the place of this one
        self.table["past"][rows[fresh]] -= 1
        self.table["told_ns"][rows[exited]] = np.maximum(ago_ns[exited], 0)

    def enrol(self, slots: IntArray) -> None:
        """Begin with slots whose names have come back and are remembered (`Registry.forget`)."""
        sequence = self.registry.sequence[slots]
        again = sequence >= 0
        self.first[slots[again]] = sequence[again] + 1

    def end_lives(self, slots: IntArray) -> None:
        """Keep the count of lives that end (k,), before the registry begins new ones."""
        places = self._places(slots)
        there = places != 0
        rows = self._rows(slots[there])  # first: it may put a larger table in this one's place
        self.table["past"][rows] += places[there]
        self.first[slots[self.first[slots] != 0]] = 0

    def _places(self, slots: IntArray) -> IntArray:
        """Return how many places the grids of the present lives have had (k,)."""
        return self.registry.sequence[slots] - self.first[slots] + 1

    def _end_places(self, slots: IntArray, count: IntArray) -> None:
        """Count places (k,) as missing; in a life of which nothing was heard they are no loss."""
        known = (self.registry.sequence[slots] >= 0) & (count <= _STEPS_MAX)
        self._miss(slots[known], count[known])
        self.end_lives(slots[~known])
        self.first[slots[~known]] = (self.registry.sequence[slots] + 1 + count)[~known]

    def _unanchor(self, slots: IntArray) -> None:
        self.jitter[slots] = -np.abs(self.jitter[slots])

    # -- changes of status -------------------------------------------------------------------

    def begin(self, now_ns: int) -> None:
        """Begin a session: time before it is not counted."""
        self.started_ns = now_ns

    def follow(self, changes: Sequence[Change]) -> None:
        """Follow changes of status in their order, right after they were made."""
        if self.jobs:
            apart = [change.slot for change in changes if change.slot in self.jobs]
            changes = [change for change in changes if change.slot not in self.jobs]
            # It may have become a job while it was suspected.
            self._drop(self._rows(np.unique(np.array(apart, np.int64))))
        # No cause changes the same node twice in a row, so the slots of a run are distinct.
        for cause, run in groupby(changes, key=lambda change: change.cause):
            # A first word ends nothing: so a fleet that comes up leaves the table empty.
            counted = [
                change
                for change in run
                if change.before != Status.NEW or change.after != Status.ALIVE
            ]
            if counted:
                self._follow(counted, is_exit=cause == Cause.EXITED)

    def _follow(self, changes: list[Change], *, is_exit: bool) -> None:
        slots = np.array([change.slot for change in changes])
        before = np.array([change.before for change in changes])
        after = np.array([change.after for change in changes])
        at_ns = np.array([change.at_ns for change in changes])
        since_ns = np.array([change.since_ns for change in changes])
        rows, table = self._rows(slots), self.table
        lasted_ns = np.maximum(at_ns - np.maximum(since_ns, self.started_ns), 0)
        table["trusted_ns"][rows] += np.where(TRUSTED[before], lasted_ns, 0)
        spoke = _SUSPECTED[before] & ~_SUSPECTED[after] & (after != Status.PAUSED) | is_exit
        self._close(rows[spoke], slots[spoke], at_ns[spoke], dead=before[spoke] == Status.DEAD)
        self._drop(rows[after == Status.PAUSED])
        if is_exit:
            self._exit(rows, at_ns)
            return
        silent = _SUSPECTED[after]
        self._open(rows[silent], slots[silent], at_ns[silent])
        dead = after == Status.DEAD
        self._find(rows[dead], slots[dead], at_ns[dead])

    def _open(self, rows: IntArray, slots: IntArray, at_ns: IntArray) -> None:
        """Note suspicions (k,), where none is open."""
        table = self.table
        new = table["begun_ns"][rows] == 0
        rows, slots = rows[new], slots[new]
        table["begun_ns"][rows] = at_ns[new]
        table["life"][rows] = self.registry.incarnation[slots]
        table["silent_ns"][rows] = self.registry.heard_ns[slots]

    def _find(self, rows: IntArray, slots: IntArray, at_ns: IntArray) -> None:
        """Note verdicts (k,); where nothing was heard before, it is unknown how long it took."""
        heard_ns, due_ns = self.registry.heard_ns[slots], self._detector.due_ns(slots)
        known = (heard_ns > 0) & (due_ns < NEVER)
        rows, found_ns = rows[known], (at_ns - heard_ns)[known]
        self.table["found_ns"][rows] = found_ns
        self.table["late_ns"][rows] = np.maximum(at_ns - due_ns, 0)[known]
        np.add.at(self.verdict_counts, np.searchsorted(BOUNDS_NS, found_ns), 1)
        self.verdict_ns += int(found_ns.sum())

    def _exit(self, rows: IntArray, at_ns: IntArray) -> None:
        """Note exits (k,) that agents told of."""
        table = self.table
        told_ns = table["told_ns"][rows]
        table["exits"][rows] += np.uint32(1)
        table["exit_ns"][rows] += told_ns
        table["exit_max_ns"][rows] = np.maximum(table["exit_max_ns"][rows], told_ns)
        table["silent_ns"][rows] = at_ns - told_ns

    def _close(self, rows: IntArray, slots: IntArray, at_ns: IntArray, *, dead: BoolArray) -> None:
        """End what is open of nodes (k,) that spoke: was it a mistake, and how long an outage.

        dead   of whom a verdict had been made
        """
        table = self.table
        begun_ns, silent_ns = table["begun_ns"][rows], table["silent_ns"][rows]
        life = table["life"][rows]
        same = life == self.registry.incarnation[slots]
        same &= (life > 0) | (~dead & (silent_ns > 0))
        wrong = (begun_ns > 0) & same
        table["mistaken_ns"][rows] += np.where(wrong, at_ns - begun_ns, 0)
        table["suspicions_refuted"][rows] += wrong & ~dead
        table["verdicts_refuted"][rows] += wrong & dead
        table["found_ns"][rows[wrong]] = table["late_ns"][rows[wrong]] = 0
        out = silent_ns > 0
        length_ns = np.where(out, np.maximum(at_ns - silent_ns, 0), 0)
        table["outage_ns"][rows] += length_ns
        table["outage_max_ns"][rows] = np.maximum(table["outage_max_ns"][rows], length_ns)
        table["outages"][rows[out], np.searchsorted(BOUNDS_NS, length_ns[out])] += np.uint32(1)
        self._drop(rows)

    def _drop(self, rows: IntArray) -> None:
        """End what is open of nodes (k,); a verdict that was not refuted was a detection."""
        table = self.table
        found_ns = table["found_ns"][rows]
        table["detections"][rows] += found_ns > 0
        table["detection_ns"][rows] += found_ns
        table["overdue_ns"][rows] += table["late_ns"][rows]
        table["beyond"][rows] += self._is_beyond(found_ns)
        table["detection_max_ns"][rows] = np.maximum(table["detection_max_ns"][rows], found_ns)
        for name in _OPEN:
            table[name][rows] = 0

    def _is_beyond(self, found_ns: IntArray) -> BoolArray:
        goal_ns = self.goal.detect_within_ns
        return found_ns > (NEVER if goal_ns is None else goal_ns)

    # -- reading -----------------------------------------------------------------------------

    def figures(
        self, slots: IntArray, now_ns: int, *, groups: IntArray | None = None, count: int = 0
    ) -> Figures:
        """Add up what was counted of nodes (m,); without groups each is a group of its own.

        groups   (m,) the group of each, below `count`
        """
        if groups is None:
            groups, count = np.arange(len(slots)), len(slots)
        return Figures(goal=self.goal, **self._added_up(slots, now_ns, groups, count))

    def _added_up(
        self, slots: IntArray, now_ns: int, groups: IntArray, count: int
    ) -> dict[str, FloatArray]:
        """Return what `Figures` has of each group (count,), by name."""
        adds = Adds(groups, count)
        membership = self.membership
        running_ns = now_ns - np.maximum(membership.since_ns[slots], self.started_ns)
        counts = TRUSTED[membership.status[slots]]
        if self.jobs:
            counts &= ~np.isin(slots, np.array(list(self.jobs)))
        running_ns = np.where(counts, np.maximum(running_ns, 0), 0)
        rows = self.row[slots].astype(np.int64)
        counted = rows > 0
        of_rows = Adds(groups[counted], count)
        table = self.table[rows[counted]]
        found = {name: of_rows.sum(table[name]) for name in _SUMS}
        found |= {name: of_rows.largest(table[name]) for name in _LARGEST}
        # A verdict that stands is a detection for as long as it is not refuted.
        open_ns = table["found_ns"]
        found["detections"] += of_rows.sum(open_ns > 0)
        found["detection_ns"] += of_rows.sum(open_ns)
        found["overdue_ns"] += of_rows.sum(table["late_ns"])
        found["beyond"] += of_rows.sum(self._is_beyond(open_ns))
        found["detection_max_ns"] = np.maximum(found["detection_max_ns"], of_rows.largest(open_ns))
        found["trusted_ns"] += adds.sum(running_ns)
        missing, jitter_ns = self.missing[slots], np.abs(self.jitter[slots])
        # A ping of the bare URL has no place of its own, so none can be missing.
        places = np.where(self.registry.via[slots] == Via.PING, 0, self._places(slots))
        return found | {
            "nodes": adds.sum(np.ones(len(slots))),
            "received": adds.sum(places - missing) + of_rows.sum(table["past"]),
            "missing": adds.sum(missing),
            "jitters": adds.sum(jitter_ns > 0),
            "jitter_ns": adds.sum(jitter_ns),
            "outages": np.stack([of_rows.sum(column) for column in table["outages"].T], axis=1),
            "open": of_rows.sum(table["silent_ns"] > 0),
        }

    def fleet(self, now_ns: int) -> Figures:
        """Add up what was counted in this session, also of nodes forgotten since; one group."""
        slots = np.flatnonzero(self.registry.in_use())
        found = self._added_up(slots, now_ns, np.zeros(len(slots), np.int64), 1)
        past = self.table[:1]
        for name in (*_SUMS, "outages"):
            found[name] += past[name]
        for name in _LARGEST:
            found[name] = np.maximum(found[name], past[name])
        found["received"] = np.array([float(self.received_count)])
        found["missing"] = np.array([float(self.missing_count)])
        return Figures(goal=self.goal, **found)
