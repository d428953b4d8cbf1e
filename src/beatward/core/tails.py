"""How unlikely a silence is, as -log10 of a probability, without overflow and without scipy.

The naive -log10(1 - cdf(y)) is infinite from 8.3 standard deviations on, and the logistic formula
of Akka raises in Python from 21.6 on. Here the tail of the normal distribution is taken from erfc
up to NEAR standard deviations, and beyond from the asymptotic series of its logarithm, where
nothing can underflow:

    ln P(Z > y) = -y^2/2 - ln(y sqrt(2 pi)) + ln(1 - 1/y^2 + 3/y^4 - 15/y^6 + ...)

Not here: what the probability is of (`core.detect`). Numbers in, numbers out; no state.
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from beatward.core.arrays import CountArray, FloatArray

# A suspicion is a number for people and rules: 1e-300 is as sure as anything ever is, and the
# smallest double is 1e-308.
SUSPICION_MAX = 300.0
_LN10 = math.log(10.0)
# From here on six terms of the series are exact to the last bits; erfc would do until 37.
_NEAR = 20.0
# Beyond, the suspicion lies far above its clamp; squares and cubes of more could overflow.
_FAR = 1e4
_SERIES = (1.0, -1.0, 3.0, -15.0, 105.0, -945.0, 10_395.0)
# numpy has no erfc. This one is asked when a reader looks, never for a heartbeat.
_ERFC = np.frompyfunc(math.erfc, 1, 1)


def normal_tail(deviations: FloatArray) -> FloatArray:
    """Return -log10 P(Z > y) of a standard normal Z for y (k,), finite for every y but NaN."""
    y = np.clip(deviations, -_FAR, _FAR)
    near = np.clip(y, -_NEAR, _NEAR)
    # Far below the mean P is 1 - tiny, and only log1p of the tiny other side can say by how much.
    below = np.log1p(-_upper(-near))
    above = np.log(_upper(near))
    far = np.maximum(y, _NEAR)
    square = 1.0 / far**2
    series = np.polynomial.polynomial.polyval(square, _SERIES)
    asymptotic = -0.5 * far**2 - np.log(far * math.sqrt(2.0 * math.pi)) + np.log(series)
    log = np.where(y < 0.0, below, np.where(y <= _NEAR, above, asymptotic))
    return log / -_LN10


def _upper(deviations: FloatArray) -> FloatArray:
    """Return P(Z > y) for y (k,), of which negative ones count as 0."""
    scaled = np.maximum(deviations, 0.0) / math.sqrt(2.0)
    return 0.5 * np.asarray(_ERFC(scaled), np.float64)


def logistic_tail(deviations: FloatArray) -> FloatArray:
    """Return Akka's approximation of the same, with its error, for y (k,); it never raises.

    Its two branches, above and below the mean, are one formula: ln(1 + exp(g)) / ln 10 with
    g = y (1.5976 + 0.070566 y^2). The stated error of 0.00014 is of the probability: in the
    logarithm it is 16 % at y = 5.6 and a factor of three at y = 20.
    """
    y = np.clip(deviations, -_FAR, _FAR)
    return np.logaddexp(0.0, y * (1.5976 + 0.070566 * y**2)) / _LN10


def deviations_at(level: float, tail: Callable[[FloatArray], FloatArray]) -> float:
    """Return by how many standard deviations a level of `tail` is reached: z, or Akka's own.

    By bisection, once for a setting: 1.2816 at 1, 5.6120 at 8 for the normal tail.
    """
    low, high = -_FAR, _FAR
    for _ in range(200):
        middle = (low + high) / 2.0
        if float(tail(np.array([middle]))[0]) < level:
            low = middle
        else:
            high = middle
    return high


# -- a compact histogram -------------------------------------------------------------------------
#
# Sixteen counts of 16 bits a slot, of how late heartbeats were as a share of some scale. The bins
# have two steps an octave (1, 1.5, 2, 3, 4, 6 ...), which is what the exponent and the first bit of
# a single-precision number are: finding a bin is one shift. They end at the scale itself; the first
# holds all that is below 1/128 of it, early heartbeats as well.

BINS = 16
_SHIFT = 22  # all of the mantissa but its first bit
_FIRST = 254 - (BINS - 1)  # 254 is 1.0 so shifted
EDGES = (np.arange(BINS, dtype=np.int32) + _FIRST << _SHIFT).view(np.float32).astype(np.float64)
_COUNT_MAX = 65_000
# This many of the late ones should be in memory: eight to sixteen, as counts are halved when full.
_LATE_COUNT = 16
_MEMORY_LEAST = 1024


def memory_of(probability: float) -> int:
    """Return how many heartbeats to count before all counts are halved."""
    return int(min(max(_LATE_COUNT / probability, _MEMORY_LEAST), _COUNT_MAX))


def bins_of(shares: FloatArray) -> npt.NDArray[np.int32]:
    """Return into which of the bins shares (k,) of the scale fall."""
    bits = shares.astype(np.float32).view(np.int32) >> _SHIFT
    # What is negative has its sign bit set and falls into the first bin.
    found: npt.NDArray[np.int32] = np.minimum(np.maximum(bits - _FIRST, 0), BINS - 1)
    return found


def halved(counts: CountArray) -> CountArray:
    """Return counts (k, BINS) of half as many heartbeats.

    How many were later than an edge is halved and rounded up, not each bin by itself: twelve bins
    with one late heartbeat each would all become empty, or all stay.
    """
    later = (_later(counts) + 1) >> 1
    later[:, :-1] -= later[:, 1:]
    return later.astype(np.uint16)


def quantile(counts: CountArray, probability: float) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Return beyond which share (k,) of the scale at most `probability` of heartbeats come.

    counts  (k, BINS)
    Infinity where more than that came later than the whole scale. The second result says where
    enough were counted: with m seen, the next is later than all of them with a chance of
    1/(m + 1) (Renyi), and where that is above `probability`, the share is beyond all seen.
    An edge that K of m passed is passed by the next with a chance between K/(m + 1) and
    (K + 1)/(m + 1), of which the middle is taken, and 1/(m + 1) where K is 0; between two edges the
    logarithm of the chance is a straight line.
    """
    later = _passed(counts)
    rows = np.arange(len(later))
    allowed = probability * later[:, 0]
    is_enough = allowed >= 1.0
    np.maximum(allowed, 1.0, out=allowed)
    low_enough = later <= allowed[:, None]
    low_enough[:, 0] = False
    upper = np.argmax(low_enough, axis=1)
    found = low_enough[rows, upper]
    upper[~found] = BINS - 1
    above, below = later[rows, upper - 1], later[rows, upper]
    drop = np.log(np.maximum(above / below, 1.0 + 1e-9))
    part = np.clip(np.log(above / allowed) / drop, 0.0, 1.0)
    part[upper == 1] = 1.0
    shares = EDGES[upper - 1] + part * (EDGES[upper] - EDGES[upper - 1])
    return np.where(found, shares, np.inf), is_enough


def level(counts: CountArray, shares: FloatArray) -> FloatArray:
    """Return -log10 of the chance that a heartbeat comes later than shares (k,) of the scale.

    The inverse of `quantile`: 0 up to 0, a straight line between edges, constant beyond the last.
    """
    later = _passed(counts)
    rows = np.arange(len(later))
    levels: FloatArray = np.log10(later[:, :1] / later)
    lower = bins_of(shares)
    upper = np.minimum(lower + 1, BINS - 1)
    edge = np.where(lower == 0, 0.0, EDGES[lower])
    part = np.clip((shares - edge) / np.maximum(EDGES[upper] - edge, 1e-9), 0.0, 1.0)
    begin, end = levels[rows, lower], levels[rows, upper]
    # The rounding of a line could step over its own end, by the last bit.
    found: FloatArray = np.minimum(begin + part * (end - begin), end)
    return found


def _passed(counts: CountArray) -> FloatArray:
    """Return (m + 1) times the chance (k, BINS) that the next passes each edge; 1 at the first."""
    later = _later(counts)
    passed: FloatArray = np.maximum(later + 0.5, 1.0)
    passed[:, 0] = later[:, 0] + 1.0
    return passed


def _later(counts: CountArray) -> npt.NDArray[np.int32]:
    """Return how many (k, BINS) were at or beyond the lower edge of each bin."""
    later: npt.NDArray[np.int32] = np.cumsum(counts[:, ::-1], axis=1, dtype=np.int32)[:, ::-1]
    return later
