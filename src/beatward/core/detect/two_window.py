"""2W-FD: two expectations, a short one and a long one, and the later of them counts.

    deadline = max(EA_short, EA_long) + margin      short: the last heartbeat alone; long: `window`

EA is the expected arrival of `chen`, with the same exponential means. The short one follows a
sudden delay at once, so that a route that became longer raises one suspicion and not a row of them;
the long one keeps a single early heartbeat from bringing the deadline closer. The margin is that of
`chen`: the quantile of lateness against the later of the two, or the bound by the spread around the
long one.

A slot keeps, beside what `chen` keeps, by how much the long estimate lies behind the short one:
77 bytes.

When it is wrong: with the short estimate of one heartbeat, a heartbeat that was late buys trust for
one more interval; beyond that, see `chen`. On calm networks it is `chen` with a little more delay.

Source: A. Tomsic, P. Sens, J. Garcia, L. Arantes, J. Sopena, "2W-FD: a failure detector algorithm
with QoS", International Parallel and Distributed Processing Symposium 2015.
"""

from typing import ClassVar

import numpy as np

from beatward.core.arrays import FloatArray, IntArray
from beatward.core.detect.base import DEVIATION_MAX, DetectorSettings
from beatward.core.detect.chen import Chen


class TwoWindow(Chen):
    """The later of two expected arrivals; `expected_ns` is that one."""

    READS = ("samples_short", *Chen.READS)

    WINDOW_SHORT = 1

    ROWS: ClassVar[tuple[str, ...]] = (*Chen.ROWS, "gap_ns")

    def __init__(self, settings: DetectorSettings, capacity: int) -> None:
        super().__init__(settings, capacity)
        self.gap_ns = np.zeros(capacity, np.int64)  # long estimate - short estimate
        self._weight_short_min = 2.0 / ((settings.samples_short or self.WINDOW_SHORT) + 1.0)

    def _unlearn(self, slots: IntArray) -> None:
        super()._unlearn(slots)
        self.gap_ns[slots] = 0

    def _early(self, slots: IntArray, lateness: IntArray) -> IntArray:
        # Before the earlier of both: after one late heartbeat the next one is no sign of anything.
        return -lateness - np.abs(self.gap_ns[slots])

    def _learn(
        self,
        slots: IntArray,
        count: IntArray,
        variance: FloatArray,
        *,
        interval: IntArray,
        lateness: IntArray,
        pull: IntArray,
    ) -> None:
        gap = self.gap_ns[slots]
        behind_long = lateness - np.minimum(gap, 0)
        behind_short = lateness + np.maximum(gap, 0)
        super()._learn(slots, count, variance, interval=interval, lateness=behind_long, pull=pull)
        weight = np.maximum(1.0 / count, self._weight_short_min)
        bound = DEVIATION_MAX * interval
        deviation = np.clip(behind_short, -bound, bound).astype(np.float64)
        behind_short -= np.rint(weight * deviation).astype(np.int64)
        lateness[:] = np.minimum(behind_long, behind_short)
        self.gap_ns[slots] = behind_short - behind_long
