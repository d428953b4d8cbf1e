"""A path from one node to its monitor, and the heartbeats that came along it.

A sender keeps to a grid of its own clock. While it is paused nothing leaves; afterwards it sends
one heartbeat, of the slot that is current, and never makes up for those it missed, as agents do.
What leaves may be lost by chance or in an outage, is delayed, keeps its order where the path does,
and waits while the monitor is paused. Instants are those of the monitor's clock; they are true, so
`sent_ns` is when a node would have crashed just after sending.
"""

from dataclasses import dataclass, field

import numpy as np

from beatward.core.arrays import IntArray
from beatward.core.instants import HOUR
from beatward.simulate.chance import split

from .models import NO_LOSS, Delay, Loss
from .weather import NO_SPELLS, Regimes, Spells


@dataclass(frozen=True, slots=True)
class Trace:
    """The heartbeats of one node that arrived, newest last; overtaken ones are left out.

    sequence    (n,) slot on the sender's schedule, strictly increasing
    sent_ns     (n,) on the monitor's clock
    arrived_ns  (n,) on the monitor's clock, non-decreasing
    sent_count  how many were sent, the lost ones included
    """

    interval_ns: int
    sequence: IntArray
    sent_ns: IntArray
    arrived_ns: IntArray
    sent_count: int

    @property
    def hours(self) -> float:
        """From the first to the last heartbeat that arrived."""
        return float(self.sent_ns[-1] - self.sent_ns[0]) / HOUR


@dataclass(frozen=True, slots=True)
class TraceClock:
    """The sender's clock: its rate, and steps of its schedule.

    drift_ppm      how much slower than the monitor's; 15 is what NTP allows for (RFC 5905), 200
                   what a bare crystal may have
    step_start_ns  (k,) when it is set
    step_ns        (k,) by how much all later heartbeats come later; below zero: earlier
    """

    drift_ppm: float = 0.0
    step_start_ns: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    step_ns: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))

    def due_ns(self, sequence: IntArray, interval_ns: int) -> IntArray:
        """Return when the sender's clock shows each slot of its grid (n,)."""
        due: IntArray = np.rint(sequence * (interval_ns * (1.0 + self.drift_ppm * 1e-6))).astype(
            np.int64
        )
        if not len(self.step_ns):
            return due
        steps = np.concatenate(([0], np.cumsum(self.step_ns)))
        # A step back may not let heartbeats leave before the ones of earlier slots.
        stepped = due + steps[np.searchsorted(self.step_start_ns, due, side="right")]
        ordered: IntArray = np.maximum.accumulate(stepped)
        return ordered


@dataclass(frozen=True, slots=True)
class TraceWeather:
    """What befalls the path and its ends, in time; the same for every interval and every probe."""

    outages: Spells = NO_SPELLS
    sender_pauses: Spells = NO_SPELLS
    monitor_pauses: Spells = NO_SPELLS
    regimes: Regimes | None = None


@dataclass(frozen=True, slots=True)
class TracePath:
    """Delay and loss of a way; `keeps_order`: nothing overtakes (one route, queues in order)."""

    delay: Delay
    loss: Loss = NO_LOSS
    weather: TraceWeather = TraceWeather()
    clock: TraceClock = TraceClock()
    keeps_order: bool = True


def generator(seed: int, concern: str) -> np.random.Generator:
    """Return numpy's generator of one concern of one seed."""
    return np.random.default_rng(split(seed, concern).getrandbits(128))


def beat(rng: np.random.Generator, path: TracePath, interval_ns: int, count: int) -> Trace:
    """Let a node beat for `count` slots of its schedule and return what arrives."""
    weather = path.weather
    sequence = np.arange(count, dtype=np.int64)
    due = path.clock.due_ns(sequence, interval_ns)
    pause = weather.sender_pauses.index(due)
    # The last slot that became due in a pause is the current one when it ends.
    leaves = (pause < 0) | (pause != np.concatenate((pause[1:], [-1])))
    sent = weather.sender_pauses.after(due)[leaves]
    sequence = sequence[leaves]
    sent_count = len(sequence)
    lost, delay = path.loss.draw(rng, sent_count), path.delay.draw(rng, sent_count)
    if weather.regimes is not None:
        added, scale, probability = weather.regimes.at(sent)
        delay = added + scale * delay
        lost |= rng.random(sent_count) < probability
    kept = ~(lost | weather.outages.cover(sent))
    sequence, sent = sequence[kept], sent[kept]
    arrived = sent + np.rint(delay[kept]).astype(np.int64)
    if path.keeps_order:
        arrived = np.maximum.accumulate(arrived)
    else:
        # Who was overtaken by a newer one is no news when it comes.
        best_later = np.minimum.accumulate(arrived[::-1])[::-1]
        fresh = np.concatenate((arrived[:-1] < best_later[1:], [True]))
        sequence, sent, arrived = sequence[fresh], sent[fresh], arrived[fresh]
    return Trace(interval_ns, sequence, sent, weather.monitor_pauses.after(arrived), sent_count)
