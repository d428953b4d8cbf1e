"""What a node says of itself beside its heartbeats: a reason, and metrics of its own.

A heartbeat has 64 bytes and no room for them, so they come over HTTP, and JSON heartbeats carry
them. Both ends check them by these functions. They are shown, and the reason is written into the
entry of a `failing`; nothing is judged by them. Standard library only, because agents use it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from beatward.core.protocol.texts import is_line

REASON_LENGTH_MAX = 200
METRIC_COUNT_MAX = 16
# Every finite number that is measured in practice, and far from the end of 64 bits.
METRIC_MAX = 1e300
METRIC_NAME = r"[A-Za-z_][A-Za-z0-9_.-]{0,63}"


@dataclass(frozen=True, slots=True)
class SelfReport:
    """What a life of a node has said of itself; a later life has not said it."""

    incarnation: int
    reason: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)


def check_reason(reason: Any) -> str:
    """Return a text that may be shown anywhere, or raise ValueError."""
    is_text = isinstance(reason, str) and is_line(reason)
    if not is_text or len(reason) > REASON_LENGTH_MAX:
        shown = repr(reason[:40] if isinstance(reason, str) else reason)[:80]
        raise ValueError(
            f"reason: found {shown}, expected one line of at most {REASON_LENGTH_MAX} characters"
        )
    return str(reason)


def check_own_metrics(metrics: Any) -> dict[str, float]:
    """Return metrics of a program's own, or raise ValueError."""
    if not isinstance(metrics, Mapping):
        raise ValueError(  # noqa: TRY004  one kind of error for all that was told wrongly
            f'metrics: expected numbers as {{"queue": 3}}, found {metrics!r}'
        )
    if len(metrics) > METRIC_COUNT_MAX:
        raise ValueError(
            f"metrics: found {len(metrics)}, expected at most {METRIC_COUNT_MAX} beside "
            "cpu, memory and load"
        )
    for name, value in metrics.items():
        if not isinstance(name, str) or not re.fullmatch(METRIC_NAME, name):
            raise ValueError(
                f"metrics: found the name {str(name)[:80]!r}, expected letters, digits and ._-, "
                "at most 64"
            )
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not abs(value) <= METRIC_MAX:
            raise ValueError(f"metrics: {name}: found {value!r}, expected a number")
    return {name: float(value) for name, value in metrics.items()}
