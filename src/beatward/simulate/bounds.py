"""How late a suspicion may come at most, for every detector: what it can honestly promise.

Written from the formulas at the top of each file in `core.detect`, on purpose not with its code. A
detector may be far quicker, and mostly is; what stands here holds in the worst network too, right
after the worst heartbeat, and with an adversary on the wire that delivers a node's last datagram
late. In intervals of the node, beyond the delay of that datagram:

    anchored on the schedule      1 + margin + how far the estimate may lie behind the last arrival,
                                  and half of the most by which one late word may pull it, while it
                                  is young: a margin that is learnt, four intervals with a set one
    restarted by each arrival     twice the timeout: the last word may have been swallowed, and said
                                  when the timeout of the one before was nearly over

Not here: what the probes, the monitor's own pauses and its grace add to that (`check_verdicts`).
"""

import math
from collections.abc import Callable

from beatward.core.detect import DetectorSettings

# Deviations are cut off there (`core.detect.base`), so short estimates lie so far behind long ones.
_DEVIATION_MAX = 4
_LN10 = math.log(10.0)
Most = Callable[[DetectorSettings, int], float]


def suspected_within_ns(settings: DetectorSettings, interval_ns: int) -> int:
    """Return the longest time from a node's last word to suspicion, beyond that word's delay."""
    return int(_MOST[settings.kind](settings, interval_ns))


def _on_schedule(margin: float, behind: float, *, beyond: float = 0.0) -> Most:
    """Return the bound of a detector with a margin and an estimate of some intervals at most.

    beyond   what is added to a margin from the settings, in intervals
    """

    def most(settings: DetectorSettings, interval_ns: int) -> float:
        if settings.margin_ns is None:
            # While an estimate is young the margin is a whole interval.
            margin_ns = float(max(max(margin, 1.0) * interval_ns, settings.margin_min_ns))
            pull_ns = max(interval_ns, settings.margin_min_ns) / 2.0
        else:
            margin_ns = settings.margin_ns + beyond * interval_ns
            pull_ns = _DEVIATION_MAX * interval_ns / 2.0
        behind_ns = max(interval_ns, margin_ns) + behind * interval_ns
        return interval_ns + margin_ns + behind_ns + pull_ns

    return most


def _fixed(settings: DetectorSettings, interval_ns: int) -> float:
    return 2.0 * (settings.timeout_ns or 3 * interval_ns)


def _calendar(settings: DetectorSettings, interval_ns: int) -> float:
    """Return twice interval and grace: here no node has a schedule."""
    return 2.0 * (interval_ns + (interval_ns if settings.grace_ns is None else settings.grace_ns))


def _phi(settings: DetectorSettings, interval_ns: int) -> float:
    """Return twice mean + pause + z * deviation, at the worst of all samples.

    Between -4 and 4 intervals, m + z * d is largest where m^2 + d^2 = 16: 4 * sqrt(1 + z^2). z is
    bounded by the tail of a normal distribution, P(Z > z) < exp(-z^2 / 2); Akka's is below that.
    """
    z = math.sqrt(2.0 * _LN10 * settings.threshold)
    pause_ns = 3 * interval_ns if settings.pause_ns is None else settings.pause_ns
    least_ns = settings.deviation_min_ns or interval_ns / 10
    worst_ns = _DEVIATION_MAX * interval_ns * math.sqrt(1.0 + z * z)
    held_ns = _DEVIATION_MAX * interval_ns + z * least_ns
    return 2.0 * (interval_ns + pause_ns + max(worst_ns, held_ns))


def _phi_exponential(settings: DetectorSettings, interval_ns: int) -> float:
    return 2.0 * max(settings.threshold * _LN10 * 2 * interval_ns, interval_ns)


def _histogram(settings: DetectorSettings, interval_ns: int) -> float:
    return 2.0 * max(settings.factor * 3 * interval_ns, interval_ns)


_MOST: dict[str, Most] = {
    "adaptive": _on_schedule(2.0, _DEVIATION_MAX, beyond=2.0),
    "bertier": _on_schedule(_DEVIATION_MAX, 0),
    "calendar": _calendar,
    "chen": _on_schedule(0.5, 0),
    "fixed": _fixed,
    "histogram": _histogram,
    "phi": _phi,
    "phi_exponential": _phi_exponential,
    "two_window": _on_schedule(0.5, _DEVIATION_MAX),
}
