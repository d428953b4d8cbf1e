"""A twin of a measured week: heartbeats from Japan to Switzerland every 100 ms.

The week is that of N. Hayashibara, X. Defago, R. Yared, T. Katayama, "The phi Accrual Failure
Detector", SRDS 2004, section 5. Its raw trace is not public. The figures below are those that our
notes quote from the paper; we have not had the paper itself in hand, so the twin is a twin of
these figures. It matches: heartbeats sent, interval, heartbeats lost, bursts of loss and the
longest of them, mean and deviation of the time between two arrivals.

Bursts: 813 lengths l drawn in proportion to l^-1.1994 * exp(-l / 267.9) for l up to 1092, and one
of 1093; both numbers solve for the mean burst and for the deviation of the time between arrivals.
Delays: half the smallest round trip, and lognormal jitter with half the variance of the round trip,
cut where the longest round trip lies, had all of it been on this way.
What no figure says is how jitter is correlated. CORRELATION of neighbours and MEMORY are ours; what
a detector gains that trusts the recent past depends on them, so results for a brief memory belong
beside those for this one.
"""

from dataclasses import dataclass

import numpy as np

from beatward.core.arrays import FloatArray, IntArray

from .models import Delay, Lognormal
from .path import Trace

SENT = 5_845_713
INTERVAL_NS = 103_501_000
LOST = 23_192
BURSTS = 814
BURST_MAX = 1093
ARRIVAL_MEAN_S = 0.1039
ARRIVAL_DEVIATION_S = 0.1041
CORRELATION = 0.7
MEMORY = 100.0  # heartbeats, 10 s

_EXPONENT, _CUT = 1.1994, 267.9
# Of the round trip: least 270.201 ms, mean 283.338, deviation 27.342, longest 717.832 ms.
_LEAST_NS = 135_100_500.0
_JITTER_MEAN_NS = 6_568_500.0
_JITTER_DEVIATION_NS = 19_334_000.0
_JITTER_MAX_NS = 447_631_000.0


def wan(
    rng: np.random.Generator, sent_count: int = SENT, *, memory: float | None = MEMORY
) -> Trace:
    """Draw the twin, or one with `sent_count` heartbeats and as large a share of the losses.

    memory  how long jitter is correlated, in heartbeats; None: three
    """
    sequence = np.arange(sent_count, dtype=np.int64)
    sent = sequence * INTERVAL_NS
    kept = np.ones(sent_count, np.bool_)
    lengths = bursts(rng, max(1, round(BURSTS * sent_count / SENT)))
    # At least one heartbeat arrives between two bursts, or they would be one.
    room = sent_count - int(lengths.sum()) - len(lengths)
    begins = np.sort(rng.integers(1, room, len(lengths)))
    begins += np.concatenate(([0], np.cumsum(lengths + 1)[:-1]))
    for begin, length in zip(begins.tolist(), lengths.tolist(), strict=True):
        kept[begin : begin + length] = False
    arrived = sent + np.rint(delay(memory).draw(rng, sent_count)).astype(np.int64)
    arrived = np.maximum.accumulate(arrived[kept])
    return Trace(INTERVAL_NS, sequence[kept], sent[kept], arrived, sent_count)


@dataclass(frozen=True, slots=True)
class Cut:
    """Delays of another model, none longer than `most_ns`."""

    delay: Delay
    most_ns: float

    def draw(self, rng: np.random.Generator, count: int) -> FloatArray:  # noqa: D102
        return np.minimum(self.delay.draw(rng, count), self.most_ns)


def delay(memory: float | None = MEMORY) -> Cut:
    """Return the delays of the twin; `memory` as in `wan`."""
    drawn = Lognormal(_JITTER_MEAN_NS, _JITTER_DEVIATION_NS, _LEAST_NS, CORRELATION, memory)
    return Cut(drawn, _LEAST_NS + _JITTER_MAX_NS)


def bursts(rng: np.random.Generator, count: int) -> IntArray:
    """Return the lengths of bursts of loss (count,), the longest among them at a random place."""
    lengths = np.arange(1, BURST_MAX, dtype=np.float64)
    weights = lengths**-_EXPONENT * np.exp(-lengths / _CUT)
    shares = np.cumsum(weights) / weights.sum()
    # One from every equal part of the distribution: independent draws with a tail like this one
    # would miss the number of heartbeats lost by 5 % from seed to seed.
    at = (np.arange(count) + rng.random(count)) / count
    drawn = 1 + np.searchsorted(shares, at)
    drawn[rng.integers(0, count)] = BURST_MAX
    return rng.permutation(drawn).astype(np.int64)
