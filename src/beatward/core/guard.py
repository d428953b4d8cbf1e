"""Doubting oneself: the monitor's own pause, before anybody else is accused.

Freeze a monitor for 15 s under 50 healthy nodes, and most monitors wake to condemn all 50: their
clocks ran on while their ears were shut. Two signs tell a pause from silence: the gap between two
watermarks, and arrivals stamped long after the watermark of the same drain (the freeze fell into
the drain itself). After a pause, queued arrivals are taken first, nothing is learnt from their
stamps, and every living deadline begins anew; one that truly died meanwhile is then found one
timeout later. Source: Eureka's compensation time and Cassandra's maximum local pause.
"""

from dataclasses import dataclass

from beatward.core.instants import MILLISECOND


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """pause_limit_ns: a longer gap between two turns is a pause of our own."""

    pause_limit_ns: int = 250 * MILLISECOND


@dataclass(frozen=True, slots=True)
class Pauses:
    """The monitor's own pauses so far, for explanations and metrics. Instants 0: never."""

    count: int = 0
    last_ns: int = 0
    last_length_ns: int = 0
    longest_ns: int = 0
    total_ns: int = 0


class Guard:
    """Watches the monitor's own clock."""

    def __init__(self, settings: GuardSettings) -> None:
        self.settings = settings
        self.pauses = Pauses()
        self._watermark_ns: int | None = None

    def is_stale(self, drained_ns: int) -> bool:
        """Tell whether arrivals of a drain that ended then were stamped late by our own pause."""
        if self._watermark_ns is None:
            return False
        return drained_ns - self._watermark_ns > self.settings.pause_limit_ns

    def turn(self, watermark_ns: int) -> int:
        """Note a turn; return the length of our own pause before it, 0 when there was none."""
        before, self._watermark_ns = self._watermark_ns, watermark_ns
        if before is None:
            return 0
        gap = watermark_ns - before
        if gap <= self.settings.pause_limit_ns:
            return 0
        past = self.pauses
        self.pauses = Pauses(
            past.count + 1, watermark_ns, gap, max(past.longest_ns, gap), past.total_ns + gap
        )
        return gap
