"""What a heart may be told, and the clear refusal of everything else."""

import math
from collections.abc import Mapping
from typing import Any

from beatward.core.instants import MILLISECOND, format_duration, parse_duration

from .pulse import INTERVAL_MAX_NS
from .stride import Bounds

# Ten heartbeats a second find a dead process in a quarter of a second; faster than 10 ms a
# Python process cannot keep its own promise while the collector runs.
INTERVAL_MIN_NS = 10 * MILLISECOND
# What the monitor may wish, unless the settings say otherwise: enough for a fleet to become ten
# times cheaper, and no more than a decade away from what somebody chose for this node.
BOUNDS_FACTOR = 10
# What each gauge may be; the wire carries hundredths in 16 bits.
METRICS_MAX = {"cpu": 100.0, "memory": 100.0, "load": 655.34}
TRANSPORTS = ("udp", "http")


def check_transport(transport: str) -> str:
    """Return a transport that there is, or raise ValueError."""
    if transport not in TRANSPORTS:
        raise ValueError(f"expected transport udp or http, found {transport!r}")
    return transport


def check_interval(interval: str) -> int:
    """Return an interval in nanoseconds that a heart can keep, or raise ValueError."""
    try:
        interval_ns = parse_duration(str(interval))
    except ValueError as error:
        raise ValueError(f"expected an interval as 250ms or 2s, found {interval!r}") from error
    if interval_ns % MILLISECOND or not INTERVAL_MIN_NS <= interval_ns <= INTERVAL_MAX_NS:
        raise ValueError(
            f"expected an interval of whole milliseconds, 10ms to 49d, found {interval!r}"
        )
    return interval_ns


def check_bounds(interval_ns: int, interval_min: str | None, interval_max: str | None) -> Bounds:
    """Return what the monitor may wish an interval to be, or raise ValueError."""
    tenth_ns = max(interval_ns // BOUNDS_FACTOR // MILLISECOND * MILLISECOND, INTERVAL_MIN_NS)
    min_ns = tenth_ns if interval_min is None else check_interval(interval_min)
    most_ns = min(BOUNDS_FACTOR * interval_ns, INTERVAL_MAX_NS)
    max_ns = most_ns if interval_max is None else check_interval(interval_max)
    if not min_ns <= interval_ns <= max_ns:
        own = format_duration(interval_ns)
        bounds = f"{format_duration(min_ns)} to {format_duration(max_ns)}"
        raise ValueError(
            f"expected interval_min <= interval <= interval_max, found {own} and {bounds}"
        )
    return Bounds(min_ns, max_ns)


def check_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return metrics that a heartbeat can carry, or raise ValueError."""
    for key, value in metrics.items():
        if key not in METRICS_MAX:
            known = ", ".join(METRICS_MAX)
            raise ValueError(f"metrics: {key!r} is not carried; expected {known}")
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or not 0 <= value <= METRICS_MAX[key]:
            raise ValueError(f"metrics: {key}: found {value!r}, expected 0 to {METRICS_MAX[key]}")
    return dict(metrics)
