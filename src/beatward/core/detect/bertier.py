"""Bertier, Marin and Sens: a margin that follows the error, as TCP follows the round trip.

    error     = arrived - EA - delay
    delay     = delay + gain * error                             gain 0.1
    deviation = deviation + gain * (|error| - deviation)
    margin    = delay_weight * delay + deviation_weight * deviation       weights 1 and 4
    deadline  = EA of the next heartbeat + margin

EA is the expected arrival of `chen`, the rest is Jacobson's estimate of 1988. It remembers some ten
heartbeats and no more, so it is the quickest to follow and the quickest to forget. It is held
between margin_min and four intervals: on a calm network it would fall to nothing, and suspect a
node for a hiccup.

When it is wrong: often, on purpose. It was made for LANs and for actions that can be taken back;
where jitter has a tail, four mean deviations are passed many times an hour. And a node that was
just late is given a multiple of that as margin, in the very seconds in which it may have died.

A slot costs 45 bytes.

Source: M. Bertier, O. Marin, P. Sens, "Implementation and performance evaluation of an adaptable
failure detector", Dependable Systems and Networks 2002.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from beatward.core.arrays import FloatArray, IntArray
from beatward.core.detect.base import DEVIATION_MAX, DetectorSettings
from beatward.core.detect.chen import Chen
from beatward.core.instants import format_duration


class Bertier(Chen):
    """Chen's expectation with Jacobson's margin."""

    READS = ("samples", "margin_min", "gain", "delay_weight", "deviation_weight")
    ROWS = (*Chen.ROWS, "delay", "deviation")

    def __init__(self, settings: DetectorSettings, capacity: int) -> None:
        super().__init__(settings, capacity)
        self._counts = False
        self.counts = np.zeros((capacity, 0), np.uint16)
        self.delay = np.zeros(capacity, np.float32)  # ns
        self.deviation = np.zeros(capacity, np.float32)  # ns

    def _unlearn(self, slots: IntArray) -> None:
        super()._unlearn(slots)
        self.delay[slots] = 0.0
        self.deviation[slots] = 0.0

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
        bound = DEVIATION_MAX * interval
        delay = self.delay[slots].astype(np.float64)
        deviation = self.deviation[slots].astype(np.float64)
        error = np.clip(lateness, -bound, bound) - delay
        gain = self.settings.gain
        self.delay[slots] = delay + gain * error
        self.deviation[slots] = deviation + gain * (np.abs(error) - deviation)
        super()._learn(slots, count, variance, interval=interval, lateness=lateness, pull=pull)

    def _bound(
        self,
        slots: IntArray,
        variance: npt.NDArray[np.floating[Any]],  # noqa: ARG002  Jacobson's is its own
        interval: IntArray,
    ) -> FloatArray:
        settings = self.settings
        margin = settings.delay_weight * self.delay[slots].astype(np.float64)
        margin += settings.deviation_weight * self.deviation[slots].astype(np.float64)
        return np.minimum(margin, DEVIATION_MAX * interval)

    def _level(self, slots: IntArray, past: FloatArray) -> FloatArray:
        # Jacobson's margin has no distribution behind it.
        return self._line(slots, past, self.margin_ns(slots))

    def _why(self, slot: int) -> str:
        weight = self.settings.deviation_weight
        deviation = format_duration(round(float(self.deviation[slot])))
        delay = format_duration(round(float(self.settings.delay_weight * self.delay[slot])))
        return f"a delay of {delay} and {weight:g} times a mean deviation of {deviation}"
