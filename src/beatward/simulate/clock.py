"""The clocks of one simulated machine: an odd zero, a drift, a wall clock that can be stepped.

Both clocks are functions of true time, in whole nanoseconds, so a machine that is asked twice
answers the same. The monotonic clock begins at a random boot: an instant of one machine means
nothing on another, and code that mixes two of them fails at once. Whether it counts the time
during which the machine was suspended is drawn (CLOCK_BOOTTIME does, the fallback does not).
"""

_BILLION = 1_000_000_000


class HostClock:
    """One machine's clocks. All arguments called `true_ns` are the event queue's time.

    drift_ppb       how much faster than true time the machine's oscillator runs; NTP keeps it
                    within 15,000 (RFC 5905, PHI), a bare crystal within 200,000
    counts_suspend  whether the monotonic clock runs on while the machine is suspended
    """

    def __init__(
        self, *, boot_ns: int, wall_ns: int, drift_ppb: int = 0, counts_suspend: bool = True
    ) -> None:
        assert boot_ns >= 0
        assert abs(drift_ppb) < _BILLION
        self._boot_ns = boot_ns
        self._wall_ns = wall_ns
        self._rate = _BILLION + drift_ppb
        self.counts_suspend = counts_suspend

    def now_ns(self, true_ns: int) -> int:
        """Return the monotonic clock."""
        return self._boot_ns + true_ns * self._rate // _BILLION

    def wall_ns(self, true_ns: int) -> int:
        """Return the wall clock: nanoseconds since 1970, as this machine believes."""
        return self._wall_ns + true_ns * self._rate // _BILLION

    def true_ns(self, local_ns: int) -> int:
        """Return the first true instant at which the monotonic clock shows this or more."""
        elapsed_ns = local_ns - self._boot_ns
        return max(0, -(-elapsed_ns * _BILLION // self._rate))

    def step_wall(self, step_ns: int) -> None:
        """Set the wall clock, as an operator does; the monotonic clock knows nothing of it."""
        self._wall_ns += step_ns

    def lose(self, suspended_ns: int) -> None:
        """Note that the machine woke after a sleep."""
        if not self.counts_suspend:
            self._boot_ns -= suspended_ns * self._rate // _BILLION

    def reboot(self, boot_ns: int, true_ns: int) -> None:
        """Begin the monotonic clock anew: it shows `boot_ns` now, whatever it showed before."""
        self._boot_ns += boot_ns - self.now_ns(true_ns)
