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
2/(n+1), so a slot costs 31 bytes instead of a ring of n, and follows a drifting clock as the ring
does. Moving the anchor to each heartbeat keeps every number small: no product of a sequence number
and an interval is ever formed.

Margin "auto": by the one-sided inequality (Cantelli), P(lateness > margin) <= V / (V + margin^2),
so margin = sqrt(V * (1/p - 1)) lets at most a share p of the heartbeats be late whatever their
distribution. It is held between margin_min and half an interval: beyond that a probe is the
cheaper question. Until MEMORY_MIN heartbeats were seen, the margin is one whole interval.

When it is wrong: one long outage inflates V for n heartbeats, and jitter with a heavy tail makes
the bound generous; the stage that probes before a verdict makes both cost little.

Source: W. Chen, S. Toueg, M. K. Aguilera, "On the Quality of Service of Failure Detectors", IEEE
Transactions on Computers 51(5), May 2002, sections 6 and 7 (NFD-U and NFD-E).
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from beatward.core.detect.base import (
    DEVIATION_MAX,
    INTERVAL_MAX_NS,
    BoolArray,
    Detector,
    DetectorSettings,
    FloatArray,
    IntArray,
)
from beatward.core.instants import NEVER, format_duration

# Below this many heartbeats a variance says nothing: its relative error is above one half.
MEMORY_MIN = 8
# So many heartbeats in a row outside the margin, early or late, are a schedule that has moved (a
# virtual machine that was paused with its clock), not jitter: the estimate begins anew.
STRIKES_MAX = 3


class Chen(Detector):
    """Expected arrival by exponential mean, margin by setting or by the one-sided bound.

    Those who add to it keep arrays of their own: `_unlearn`, `_learn` and `_margin` are their
    places, and `_early` if they expect an arrival at more than one instant.
    """

    def __init__(self, settings: DetectorSettings, capacity: int) -> None:
        super().__init__(settings, capacity)
        # Single precision: nobody asks for the eighth digit of a margin.
        self.variance = np.zeros(capacity, np.float32)  # ns^2 of the offset
        self.learnt_count = np.zeros(capacity, np.uint16)
        self.strikes = np.zeros(capacity, np.uint8)
        self._weight_min = 2.0 / (settings.window + 1.0)

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
            self._learn(slots, count, variance, interval=interval, lateness=lateness)
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
    ) -> None:
        """Move mean and variance by one heartbeat; `count`, `variance`, `lateness` are changed.

        What remains of the lateness is measured from the new expectation.
        """
        count += 1
        weight = np.maximum(1.0 / count, self._weight_min)
        np.minimum(count, self.settings.window, out=count)
        bound = (DEVIATION_MAX * interval).astype(np.float64)
        deviation = np.clip(lateness.astype(np.float64), -bound, bound)
        # The first sample has weight 1 and deviation 0: no branch is needed for it.
        variance += weight * deviation**2
        variance *= 1.0 - weight
        lateness -= np.rint(weight * deviation).astype(np.int64)

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
        slots: IntArray,  # noqa: ARG002  for those who learn more than this
        variance: npt.NDArray[np.floating[Any]],
        interval: IntArray,
    ) -> FloatArray:
        """Return the margin by what was learnt (k,), before it is held at margin_min."""
        factor = 1.0 / self.settings.late_probability - 1.0
        return np.minimum(np.sqrt(variance.astype(np.float64) * factor), interval / 2.0)

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
        return tail

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
        count = int(self.learnt_count[slot])
        spread = format_duration(round(float(np.sqrt(self.variance[slot]))))
        once_in = round(1 / self.settings.late_probability)
        return f"at most 1 in {once_in:,} comes later: the last {count} spread by {spread}"
