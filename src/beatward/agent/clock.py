"""The agent's two clocks: one for the grid of heartbeats, one to number its lives.

The grid's clock counts the time a machine is suspended. On CLOCK_MONOTONIC a laptop that slept
an hour would go on as if nothing had been, an hour behind the schedule that the monitor learned,
and every heartbeat after it would look late.
"""

import time

_GRID_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now_ns() -> int:
    """Return nanoseconds on the grid's clock; only differences mean anything."""
    return time.clock_gettime_ns(_GRID_CLOCK)


def wall_us() -> int:
    """Return microseconds since 1970; it may jump, so it only numbers lives and never waits."""
    return time.time_ns() // 1000
