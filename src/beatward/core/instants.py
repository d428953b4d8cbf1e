"""Instants and durations as integer nanoseconds: constants, reading and printing.

Not here: any clock. An instant is a number that was handed in; only differences of instants of
one clock mean anything. Standard library only, because the agent uses it.
"""

import re

NANOSECOND = 1
MICROSECOND = 1_000
MILLISECOND = 1_000_000
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
# The longest that a promise may be, so that sums of instants stay far below NEVER.
PROMISE_MAX_NS = 366 * DAY

# The instant that never comes: larger than any clock, so `due <= now` needs no second mask.
NEVER = 2**63 - 1

_UNITS = {
    "ns": NANOSECOND,
    "us": MICROSECOND,
    "ms": MILLISECOND,
    "s": SECOND,
    "m": MINUTE,
    "h": HOUR,
    "d": DAY,
}
_DURATION = re.compile(r"(?P<count>\d+(?:\.\d+)?)(?P<unit>ns|us|ms|s|m|h|d)")


def parse_duration(text: str) -> int:
    """Read `250ms`, `2s`, `1m30s`, `30d` and return nanoseconds.

    Raises ValueError with the expected form; a bare number is refused, because it is not clear
    whether `timeout = 5` means seconds or milliseconds.
    """
    stripped = text.strip()
    position = 0
    total = 0
    for match in _DURATION.finditer(stripped):
        if match.start() != position:
            break
        whole, _, fraction = match["count"].partition(".")
        unit = _UNITS[match["unit"]]
        # Integer arithmetic keeps 0.1s exact; floats would make it 100000000.00000001.
        total += int(whole) * unit
        total += int(fraction or "0") * unit // 10 ** len(fraction)
        position = match.end()
    if not stripped or position != len(stripped):
        message = f"{text!r} is not a duration; write it like 250ms, 2s, 1m30s or 30d"
        raise ValueError(message)
    return total


def format_duration(duration_ns: int) -> str:
    """Print a duration for people: three significant digits and one unit, as `2.31 s`."""
    if duration_ns == NEVER:
        return "never"
    sign = "-" if duration_ns < 0 else ""
    size = abs(duration_ns)
    if size == 0:
        return "0 s"
    if size >= 2 * DAY:
        return f"{sign}{_rounded(size / DAY)} d"
    if size >= 2 * HOUR:
        return f"{sign}{_rounded(size / HOUR)} h"
    if size >= 2 * MINUTE:
        return f"{sign}{_rounded(size / MINUTE)} min"
    if size >= 100 * SECOND:
        return f"{sign}{size // SECOND} s"
    if size >= SECOND:
        return f"{sign}{_rounded(size / SECOND)} s"
    if size >= MILLISECOND:
        return f"{sign}{_rounded(size / MILLISECOND)} ms"
    if size >= MICROSECOND:
        return f"{sign}{_rounded(size / MICROSECOND)} us"
    return f"{sign}{size} ns"


def _rounded(value: float) -> str:
    # `.3g` alone would write 999.6 as 1e+03; reading it back and printing it again does not.
    return f"{float(f'{value:.3g}'):g}"


def unparse_duration(duration_ns: int) -> str:
    """Write a duration in the form `parse_duration` reads, exactly and as short as can be."""
    for unit in ("d", "h", "m", "s", "ms", "us"):
        if duration_ns and duration_ns % _UNITS[unit] == 0:
            return f"{duration_ns // _UNITS[unit]}{unit}"
    return f"{duration_ns}ns"
