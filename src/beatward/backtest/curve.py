"""A detector over all values of its one knob: mistakes against detection time, and any point of it.

Detectors can only be compared at the same number of mistakes, and none can be told to make just so
many. Its knob (a margin, a threshold) is turned through some values and the whole trace replayed
with each, exactly. Between two neighbouring values the deadlines of every single heartbeat are
taken to move in proportion, which they do as long as the estimates behind them do not depend on
the knob; so a heartbeat stops being a mistake at a known share of the way, and the number of
mistakes between the two is counted, not drawn through two points. That matters: on a path that
loses 1 % the curve is a staircase, flat for most of an interval and then a cliff.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from beatward.core.arrays import IntArray
from beatward.core.detect import DetectorSettings

from .quality import ReplayQuality, judge, trusted_until
from .replay import Arrivals, deadlines, warm_up

# Of the shares of the way from one value to the next at which mistakes end, this many are kept.
_SHARES = 64


@dataclass(frozen=True, slots=True)
class Measured:
    """One value of the knob and what came of it.

    ends  shares of the way from the value before at which mistakes end, ascending quantiles
    """

    value: float
    quality: ReplayQuality
    ends: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Point:
    """What a detector that makes a rate of mistakes an hour takes to detect a crash."""

    value: float
    mistake_rate: float
    detection_mean_s: float
    detection_p99_s: float
    detection_max_s: float


@dataclass(frozen=True, slots=True)
class Curve:
    """All values of the knob that were tried, in the order of fewer mistakes."""

    measured: tuple[Measured, ...]

    def at(self, mistake_rate: float) -> Point | None:
        """Return the point with a rate of mistakes an hour; None outside of what was measured."""
        for before, after in zip(self.measured, self.measured[1:], strict=False):
            most, least = before.quality.mistake_rate, after.quality.mistake_rate
            if most >= mistake_rate >= least and most > least:
                ended = (most - mistake_rate) / (most - least)
                share = float(np.quantile(after.ends, ended)) if len(after.ends) else ended
                return _between(before, after, share, mistake_rate)
        return None


def _between(before: Measured, after: Measured, share: float, mistake_rate: float) -> Point:
    def at(first: float, second: float) -> float:
        return first + share * (second - first)

    one, two = before.quality, after.quality
    return Point(
        at(before.value, after.value),
        mistake_rate,
        at(one.detection_mean_s, two.detection_mean_s),
        at(one.detection_p99_s, two.detection_p99_s),
        at(one.detection_max_s, two.detection_max_s),
    )


def measure(
    arrivals: Arrivals,
    values: Iterable[float],
    settings_of: Callable[[float], DetectorSettings],
    *,
    fewest: int,
) -> Curve:
    """Replay the trace with each value of the knob, ascending, until it makes too few mistakes.

    fewest  with fewer mistakes than this nothing more can be said, and the rest is left out
    """
    measured: list[Measured] = []
    until_before: IntArray | None = None
    for value in values:
        settings = settings_of(value)
        skipped = min(warm_up(settings), len(arrivals) // 4)
        counted = arrivals.part(skipped, len(arrivals))
        deadline = deadlines(arrivals, settings, skipped=skipped)
        quality = judge(counted, deadline)
        until = trusted_until(counted, deadline)[:-1]
        ends = np.zeros(0)
        if until_before is not None and len(until_before) == len(until):
            ends = _ends(until_before, until, counted.arrived_ns[1:])
        measured.append(Measured(value, quality, ends))
        until_before = until
        if quality.mistakes < fewest:
            break
    return Curve(tuple(measured))


def _ends(
    before_ns: IntArray, after_ns: IntArray, following_ns: IntArray
) -> npt.NDArray[np.float64]:
    ended = np.flatnonzero((before_ns < following_ns) & (after_ns >= following_ns))
    if not len(ended):
        return np.zeros(0)
    missing = following_ns[ended] - before_ns[ended]
    shares = missing / (after_ns[ended] - before_ns[ended])
    found: npt.NDArray[np.float64] = np.quantile(shares, np.linspace(0.0, 1.0, _SHARES + 1))
    return found
