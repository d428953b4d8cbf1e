"""The drivers as simulated hands: they take time, fail for a while, and die with the monitor.

An action is done at one instant; its outcome comes back a moment later. When the monitor's process
dies in between, the action is done and its outcome is lost: the monitor will do it again after its
restart, under the same key, which is all that "at least once" can promise. Not here: real actions
(`actions`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from beatward.core.instants import MILLISECOND
from beatward.core.outbox import Action, AttemptResult, Outcome

from .chance import exponential_ns, happens
from .event_queue import EventQueue


@dataclass(frozen=True, slots=True)
class FailureRates:
    """How well the hands work: mean time of a deed, and how often one fails."""

    duration_ns: int = 50 * MILLISECOND
    temporary_probability: float = 0.0
    permanent_probability: float = 0.0


class PlayedDriver:
    """`ports.Drivers` of one process.

    skill    may be exchanged at any time: a fault, and its end
    begun    called with each attempt as it begins
    done     called at the instant of each deed
    outcome  brings what became of it back to the monitor's inbox
    """

    def __init__(
        self,
        event_queue: EventQueue,
        rng: Random,
        skill: FailureRates,
        *,
        begun: Callable[[Action], None],
        done: Callable[[Action], None],
        outcome: Callable[[Outcome], None],
    ) -> None:
        self._event_queue = event_queue
        self._rng = rng
        self.skill = skill
        self._begun = begun
        self._done = done
        self._outcome = outcome
        self._running: dict[str, Action] = {}
        self._is_dead = False

    def submit(self, actions: Sequence[Action]) -> None:
        """Begin actions; one already running under its key is ignored."""
        for action in actions:
            if action.key in self._running:
                continue
            self._running[action.key] = action
            self._begun(action)
            wait_ns = exponential_ns(self._rng, self.skill.duration_ns)
            self._event_queue.after(wait_ns, self._act, action)

    def die(self) -> None:
        """End everything: half of what was under way has just been done, and is not reported."""
        self._is_dead = True
        for action in self._running.values():
            if happens(self._rng, 0.5):
                self._done(action)
        self._running.clear()

    def _act(self, action: Action) -> None:
        if self._is_dead:
            return
        result = AttemptResult.SUCCESS
        if happens(self._rng, self.skill.temporary_probability):
            result = AttemptResult.TEMPORARY
        elif happens(self._rng, self.skill.permanent_probability):
            result = AttemptResult.PERMANENT
        if result == AttemptResult.SUCCESS:
            self._done(action)
        # Between here and the inbox the outcome exists in this process only.
        self._event_queue.after(exponential_ns(self._rng, MILLISECOND), self._tell, action, result)

    def _tell(self, action: Action, result: AttemptResult) -> None:
        if not self._is_dead:
            del self._running[action.key]
            self._outcome(Outcome(action.key, action.attempt, result, f"simulated {result}"))
