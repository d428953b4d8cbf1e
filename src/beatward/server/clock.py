"""The real clock: the only place where the monitor reads time."""

import secrets
import time

from beatward.core.instants import HOUR


class SystemClock:
    """Monotonic time with a random offset, so that a stray `time.monotonic_ns()` shows at once.

    CLOCK_MONOTONIC does not count a suspended machine: while this one slept it heard no node, and
    to wake up without a gap is the kindest way to doubt oneself.
    """

    def __init__(self) -> None:
        self._offset_ns = secrets.randbelow(1000 * HOUR)

    def now_ns(self) -> int:
        """Return monotonic nanoseconds; only differences mean anything."""
        return time.monotonic_ns() + self._offset_ns

    def wall_ns(self) -> int:
        """Return nanoseconds since 1970 UTC; it may jump."""
        return time.time_ns()
