"""The accrual detector phi, with a normal distribution: the one Akka and Pekko made known.

    phi(t)   = -log10 P(the next heartbeat comes later than t after the last), normal with mean
               and deviation of the times between arrivals
    deadline = arrived + mean + pause + z(threshold) * max(deviation, deviation_min)

z is the number of standard deviations at which the tail is 10^-threshold: 5.61 at 8. With tail =
"akka" it is that of Akka's logistic formula, 5.23, so that a threshold taken along from there
means what it meant. Mean and variance carry a weight that falls as 1/count down to 2/(n+1); as in
Akka the first heartbeat stands for two, a quarter of the interval before and after it.

What is mended, compared with the usual implementations: the tail is exact and finite; the variance
is no difference of sums, so it is never negative; a sample deviates by four intervals at most, and
is bounded instead of left out, so that a lasting change is learnt; a lost heartbeat is no long
interval; a queue that is flushed does not pull the mean below what was promised; what follows an
arrival that we stamped late ourselves is not learnt.

When it is wrong: times between heartbeats are not normal. Their tails are pauses and outages, and
"once in 10^8" is what threshold 8 is called and not what it is. One long pause widens the deviation
for a whole window (bounded here to four intervals), and a late heartbeat buys as much trust as it
was late. For those who come from Akka; `chen` finds the dead sooner at equal mistakes.

A slot costs 35 bytes.

Source: N. Hayashibara, X. Defago, R. Yared, T. Katayama, "The phi accrual failure detector",
Symposium on Reliable Distributed Systems 2004; akka-remote's PhiAccrualFailureDetector.scala.
"""

from collections.abc import Callable

import numpy as np

from beatward.core.arrays import FloatArray, IntArray
from beatward.core.detect.base import ByArrival, DetectorSettings
from beatward.core.instants import NEVER, format_duration
from beatward.core.tails import deviations_at, logistic_tail, normal_tail

TAILS: dict[str, Callable[[FloatArray], FloatArray]] = {"exact": normal_tail, "akka": logistic_tail}
# Akka's cluster waits 3 s more at an interval of 1 s, and takes no deviation below 100 ms.
PAUSE_INTERVALS = 3
DEVIATIONS_PER_INTERVAL = 10
# Akka's first heartbeat counts as two samples, mean - mean/4 and mean + mean/4.
_COUNT_BEGUN = 2
_DEVIATION_BEGUN = 0.25


class Phi(ByArrival):
    """Mean and deviation of the time between arrivals, and the tail of a normal distribution."""

    READS = ("samples", "threshold", "deviation_min", "pause", "tail")
    ROWS = (*ByArrival.ROWS, "excess", "variance")

    def __init__(self, settings: DetectorSettings, capacity: int) -> None:
        super().__init__(settings, capacity)
        self.excess = np.zeros(capacity, np.float32)  # ns, mean beyond the promised interval
        self.variance = np.zeros(capacity, np.float32)  # ns^2
        self.threshold = settings.threshold
        self._deviations = deviations_at(settings.threshold, TAILS[settings.tail])
        self._weight_min = 2.0 / (settings.samples + 1.0)

    def _begin(self, slots: IntArray) -> None:
        self.learnt_count[slots] = 0
        self.excess[slots] = 0.0
        self.variance[slots] = 0.0

    def _learn(self, slots: IntArray, excess: FloatArray, interval: IntArray) -> None:
        count = np.maximum(self.learnt_count[slots].astype(np.int64), _COUNT_BEGUN) + 1
        weight = np.maximum(1.0 / count, self._weight_min)
        mean = self.excess[slots].astype(np.float64)
        variance = self._variance(slots, interval)
        deviation = excess - mean
        self.excess[slots] = mean + weight * deviation
        self.variance[slots] = (1.0 - weight) * (variance + weight * deviation**2)
        self.learnt_count[slots] = np.minimum(count, max(self.settings.samples, _COUNT_BEGUN))

    def _variance(self, slots: IntArray, interval: IntArray) -> FloatArray:
        begun = (_DEVIATION_BEGUN * interval) ** 2
        learnt = self.variance[slots].astype(np.float64)
        return np.where(self.learnt_count[slots] == 0, begun, learnt)

    def _mean(self, slots: IntArray) -> FloatArray:
        # No node is expected sooner than promised, whatever a flushed queue made of the mean.
        excess = np.maximum(self.excess[slots].astype(np.float64), 0.0)
        pause = self.settings.pause_ns
        interval = self.interval_ns[slots]
        mean: FloatArray = excess + interval
        return mean + (PAUSE_INTERVALS * interval if pause is None else pause)

    def _deviation(self, slots: IntArray) -> FloatArray:
        interval = self.interval_ns[slots]
        least = self.settings.deviation_min_ns
        floor = interval / DEVIATIONS_PER_INTERVAL if least is None else least
        return np.maximum(np.sqrt(self._variance(slots, interval)), floor)

    def timeout_ns(self, slots: IntArray) -> IntArray:  # noqa: D102
        return self._held(self._mean(slots) + self._deviations * self._deviation(slots), slots)

    def _level(self, slots: IntArray, past: FloatArray) -> FloatArray:
        deviations = self._deviations + past / np.maximum(self._deviation(slots), 1.0)
        return TAILS[self.settings.tail](deviations)

    def why(self, slot: int) -> str:  # noqa: D102
        if self.deadline_ns[slot] == NEVER:
            return "nothing was heard yet"
        one = np.array([slot])
        spread = format_duration(round(float(self._deviation(one)[0])))
        beyond = format_duration(round(float(self._mean(one)[0]) - int(self.interval_ns[slot])))
        return (
            f"phi reaches {self.settings.threshold:g} there: {beyond} and {self._deviations:.2f} "
            f"times a deviation of {spread}"
        )
