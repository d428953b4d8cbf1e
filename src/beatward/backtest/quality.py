"""How good deadlines were: mistakes while the node lived, and the wait had it crashed.

The metrics are those of W. Chen, S. Toueg, M. K. Aguilera, "On the Quality of Service of Failure
Detectors", IEEE Transactions on Computers 51(5), May 2002. Everything is counted, nothing drawn:

- After heartbeat j the node is trusted until E(j), the deadline after j; where that lies before the
  arrival (a heartbeat too late to be fresh), until what was left of the trust before it. Suspicion
  begins at E(j) if the next heartbeat arrives later; if it was trusted until then, that is a
  mistake, and the wait for the next fresh heartbeat is its duration.
- Had the node crashed between sending heartbeats j and j+1, j would have been the last one, and
  the detection would have taken E(j) minus that instant, or 0 where it was suspected already. The
  crash may happen at any instant with the same probability, so mean and quantiles are integrals
  over all of them: no crash needs to be drawn.
"""

from dataclasses import dataclass

import numpy as np

from beatward.core.arrays import FloatArray, IntArray
from beatward.core.instants import SECOND

from .replay import Arrivals

# Steps of the distribution of detection times; 2^18 between 0 and the longest.
_BINS = 1 << 18


@dataclass(frozen=True, slots=True)
class ReplayQuality:
    """Of one detector on one trace.

    detection_*_s  of a crash at any instant with the same probability
    hours          between the first and the last heartbeat counted
    """

    mistakes: int
    suspected_s: float
    hours: float
    detection_mean_s: float
    detection_p99_s: float
    detection_max_s: float

    @property
    def mistake_rate(self) -> float:
        """Mistakes an hour."""
        return self.mistakes / self.hours

    @property
    def mistake_recurrence_s(self) -> float:
        """Mean time from one mistake to the next, E(T_MR); infinite without any."""
        return self.hours * 3600 / self.mistakes if self.mistakes else float("inf")

    @property
    def mistake_duration_s(self) -> float:
        """Mean duration of a mistake, E(T_M); 0 without any."""
        return self.suspected_s / self.mistakes if self.mistakes else 0.0

    @property
    def query_accuracy(self) -> float:
        """The share of the time, all of it alive, in which the node was trusted, P_A."""
        return 1.0 - self.suspected_s / (self.hours * 3600)


def trusted_until(arrivals: Arrivals, deadline_ns: IntArray) -> IntArray:
    """Return E (n,) from the deadlines in force after each heartbeat (n,)."""
    before = np.empty_like(deadline_ns)
    before[0] = deadline_ns[0]
    before[1:] = deadline_ns[:-1]
    until: IntArray = np.maximum(deadline_ns, np.minimum(arrivals.arrived_ns, before))
    return until


def judge(arrivals: Arrivals, deadline_ns: IntArray) -> ReplayQuality:
    """Judge the deadlines in force after each heartbeat (n,), all but the last of them."""
    until = trusted_until(arrivals, deadline_ns)[:-1]
    arrived, following = arrivals.arrived_ns[:-1], arrivals.arrived_ns[1:]
    missed = until < following
    mistakes = missed & (until >= arrived)
    suspected = following[missed] - np.maximum(until[missed], arrived[missed])
    spans = np.diff(arrivals.sent_ns) / SECOND
    longest = (until - arrivals.sent_ns[:-1]) / SECOND
    mean, p99, most = detection_times(longest, spans)
    return ReplayQuality(
        mistakes=int(mistakes.sum()),
        suspected_s=float(suspected.sum()) / SECOND,
        hours=float(arrivals.arrived_ns[-1] - arrivals.arrived_ns[0]) / SECOND / 3600,
        detection_mean_s=mean,
        detection_p99_s=p99,
        detection_max_s=most,
    )


def detection_times(longest_s: FloatArray, spans_s: FloatArray) -> tuple[float, float, float]:
    """Return mean, 99th percentile and maximum over crashes at any instant of all spans.

    longest_s  (n,) detection time of a crash at the beginning of each span
    spans_s    (n,) how long each span is
    """
    begin = np.maximum(longest_s, 0.0)
    end = np.maximum(longest_s - spans_s, 0.0)
    total, most = float(spans_s.sum()), float(begin.max())
    if most == 0.0:
        return 0.0, 0.0, 0.0
    mean = float(((begin - end) * (begin + end)).sum()) / 2.0 / total
    # Within a span every detection time between `end` and `begin` is as likely as any other.
    # `above[i]` is how much of all time leads to more than i steps.
    step = most / _BINS
    density = np.bincount((begin / step).astype(np.int64), minlength=_BINS + 1)
    density -= np.bincount((end / step).astype(np.int64), minlength=_BINS + 1)
    above = np.cumsum(np.cumsum(density[::-1]))[::-1] * step
    index = int(np.searchsorted(-above, -0.01 * total))
    return mean, index * step, most
