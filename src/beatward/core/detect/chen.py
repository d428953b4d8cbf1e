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
2/(n+1), so a slot costs 40 bytes instead of a ring of n, and follows a drifting clock as the ring
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

import numpy as np

from beatward.core.detect.base import (
    INTERVAL_MAX_NS,
    Detector,
    DetectorSettings,
    FloatArray,
    IntArray,
)
from beatward.core.instants import NEVER, format_duration

# Below this many heartbeats a variance says nothing: its relative error is above one half.
MEMORY_MIN = 8
# One pause must not blunt the detector for a whole window: a deviation counts as at most this many
# intervals (Pekko leaves such samples out; we bound them, so a lasting change is still learnt).
DEVIATION_MAX = 4
# So many heartbeats in a row outside the margin, early or late, are a schedule that has moved (a
# virtual machine that was paused with its clock), not jitter: the estimate begins anew.
STRIKES_MAX = 3


class Chen(Detector):
    """Expected arrival by exponential mean, margin by setting or by the one-sided bound."""

    def __init__(self, settings: DetectorSettings, capacity: int) -> None:
        super().__init__(settings, capacity)
        self.sequence: IntArray = np.zeros(capacity, np.int64)
        self.expected_ns: IntArray = np.zeros(capacity, np.int64)  # of heartbeat `sequence`
        self.variance: FloatArray = np.zeros(capacity, np.float64)  # ns^2 of the offset
        self.learnt_count: IntArray = np.zeros(capacity, np.int64)
        self.strikes: IntArray = np.zeros(capacity, np.int64)
        self._weight_min = 2.0 / (settings.window + 1.0)

    def observe(  # noqa: D102
        self,
        slots: IntArray,
        sequence: IntArray,
        interval_ns: IntArray,
        arrived_ns: IntArray,
        *,
        learn: bool = True,
    ) -> None:
        interval = np.minimum(interval_ns, INTERVAL_MAX_NS)
        self._reanchor_where_grid_changed(slots, sequence, interval)
        expected = self._expected_ns(slots, sequence, interval, arrived_ns)
        self._reanchor_where_schedule_moved(slots, interval, expected, arrived_ns, learn=learn)
        expected = self._expected_ns(slots, sequence, interval, arrived_ns)
        if learn:
            expected = self._learn(slots, interval, expected, arrived_ns)
        self.sequence[slots] = sequence
        self.expected_ns[slots] = expected
        self.interval_ns[slots] = interval
        self.due_ns[slots] = expected + interval
        deadline = self.due_ns[slots] + self.margin_ns(slots)
        if not learn:
            # Stamped late by our own pause: the whole timeout from now on, and nothing learnt.
            deadline = np.maximum(deadline, arrived_ns + self.timeout_ns(slots))
        self.deadline_ns[slots] = deadline

    def _expected_ns(
        self, slots: IntArray, sequence: IntArray, interval: IntArray, arrived_ns: IntArray
    ) -> IntArray:
        known = self.learnt_count[slots] > 0
        passed = np.where(known, sequence - self.sequence[slots], 0)
        return np.where(known, self.expected_ns[slots] + passed * interval, arrived_ns)

    def _reanchor_where_schedule_moved(
        self,
        slots: IntArray,
        interval: IntArray,
        expected: IntArray,
        arrived_ns: IntArray,
        *,
        learn: bool,
    ) -> None:
        margin = self.margin_ns(slots)
        # Nothing arrives before it was sent. Where a queue of late heartbeats is flushed, the
        # estimate moves to the late ones and would expect the newest a whole queue from now.
        moved = expected - arrived_ns > np.maximum(interval, margin)
        if learn:
            outside = np.abs(arrived_ns - expected) > margin
            strikes = np.where(outside & ~moved, self.strikes[slots] + 1, 0)
            self.strikes[slots] = strikes
            moved |= strikes >= STRIKES_MAX
        self.reanchor(slots[moved])

    def _reanchor_where_grid_changed(
        self, slots: IntArray, sequence: IntArray, interval: IntArray
    ) -> None:
        # Another interval is another grid. A jump that would overflow is no schedule either.
        jump = (sequence - self.sequence[slots]).astype(np.float64) * interval
        moved = (self.interval_ns[slots] != interval) | (jump > INTERVAL_MAX_NS) | (jump < 0)
        self.reanchor(slots[moved])

    def _learn(
        self, slots: IntArray, interval: IntArray, expected: IntArray, arrived_ns: IntArray
    ) -> IntArray:
        count = self.learnt_count[slots] + 1
        weight = np.maximum(1.0 / count, self._weight_min)
        bound = (DEVIATION_MAX * interval).astype(np.float64)
        deviation = np.clip((arrived_ns - expected).astype(np.float64), -bound, bound)
        self.learnt_count[slots] = np.minimum(count, self.settings.window)
        # The first sample has weight 1 and deviation 0: no branch is needed for it.
        self.variance[slots] = (1.0 - weight) * (self.variance[slots] + weight * deviation**2)
        return expected + np.rint(weight * deviation).astype(np.int64)

    def reanchor(self, slots: IntArray) -> None:  # noqa: D102
        self.learnt_count[slots] = 0
        self.variance[slots] = 0.0
        self.strikes[slots] = 0

    def timeout_ns(self, slots: IntArray) -> IntArray:  # noqa: D102
        return self.interval_ns[slots] + self.margin_ns(slots)

    def margin_ns(self, slots: IntArray) -> IntArray:  # noqa: D102
        settings = self.settings
        if settings.margin_ns is not None:
            return np.full(len(slots), settings.margin_ns, np.int64)
        interval = self.interval_ns[slots]
        factor = 1.0 / settings.late_probability - 1.0
        bound = np.sqrt(self.variance[slots] * factor)
        ceiling = np.maximum(interval / 2.0, settings.margin_min_ns)
        margin = np.clip(bound, settings.margin_min_ns, ceiling)
        young = self.learnt_count[slots] < MEMORY_MIN
        return np.where(
            young, np.maximum(interval, settings.margin_min_ns), np.rint(margin)
        ).astype(np.int64)

    def why(self, slot: int) -> str:  # noqa: D102
        settings = self.settings
        if settings.margin_ns is not None:
            return "a margin from the settings"
        count = int(self.learnt_count[slot])
        if self.due_ns[slot] == NEVER:
            return "nothing was heard yet"
        if count == 0:
            return "one whole interval, because its schedule is not known"
        if count < MEMORY_MIN:
            seen = "1 heartbeat" if count == 1 else f"{count} heartbeats"
            return f"one whole interval, because only {seen} of this schedule came so far"
        spread = format_duration(round(float(np.sqrt(self.variance[slot]))))
        once_in = round(1 / settings.late_probability)
        return f"at most 1 in {once_in:,} comes later: the last {count} spread by {spread}"
