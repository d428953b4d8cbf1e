"""The accrual detector phi, with an exponential distribution: Cassandra's.

    phi(t)   = t / (mean * ln 10)
    deadline = arrived + threshold * ln 10 * mean          18.42 means at threshold 8

The mean is that of the times between arrivals, with a weight that falls as 1/count down to
2/(n+1). It looks like a distribution and is an adaptive multiple of the mean: jitter does not
matter, so it is very slow on calm networks and hard to fool on bad ones.

What is mended, compared with Cassandra: a lost heartbeat is no long interval; a time beyond two
intervals counts as two instead of being left out, so that a lasting change is learnt; duplicates
and flushed queues do not pull the mean below what was promised, which made ScyllaDB's flap.

When it is wrong: always late. A node that beats each second and dies is suspected after 18 s. And a
late heartbeat buys as much trust as it was late. For those who come from Cassandra.

A slot costs 31 bytes.

Source: gms/FailureDetector.java of Apache Cassandra, since 2010; N. Hayashibara and others, "The
phi accrual failure detector", Symposium on Reliable Distributed Systems 2004.
"""

import math

import numpy as np

from beatward.core.arrays import FloatArray, IntArray
from beatward.core.detect.base import ByArrival, DetectorSettings
from beatward.core.instants import NEVER, format_duration

# Cassandra ignores what is longer than twice its interval of gossip.
_EXCESS_MAX = 1.0
_LN10 = math.log(10.0)


class PhiExponential(ByArrival):
    """A multiple of the mean time between arrivals."""

    READS = ("samples", "threshold")
    ROWS = (*ByArrival.ROWS, "excess")

    def __init__(self, settings: DetectorSettings, capacity: int) -> None:
        super().__init__(settings, capacity)
        self.excess = np.zeros(capacity, np.float32)  # ns, mean beyond the promised interval
        self.threshold = settings.threshold
        self._factor = settings.threshold * _LN10
        self._weight_min = 2.0 / (settings.samples + 1.0)

    def _begin(self, slots: IntArray) -> None:
        self.learnt_count[slots] = 0
        self.excess[slots] = 0.0

    def _learn(self, slots: IntArray, excess: FloatArray, interval: IntArray) -> None:
        count = self.learnt_count[slots].astype(np.int64) + 1
        weight = np.maximum(1.0 / count, self._weight_min)
        mean = self.excess[slots].astype(np.float64)
        mean += weight * (np.minimum(excess, _EXCESS_MAX * interval) - mean)
        self.excess[slots] = mean
        self.learnt_count[slots] = np.minimum(count, self.settings.samples)

    def _mean(self, slots: IntArray) -> FloatArray:
        excess = np.maximum(self.excess[slots].astype(np.float64), 0.0)
        return excess + self.interval_ns[slots]

    def timeout_ns(self, slots: IntArray) -> IntArray:  # noqa: D102
        return self._held(self._factor * self._mean(slots), slots)

    def _level(self, slots: IntArray, past: FloatArray) -> FloatArray:
        level: FloatArray = self.threshold + past / (_LN10 * np.maximum(self._mean(slots), 1.0))
        return level

    def why(self, slot: int) -> str:  # noqa: D102
        if self.deadline_ns[slot] == NEVER:
            return "nothing was heard yet"
        mean = format_duration(round(float(self._mean(np.array([slot]))[0])))
        return (
            f"phi reaches {self.settings.threshold:g} there: {self._factor:.2f} times {mean}, "
            "the mean between two heartbeats"
        )
