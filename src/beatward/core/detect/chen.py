"""NFD-E of Chen, Toueg and Aguilera: freshness anchored on the sender's schedule.

The sender stamps heartbeat s with its place on a fixed grid, so the offset A(s) - s * interval of
its arrival A(s) is the same for every heartbeat but for delay and jitter. Its mean over the last n
heartbeats, added to the due time of the next one, is the expected arrival:

    EA(s+1)  = mean of (A(i) - i * interval) over the last n  +  (s+1) * interval
    deadline = EA(s+1) + margin

A late heartbeat therefore buys no extra trust: twenty heartbeats, each delayed by 15 s, extend a
life by 15 s once and not by 300 s, as happens where the timeout restarts at every arrival. Among
all detectors that only listen, this one makes the fewest mistakes for a given detection time
(theorem 5 of the paper, for the version with synchronised clocks).

We keep the mean and the variance of the offset with a weight that falls as 1/count down to
2/(n+1) instead of a ring of n, which follows a drifting clock as the ring does. Moving the anchor
to each heartbeat keeps every number small: no product of a sequence number and an interval is ever
formed.

Margin "auto" is the quantile of lateness that a share p of the heartbeats exceeds, from a histogram
of how late each was against its own expectation (`core.tails`). A lost heartbeat is not a late one:
no margin below an interval would have waited for it, and a probe is the cheaper question; for the
same reason the margin is held between margin_min and half an interval. Ageing keeps 8 to 16 late
ones in memory: the quantile grows with a few dozen late heartbeats where a network gets worse, and
takes some 16/p to shrink again.

With m counted, the chance that the next is later than all of them is 1/(m+1) (Renyi), so before
1/p heartbeats nothing can be counted out. Until then, and always with margin_from = "cantelli",
the one-sided inequality holds: P(lateness > margin) <= V / (V + margin^2), so that
margin = sqrt(V * (1/p - 1)) lets at most a share p be late whatever their distribution; and the
margin lies beyond all that were counted. Until MEMORY_MIN heartbeats of a schedule were seen, it is
one whole interval.

When it is wrong: where lateness is bunched or ends at once, between two edges of the histogram, the
margin is too wide by up to a step, half as much again. A network that was bad keeps its margin for
16/p heartbeats. Losses come in bursts, and no margin helps. Cantelli's bound holds for the worst of
all distributions, and is far too careful for every other. The stage that probes before a verdict
makes all of that cost little.

A slot costs 69 bytes: 31 for the schedule, 38 for the histogram and its quantile.

Source: W. Chen, S. Toueg, M. K. Aguilera, "On the Quality of Service of Failure Detectors", IEEE
Transactions on Computers 51(5), May 2002, sections 6 and 7 (NFD-U and NFD-E).
"""

import math
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from beatward.core.arrays import BoolArray, FloatArray, IntArray
from beatward.core.detect.base import DEVIATION_MAX, INTERVAL_MAX_NS, Detector, DetectorSettings
from beatward.core.instants import NEVER, format_duration
from beatward.core.tails import BINS, bins_of, halved, level, memory_of, quantile

# Below this many heartbeats a variance says nothing: its relative error is above one half.
MEMORY_MIN = 8
# This many heartbeats in a row outside the margin, early or late, are a schedule that has moved (a
# virtual machine that was paused with its clock), not jitter: the estimate begins anew.
STRIKES_MAX = 3
# The quantile is looked up again after a heartbeat later than it, and at one of this many others:
# it moves by a few thousandths in between, and looking it up is dearer than all the rest. Which one
# is chance, from the low bits of the lateness: a million nodes that began together, as after a
# restart of the monitor, would all look in the same second, which made it fall behind.
_LOOK_EVERY = 16
_CHANCE_SHIFT = 6  # below that are the steps of a coarse clock


class Chen(Detector):
    """Expected arrival by exponential mean, margin by setting or by the one-sided bound.

    Those who add to it keep arrays of their own: `_unlearn`, `_learn` and `_bound` are their
    places, and `_early` if they expect an arrival at more than one instant.
    """

    READS: ClassVar[tuple[str, ...]] = (
        "samples",
        "margin",
        "margin_from",
        "margin_min",
        "late_probability",
    )

    MARGIN_MAX = 0.5  # intervals; also where the histogram ends

    ROWS: ClassVar[tuple[str, ...]] = (
        *Detector.ROWS,
        *("variance", "learnt_count", "strikes", "counts", "counted", "late_ns"),
    )

    def __init__(self, settings: DetectorSettings, capacity: int) -> None:
        super().__init__(settings, capacity)
        # Single precision: the eighth digit of a margin does not matter.
        self.variance = np.zeros(capacity, np.float32)  # ns^2 of the offset
        self.learnt_count = np.zeros(capacity, np.uint16)
        self.strikes = np.zeros(capacity, np.uint8)
        self._weight_min = 2.0 / (settings.samples + 1.0)
        self._counts = settings.margin_ns is None and settings.margin_from == "quantile"
        self.counts = np.zeros((capacity, BINS if self._counts else 0), np.uint16)
        self.counted = np.zeros(capacity, np.uint16)
        self.late_ns = np.zeros(capacity, np.float32)  # the quantile
        self._memory = memory_of(settings.late_probability)
        # This many leave a chance of `late_probability` for one later than all of them.
        self._enough = math.ceil(1.0 / settings.late_probability) - 1

    def observe(  # noqa: D102
        self,
        slots: IntArray,
        steps: IntArray,
        interval_ns: IntArray,
        arrived_ns: IntArray,
        *,
        learn: bool = True,
    ) -> None:
        # Everything is fetched once and put back once: among a million slots a walk through memory
        # costs more than the arithmetic on the way.
        interval = np.minimum(interval_ns, INTERVAL_MAX_NS)
        count = self.learnt_count[slots].astype(np.int64)
        variance = self.variance[slots].astype(np.float64)
        # Another interval is another grid. A jump that would overflow is no schedule either.
        jump = steps.astype(np.float64) * interval
        begun = (self.interval_ns[slots] != interval) | (jump > INTERVAL_MAX_NS)
        count[begun], variance[begun] = 0, 0.0
        self._unlearn(slots[begun])
        self._uncount(slots[begun])
        expected = self.expected_ns[slots] + steps * interval
        lateness = np.where(count > 0, arrived_ns - expected, 0)
        margin = self._margin(slots, count, variance, interval)
        # Nothing arrives before it was sent. Where a queue of late heartbeats is flushed, the
        # estimate moves to the late ones and would expect the newest a whole queue from now.
        early = self._early(slots, lateness)
        moved = early > np.maximum(interval, margin)
        if learn:
            moved |= self._strike(slots, np.maximum(early, lateness) > margin, begun | moved)
        count[moved], variance[moved], lateness[moved] = 0, 0.0, 0
        self._unlearn(slots[moved])
        if learn:
            if self._counts:
                self._count(slots, count > 0, interval, lateness)
            pull = margin if self.settings.margin_ns is None else DEVIATION_MAX * interval
            self._learn(slots, count, variance, interval=interval, lateness=lateness, pull=pull)
        else:
            self.strikes[slots[begun | moved]] = 0
        rounded = variance.astype(np.float32)
        self.learnt_count[slots], self.variance[slots] = count, rounded
        self.expected_ns[slots], self.interval_ns[slots] = arrived_ns - lateness, interval
        timeout = interval + self._margin(slots, count, rounded, interval)
        deadline = arrived_ns - lateness + timeout
        if not learn:
            # Stamped late by our own pause: the whole timeout from now on, and nothing learnt.
            deadline = np.maximum(deadline, arrived_ns + timeout)
        self.deadline_ns[slots] = deadline

    def _strike(self, slots: IntArray, outside: BoolArray, begun: BoolArray) -> BoolArray:
        """Count heartbeats outside the margin; return whose schedule has moved by that (k,)."""
        strikes = np.where(outside & ~begun, self.strikes[slots] + 1, 0)
        moved: BoolArray = strikes >= STRIKES_MAX
        strikes[moved] = 0
        self.strikes[slots] = strikes
        return moved

    def _early(self, slots: IntArray, lateness: IntArray) -> IntArray:  # noqa: ARG002
        """Return how far heartbeats came before any instant at which they were expected (k,)."""
        return -lateness

    def forget(self, slots: IntArray) -> None:  # noqa: D102
        super().forget(slots)
        self._uncount(slots)

    def _uncount(self, slots: IntArray) -> None:
        """Forget the lateness counted; unlike the estimate it outlives a schedule that moves."""
        self.counts[slots] = 0
        self.counted[slots] = 0
        self.late_ns[slots] = 0.0

    def _count(
        self, slots: IntArray, expected: BoolArray, interval: IntArray, lateness: IntArray
    ) -> None:
        """Count how late heartbeats are that were expected, and look the quantile up again."""
        if not expected.all():
            slots, interval, lateness = slots[expected], interval[expected], lateness[expected]
        scale = interval * self.MARGIN_MAX
        places = slots * BINS + bins_of(lateness / scale)
        flat = self.counts.reshape(-1)
        flat[places] += np.uint16(1)
        counted = self.counted[slots] + np.uint16(1)
        self.counted[slots] = counted
        looks = (counted + (lateness >> _CHANCE_SHIFT)) % _LOOK_EVERY == 0
        rows = (looks | (lateness > self.late_ns[slots])).nonzero()[0]
        if not len(rows):
            return
        looked = slots[rows]
        counts = self.counts[looked]
        full = counted[rows] >= self._memory
        if full.any():
            counts[full] = halved(counts[full])
            self.counts[looked] = counts
            self.counted[looked] = counts.sum(axis=1, dtype=np.uint16)
        share, _ = quantile(counts, self.settings.late_probability)
        self.late_ns[looked] = np.minimum(share, 1.0) * scale[rows]

    def _unlearn(self, slots: IntArray) -> None:
        """Forget what hangs on an estimate that begins anew; mean and variance are the caller's."""

    def _learn(
        self,
        slots: IntArray,  # noqa: ARG002  for those who learn more than this
        count: IntArray,
        variance: FloatArray,
        *,
        interval: IntArray,
        lateness: IntArray,
        pull: IntArray,
    ) -> None:
        """Move mean and variance by one heartbeat; `count`, `variance`, `lateness` are changed.

        pull   (k,) the mean moves as if no heartbeat were further from it than that: one that came
               seconds late must not let the next ones seem early beyond the margin

        What remains of the lateness is measured from the new expectation.
        """
        count += 1
        weight = np.maximum(1.0 / count, self._weight_min)
        np.minimum(count, self.settings.samples, out=count)
        bound = (DEVIATION_MAX * interval).astype(np.float64)
        # Not `np.clip`, which asks seven functions before it does the same.
        deviation = np.minimum(np.maximum(lateness.astype(np.float64), -bound), bound)
        # The first sample has weight 1 and deviation 0: no branch is needed for it.
        variance += weight * deviation**2
        variance *= 1.0 - weight
        pulled = np.minimum(np.maximum(deviation, -pull), pull)
        lateness -= np.rint(weight * pulled).astype(np.int64)

    def reanchor(self, slots: IntArray) -> None:  # noqa: D102
        self.learnt_count[slots] = 0
        self.variance[slots] = 0.0
        self.strikes[slots] = 0
        self._unlearn(slots)

    def timeout_ns(self, slots: IntArray) -> IntArray:  # noqa: D102
        return self.interval_ns[slots] + self.margin_ns(slots)

    def margin_ns(self, slots: IntArray) -> IntArray:  # noqa: D102
        count, variance = self.learnt_count[slots], self.variance[slots]
        return self._margin(slots, count, variance, self.interval_ns[slots])

    def _margin(
        self,
        slots: IntArray,
        count: npt.NDArray[np.integer[Any]],
        variance: npt.NDArray[np.floating[Any]],
        interval: IntArray,
    ) -> IntArray:
        settings = self.settings
        if settings.margin_ns is not None:
            return np.full(len(interval), settings.margin_ns, np.int64)
        margin = np.maximum(self._bound(slots, variance, interval), settings.margin_min_ns)
        young = count < MEMORY_MIN
        return np.where(
            young, np.maximum(interval, settings.margin_min_ns), np.rint(margin)
        ).astype(np.int64)

    def _bound(
        self,
        slots: IntArray,
        variance: npt.NDArray[np.floating[Any]],
        interval: IntArray,
    ) -> FloatArray:
        """Return the margin by what was learnt (k,), before it is held at margin_min."""
        factor = 1.0 / self.settings.late_probability - 1.0
        bound = np.sqrt(variance.astype(np.float64) * factor)
        if self._counts:
            late = self.late_ns[slots].astype(np.float64)
            bound = np.where(self.counted[slots] >= self._enough, late, np.maximum(bound, late))
        held: FloatArray = np.minimum(bound, interval * self.MARGIN_MAX)
        return held

    def _level(self, slots: IntArray, past: FloatArray) -> FloatArray:
        margin = self.margin_ns(slots)
        line = self._line(slots, past, margin)
        if self.settings.margin_ns is not None:
            return line
        learnt = self._tail(slots, np.maximum(margin + past, 0.0)) + self._missed(slots, past)
        return np.where(self.learnt_count[slots] < MEMORY_MIN, line, learnt)

    def _tail(self, slots: IntArray, overdue: FloatArray) -> FloatArray:
        """Return -log10 of the chance that a heartbeat is overdue by more than that (k,)."""
        variance = np.maximum(self.variance[slots].astype(np.float64), 1.0)
        tail: FloatArray = np.log10(1.0 + overdue**2 / variance)
        if not self._counts:
            return tail
        scale = np.maximum(self.interval_ns[slots], 1) * self.MARGIN_MAX
        counted = level(self.counts[slots], overdue / scale)
        return np.where(self.counted[slots] >= self._enough, counted, tail)

    def why(self, slot: int) -> str:  # noqa: D102
        settings = self.settings
        if settings.margin_ns is not None:
            return "a margin from the settings"
        count = int(self.learnt_count[slot])
        if self.deadline_ns[slot] == NEVER:
            return "nothing was heard yet"
        if count == 0:
            return "one whole interval, because its schedule is not known"
        if count < MEMORY_MIN:
            seen = "1 heartbeat" if count == 1 else f"{count} heartbeats"
            return f"one whole interval, because only {seen} of this schedule came so far"
        return self._why(slot)

    def _why(self, slot: int) -> str:
        """Say where a margin that was learnt comes from."""
        late = self.settings.late_probability
        once_in = f"1 in {round(1 / late):,}"
        limit = int(self.interval_ns[slot]) * self.MARGIN_MAX
        one = np.array([slot])
        is_most = self._bound(one, self.variance[one], self.interval_ns[one])[0] >= limit
        counted = int(self.counted[slot])
        if self._counts and counted >= self._enough:
            if is_most:
                return f"the most there is: more than {once_in} of {counted:,} came later"
            return f"{100 * (1 - late):.12g} % of {counted:,} came earlier"
        spread = format_duration(round(float(np.sqrt(self.variance[slot]))))
        count = int(self.learnt_count[slot])
        if is_most:
            return f"the most there is: the last {count} spread by {spread}"
        return f"at most {once_in} comes later: the last {count} spread by {spread}"
