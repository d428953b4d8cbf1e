"""VA-NFD, ours: 2W-FD whose margin knows how rough the last minutes were.

    deadline = max(EA_short, EA_long) + M + margin          short: 8 heartbeats; long: `window`
    M        = the largest lateness of the last 256 heartbeats, from 0 to two intervals

The margin is the quantile of what comes later than M allows, so it is small where M does the work.
Lateness is measured from where its own heartbeat was expected, so a lost heartbeat is none, and
loss makes no node slower. Where routes change and hosts pause, the next late heartbeat is much like
the last; M takes its size from it and forgets it for good. Margin and M together are held between
margin_min and two intervals; to a margin from the settings M is added as it is.

Instead of a ring of 256 a slot keeps the largest of each of four blocks of 64 heartbeats, so M
looks back over 193 to 256; all in all 94 bytes.

When it is wrong: on calm networks with rare pauses. One pause makes detection slower for 256
heartbeats, by up to two intervals, and nothing is won by it. At a very high rate of mistakes the
short estimate adds noise. `chen` has the better worst case everywhere.

Source: ours, on the shoulders of 2W-FD; how it fares against the others is in
docs/detection-quality.md.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from beatward.core.arrays import BoolArray, FloatArray, IntArray
from beatward.core.detect.base import DetectorSettings
from beatward.core.detect.two_window import TwoWindow
from beatward.core.instants import format_duration

LATENESS_MAX = 2  # intervals
# Four blocks of 64 heartbeats; a count of eight bits comes round after exactly these.
BLOCKS = 4
_BLOCK_BITS = 6


class Adaptive(TwoWindow):
    """The later of two expected arrivals, and the largest lateness of late."""

    WINDOW_SHORT = 8
    MARGIN_MAX = float(LATENESS_MAX)

    ROWS = (*TwoWindow.ROWS, "largest", "place")

    def __init__(self, settings: DetectorSettings, capacity: int) -> None:
        super().__init__(settings, capacity)
        self.largest = np.zeros((capacity, BLOCKS), np.float32)  # ns, of each block
        self.place = np.zeros(capacity, np.uint8)  # in the four blocks

    def forget(self, slots: IntArray) -> None:  # noqa: D102
        super().forget(slots)
        self.largest[slots] = 0.0
        self.place[slots] = 0

    def _count(
        self, slots: IntArray, expected: BoolArray, interval: IntArray, lateness: IntArray
    ) -> None:
        beyond = lateness - self._largest(slots).astype(np.int64)
        super()._count(slots, expected, interval, beyond)

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
        place = self.place[slots]
        block = place >> _BLOCK_BITS
        before = self.largest[slots, block]
        before[place & ((1 << _BLOCK_BITS) - 1) == 0] = 0.0
        late = np.clip(lateness, 0, LATENESS_MAX * interval).astype(np.float32)
        self.largest[slots, block] = np.maximum(before, late)
        self.place[slots] = place + np.uint8(1)
        super()._learn(slots, count, variance, interval=interval, lateness=lateness, pull=pull)

    def _largest(self, slots: IntArray) -> FloatArray:
        largest: FloatArray = self.largest[slots].max(axis=1, initial=0.0).astype(np.float64)
        return largest

    def _margin(
        self,
        slots: IntArray,
        count: npt.NDArray[np.integer[Any]],
        variance: npt.NDArray[np.floating[Any]],
        interval: IntArray,
    ) -> IntArray:
        margin = super()._margin(slots, count, variance, interval)
        if self.settings.margin_ns is None:
            return margin
        return margin + self._largest(slots).astype(np.int64)

    def _bound(
        self,
        slots: IntArray,
        variance: npt.NDArray[np.floating[Any]],
        interval: IntArray,
    ) -> FloatArray:
        margin = super()._bound(slots, variance, interval) + self._largest(slots)
        return np.minimum(margin, LATENESS_MAX * interval)

    def _tail(self, slots: IntArray, overdue: FloatArray) -> FloatArray:
        return super()._tail(slots, np.maximum(overdue - self._largest(slots), 0.0))

    def _why(self, slot: int) -> str:
        largest = format_duration(round(float(self._largest(np.array([slot]))[0])))
        return f"{largest} for the latest of the last 256, and {super()._why(slot)}"
