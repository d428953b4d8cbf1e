"""The histogram of Satzger and others: a quantile of the times between heartbeats, and a factor.

    deadline = arrived + factor * q                   q: the quantile 1 - late of the times

No distribution is assumed: what came before comes again. The factor stands for what was not seen
yet. Where the times have several humps (a batch job each minute, a garbage collection each hour)
this is honest where a normal distribution is not.

What is mended, compared with its best known implementation (aten, in RabbitMQ): a window of 1,000
numbers searched at each question is a histogram of 16 counts; suspicion goes on beyond the longest
time seen, where it stood still at 1; one sample is not enough to judge by; a lost heartbeat is no
long time; time is the monitor's monotonic clock and never the wall's. There late is 0.01 and the
factor 1.5. With m times seen, the chance that the next is longer than all is 1/(m + 1), so up
to 1/late heartbeats the deadline lies beyond all that were seen, and before eight beyond two
intervals.

When it is wrong: a late heartbeat buys as much trust as it was late, and the factor multiplies the
interval as well: on a calm network half an interval is given away.

A slot costs 63 bytes: 32 of them are the counts, from 1/64 of an interval to two beyond it.

Source: B. Satzger, A. Pietzowski, W. Trumler, T. Ungerer, "A new adaptive accrual failure detector
for dependable distributed systems", Symposium on Applied Computing 2007; rabbitmq/aten.
"""

import numpy as np

from beatward.core.arrays import FloatArray, IntArray
from beatward.core.detect.base import ByArrival, DetectorSettings
from beatward.core.instants import NEVER, format_duration
from beatward.core.tails import BINS, bins_of, halved, level, memory_of, quantile

MEMORY_MIN = 8
SCALE = 2  # intervals beyond the promised one, at which the counts end


class Histogram(ByArrival):
    """A quantile of the time between arrivals, times a factor."""

    READS = ("late_probability", "factor")
    ROWS = (*ByArrival.ROWS, "counts", "beyond")

    def __init__(self, settings: DetectorSettings, capacity: int) -> None:
        super().__init__(settings, capacity)
        self.counts = np.zeros((capacity, BINS), np.uint16)
        self.beyond = np.zeros(capacity, np.float32)  # ns, the quantile beyond the interval
        self._memory = memory_of(settings.late_probability)

    def _begin(self, slots: IntArray) -> None:
        self.learnt_count[slots] = 0
        self.counts[slots] = 0
        self.beyond[slots] = 0.0

    def _learn(self, slots: IntArray, excess: FloatArray, interval: IntArray) -> None:
        scale = (SCALE * interval).astype(np.float64)
        self.counts[slots, bins_of(excess / scale)] += np.uint16(1)
        count = self.learnt_count[slots] + np.uint16(1)
        full = slots[count >= self._memory]
        self.counts[full] = halved(self.counts[full])
        count[count >= self._memory] = self.counts[full].sum(axis=1, dtype=np.uint16)
        self.learnt_count[slots] = count
        share, _ = quantile(self.counts[slots], self.settings.late_probability)
        self.beyond[slots] = np.minimum(share, 1.0) * scale

    def _quantile(self, slots: IntArray) -> FloatArray:
        interval = self.interval_ns[slots]
        young = self.learnt_count[slots] < MEMORY_MIN
        beyond: FloatArray = np.where(young, interval, self.beyond[slots]).astype(np.float64)
        return beyond + interval

    def timeout_ns(self, slots: IntArray) -> IntArray:  # noqa: D102
        return self._held(self.settings.factor * self._quantile(slots), slots)

    def _level(self, slots: IntArray, past: FloatArray) -> FloatArray:
        scale = np.maximum(SCALE * self.interval_ns[slots], 1)
        # The deadline lies at the quantile, `factor` times as far away as that was.
        beyond = self._quantile(slots) - self.interval_ns[slots] + past / self.settings.factor
        counted = level(self.counts[slots], beyond / scale) + self._missed(slots, past)
        young = self.learnt_count[slots] < MEMORY_MIN
        return np.where(young, self._line(slots, past, self.timeout_ns(slots)), counted)

    def why(self, slot: int) -> str:  # noqa: D102
        if self.deadline_ns[slot] == NEVER:
            return "nothing was heard yet"
        count, factor = int(self.learnt_count[slot]), self.settings.factor
        if count < MEMORY_MIN:
            return f"{factor:g} times two intervals, because few heartbeats came so far"
        longest = format_duration(round(float(self._quantile(np.array([slot]))[0])))
        if count + 1 < 1 / self.settings.late_probability:
            return f"{factor:g} times {longest}, longer than all {count:,} times seen"
        once_in = round(1 / self.settings.late_probability)
        return f"{factor:g} times {longest}, longer than all but 1 in {once_in:,} of {count:,}"
