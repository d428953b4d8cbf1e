"""What a heart may be told, and the clear refusal of everything else."""

import math
from collections.abc import Mapping
from typing import Any

from beatward.core.instants import MILLISECOND, SECOND, format_duration, parse_duration
from beatward.core.protocol.report import check_own_metrics

from .heartbeat_protocol import INTERVAL_MAX_NS
from .send_schedule import Bounds

# Ten heartbeats a second find a dead process in a quarter of a second; faster than 10 ms a
# Python process cannot keep its own promise while the collector runs.
INTERVAL_MIN_NS = 10 * MILLISECOND
# What the monitor may wish, unless the settings say otherwise: enough for a fleet to become ten
# times cheaper, and no more than a decade away from what was chosen for this node.
BOUNDS_FACTOR = 10
# What each gauge may be; the wire carries hundredths in 16 bits.
METRICS_MAX = {"cpu": 100.0, "memory": 100.0, "load": 655.34}
TRANSPORTS = ("udp", "http")
# As the monitor's /v1/join has them.
JOB_WORDS = ("schedule", "timezone", "every", "grace", "max_run")
JOB_TEXT_SIZE_MAX = 256
CRON_FIELD_COUNT = 5


def check_transport(transport: object) -> str:
    """Return a transport that there is, or raise ValueError."""
    if not isinstance(transport, str) or transport not in TRANSPORTS:
        raise ValueError(f"expected transport udp or http, found {transport!r}")
    return transport


def check_interval(interval: object) -> int:
    """Return an interval in nanoseconds that a heart can keep, or raise ValueError."""
    try:
        interval_ns = _duration_ns(interval)
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


def check_timeout(timeout: object) -> float:
    """Return a time in seconds that something is waited for, or raise ValueError."""
    try:
        return _duration_ns(timeout) / SECOND
    except ValueError as error:
        raise ValueError(f"timeout: expected a time as 500ms or 5s, found {timeout!r}") from error


def check_flag(what: str, value: object) -> bool:
    """Return a yes or no, or raise ValueError."""
    if not isinstance(value, bool):
        raise ValueError(  # noqa: TRY004  one kind of error for all that was told wrongly
            f"{what}: expected True or False, found {value!r}"
        )
    return value


def check_function(what: str, value: object) -> None:
    """Raise ValueError unless it is None or can be called."""
    if value is not None and not callable(value):
        raise ValueError(f"{what}: expected a function, found {value!r}")


def check_exit_code(exit_code: object) -> None:
    """Raise ValueError unless it is None or a whole number."""
    is_number = isinstance(exit_code, int) and not isinstance(exit_code, bool)
    if exit_code is not None and not is_number:
        raise ValueError(f"exit_code: expected a whole number, found {exit_code!r}")


def check_job(job: Any) -> dict[str, str]:
    """Return what a job promises, or raise ValueError; the monitor reads the cron fields."""
    if not isinstance(job, Mapping):
        raise ValueError(  # noqa: TRY004  as above
            f'job: expected words as {{"schedule": "0 3 * * *"}}, found {job!r}'
        )
    for word, value in job.items():
        if word not in JOB_WORDS:
            raise ValueError(f"job: found {word!r}, expected one of {', '.join(JOB_WORDS)}")
        if not isinstance(value, str) or not 0 < len(value) <= JOB_TEXT_SIZE_MAX:
            raise ValueError(
                f"job: {word}: found {value!r}, expected 1 to {JOB_TEXT_SIZE_MAX} characters"
            )
        if word in ("every", "grace", "max_run"):
            _check_job_time(word, value)
    if job and ("schedule" in job) == ("every" in job):
        raise ValueError('job: expected either schedule, as "0 3 * * *", or every, as "1h"')
    schedule = job.get("schedule")
    if schedule is not None and len(schedule.split()) != CRON_FIELD_COUNT:
        raise ValueError(
            f'job: schedule: found {schedule!r}, expected the five fields of cron, as "0 3 * * *"'
        )
    return dict(job)


def _check_job_time(word: str, value: str) -> None:
    try:
        is_time = parse_duration(value) > 0
    except ValueError:
        is_time = False
    if not is_time:
        raise ValueError(f"job: {word}: found {value!r}, expected a time as 10m or 2h")


def _duration_ns(value: object) -> int:
    # A number would be taken for seconds by one reader and for milliseconds by another.
    return parse_duration(value if isinstance(value, str) else repr(value))


def split_metrics(metrics: Any) -> tuple[dict[str, float], dict[str, float]]:
    """Return what a heartbeat carries of metrics and what it does not, or raise ValueError."""
    if not isinstance(metrics, Mapping):
        return check_metrics(metrics), {}
    own = {name: value for name, value in metrics.items() if name not in METRICS_MAX}
    gauges = {name: value for name, value in metrics.items() if name in METRICS_MAX}
    return check_metrics(gauges), check_own_metrics(own)


def check_metrics(metrics: Any) -> dict[str, float]:
    """Return metrics that a heartbeat can carry, or raise ValueError."""
    if not isinstance(metrics, Mapping):
        raise ValueError(  # noqa: TRY004  as above
            f'metrics: expected numbers as {{"load": 0.5}}, found {metrics!r}'
        )
    for key, value in metrics.items():
        if key not in METRICS_MAX:
            known = ", ".join(METRICS_MAX)
            raise ValueError(f"metrics: {key!r} is not carried; expected {known}")
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or not 0 <= value <= METRICS_MAX[key]:
            raise ValueError(f"metrics: {key}: found {value!r}, expected 0 to {METRICS_MAX[key]}")
    return dict(metrics)
