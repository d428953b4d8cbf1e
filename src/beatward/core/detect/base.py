"""What every detector is: arrays over slots, a deadline, and words for how it came about.

Suspicion of all detectors is on one scale, -log10 of the chance that a node which is well is silent
for that time: 3 is once in a thousand heartbeats. Where a detector has a distribution it is taken
from that, and elsewhere a straight line leads up to the deadline. Either way two things hold:
suspicion reaches `threshold` at the deadline and not a nanosecond before, and it only grows while
nothing is heard. It is not the probability that the node is dead, which cannot be known from
silence alone.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from beatward.core.arrays import FloatArray, IntArray, Rows
from beatward.core.instants import MILLISECOND, NEVER, PROMISE_MAX_NS
from beatward.core.tails import SUSPICION_MAX

# A promise longer than a year is taken as a year; of a job it is refused.
INTERVAL_MAX_NS = PROMISE_MAX_NS
# What a multiple of that may come to: an instant of today and it stay below NEVER.
TIMEOUT_MAX_NS = 100 * INTERVAL_MAX_NS
# One pause must not blunt a detector for a whole window: a deviation counts as at most this many
# intervals (Pekko leaves such samples out; we bound them, so a lasting change is still learnt).
DEVIATION_MAX = 4


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """Parameters of all detectors; each reads its own. Units and reasons: config.DetectorTable.

    timeout_ns         fixed: since the last arrival; None: three promised intervals
    samples            how many heartbeats a mean remembers; fixed and histogram have none
    samples_short      two_window, adaptive: the same of the short mean; None: 1 and 8
    margin_ns          chen, two_window, adaptive: None means from `late_probability`
    margin_from        the same: "quantile" of what was counted, or "cantelli" for the bound
    threshold          phi, phi_exponential: the suspicion at which a node is suspect
    deviation_min_ns   phi: None means a tenth of the interval
    pause_ns           phi: None means three intervals
    tail               phi: "exact", or "akka" for its approximation
    factor             histogram: times the quantile of the time between two heartbeats
    gain, delay_weight, deviation_weight   bertier: gamma, beta and phi of the paper
    grace_ns           calendar: None means one interval
    """

    kind: str = "chen"
    timeout_ns: int | None = None
    samples: int = 128
    samples_short: int | None = None
    margin_ns: int | None = None
    margin_from: str = "quantile"
    margin_min_ns: int = 50 * MILLISECOND
    late_probability: float = 1e-3
    threshold: float = 8.0
    deviation_min_ns: int | None = None
    pause_ns: int | None = None
    tail: str = "exact"
    factor: float = 1.5
    gain: float = 0.1
    delay_weight: float = 1.0
    deviation_weight: float = 4.0
    grace_ns: int | None = None


class Detector(Rows, ABC):
    """Deadlines of all slots. Slots given to one call are distinct; see `registry.first_of_each`.

    The arrays are public to read: `deadline_ns` is the instant silence becomes suspicion, NEVER
    for a slot that has not been heard; `expected_ns` is when the last heartbeat was expected or,
    where a detector expects nothing, when it came; `interval_ns` is what it promised.

    A slot has to be told to `forget` before it is used: arrays begin as zeros, which cost no memory
    until they are written, so that room for a very large fleet may be kept from the start.

    `threshold` is the suspicion at the deadline.

    READS   the keys of [detector] that mean something to this detector
    """

    READS: ClassVar[tuple[str, ...]] = ()
    ROWS: ClassVar[tuple[str, ...]] = ("deadline_ns", "expected_ns", "interval_ns")

    def __init__(self, settings: DetectorSettings, capacity: int) -> None:
        self.settings = settings
        self.threshold = -math.log10(settings.late_probability)
        self.deadline_ns: IntArray = np.zeros(capacity, np.int64)
        self.expected_ns: IntArray = np.zeros(capacity, np.int64)
        self.interval_ns: IntArray = np.zeros(capacity, np.int64)

    def forget(self, slots: IntArray) -> None:
        """Begin anew: a new life, or a slot used again. Nothing learnt before counts."""
        self.deadline_ns[slots] = NEVER
        self.expected_ns[slots] = 0
        self.interval_ns[slots] = 0
        self.reanchor(slots)

    def due_ns(self, slots: IntArray) -> IntArray:
        """Return when the next heartbeats are expected (k,); NEVER where nothing was heard."""
        due = self.expected_ns[slots] + self.interval_ns[slots]
        return np.where(self.deadline_ns[slots] == NEVER, NEVER, due)

    def extend(self, slots: IntArray, until_ns: IntArray) -> None:
        """Move deadlines that lie before an instant to it; none moves closer."""
        self.deadline_ns[slots] = np.maximum(self.deadline_ns[slots], until_ns)

    def suspicion(self, slots: IntArray, now_ns: int | IntArray) -> FloatArray:
        """Return how unlikely the silence of nodes is that are well (k,), from 0 to 300.

        now_ns   one instant, or one a slot

        0 at the arrival of a heartbeat in time, and for a node that was not heard yet: how long a
        node
        may take to say its first word is no question of its heartbeats. `threshold` or more from
        the deadline on, also where `extend` has moved it.
        """
        deadline = self.deadline_ns[slots]
        past = (now_ns - deadline).astype(np.float64)
        level = self._level(slots, past)
        below = np.nextafter(self.threshold, 0.0)
        level = np.where(past < 0.0, np.minimum(level, below), np.maximum(level, self.threshold))
        level[(past <= -self.timeout_ns(slots)) | (deadline == NEVER)] = 0.0
        return np.clip(level, 0.0, SUSPICION_MAX)

    def _level(self, slots: IntArray, past: FloatArray) -> FloatArray:
        """Return suspicion by distribution or line (k,), before it is held to the deadline.

        past  (k,) nanoseconds since the deadline, negative before it
        """
        return self._line(slots, past, self.timeout_ns(slots))

    def _line(self, slots: IntArray, past: FloatArray, rise_ns: IntArray) -> FloatArray:
        """Return a straight line up to the threshold at the deadline, beginning `rise_ns` before.

        Beyond it each interval of silence is one more heartbeat lost, ten times less likely than
        the one before: losses come in bursts, so not less likely than that.
        """
        part = 1.0 + np.minimum(past, 0.0) / np.maximum(rise_ns, 1)
        return self.threshold * np.maximum(part, 0.0) + self._missed(slots, past)

    def _missed(self, slots: IntArray, past: FloatArray) -> FloatArray:
        missed: FloatArray = np.maximum(past, 0.0) / np.maximum(self.interval_ns[slots], 1)
        return missed

    @abstractmethod
    def observe(
        self,
        slots: IntArray,
        steps: IntArray,
        interval_ns: IntArray,
        arrived_ns: IntArray,
        *,
        learn: bool = True,
    ) -> None:
        """Take one heartbeat a slot, newer than any before, and move the deadlines.

        slots, interval_ns, arrived_ns   (k,)
        steps   (k,) how many places of its schedule a heartbeat lies after the last one observed
                of its slot, 1 where none was lost; of no meaning in the first after `forget` or
                `reanchor`
        learn   False for arrivals stamped late by our own pause: they prove life, and say
                nothing about the network
        """

    @abstractmethod
    def reanchor(self, slots: IntArray) -> None:
        """Distrust the estimate: a suspicion it raised was refuted, or its schedule has moved."""

    @abstractmethod
    def timeout_ns(self, slots: IntArray) -> IntArray:
        """Return how long a node may be silent in all, from due heartbeat to deadline (k,)."""

    @abstractmethod
    def margin_ns(self, slots: IntArray) -> IntArray:
        """Return how far the deadlines lie behind the due instants (k,)."""

    @abstractmethod
    def why(self, slot: int) -> str:
        """Say where the margin of a slot comes from, as the end of a sentence."""


class ByArrival(Detector):
    """What detectors have in common whose timeout restarts at each arrival.

    They learn from the time between two arrivals, here as `excess`: how much longer it was than
    the sender's promise for as many steps. So a lost heartbeat is no long interval, and loss
    neither raises mean nor deviation. The first after `forget`, and whatever follows an arrival
    that we stamped late ourselves, has no arrival before it to be measured from.
    """

    ROWS: ClassVar[tuple[str, ...]] = (*Detector.ROWS, "learnt_count", "is_anchored")

    def __init__(self, settings: DetectorSettings, capacity: int) -> None:
        super().__init__(settings, capacity)
        self.learnt_count = np.zeros(capacity, np.uint16)
        self.is_anchored = np.zeros(capacity, np.bool_)

    def observe(  # noqa: D102
        self,
        slots: IntArray,
        steps: IntArray,
        interval_ns: IntArray,
        arrived_ns: IntArray,
        *,
        learn: bool = True,
    ) -> None:
        interval = np.minimum(interval_ns, INTERVAL_MAX_NS)
        jump = steps.astype(np.float64) * interval
        begun = (self.interval_ns[slots] != interval) | (jump > INTERVAL_MAX_NS)
        self._begin(slots[begun])
        self.interval_ns[slots] = interval
        if learn:
            rows = self.is_anchored[slots] & ~begun
            excess = arrived_ns - self.expected_ns[slots] - steps * interval
            bound = DEVIATION_MAX * interval
            excess = np.clip(excess, -bound, bound).astype(np.float64)
            self._learn(slots[rows], excess[rows], interval[rows])
        self.is_anchored[slots] = learn
        self.expected_ns[slots] = arrived_ns
        self.deadline_ns[slots] = arrived_ns + self.timeout_ns(slots)

    def _held(self, timeout: FloatArray, slots: IntArray) -> IntArray:
        """Return timeouts as whole numbers, no shorter than what each slot promised."""
        whole = np.rint(np.minimum(timeout, TIMEOUT_MAX_NS)).astype(np.int64)
        return np.maximum(whole, self.interval_ns[slots])

    @abstractmethod
    def _begin(self, slots: IntArray) -> None:
        """Forget what was learnt of the time between two arrivals."""

    @abstractmethod
    def _learn(self, slots: IntArray, excess: FloatArray, interval: IntArray) -> None:
        """Take one time between two arrivals a slot, as the excess over what was promised."""

    def reanchor(self, slots: IntArray) -> None:  # noqa: D102
        self.is_anchored[slots] = False
        self._begin(slots)

    def margin_ns(self, slots: IntArray) -> IntArray:  # noqa: D102
        return self.timeout_ns(slots) - self.interval_ns[slots]
