"""The promise about actions: decided on disk first, done at least once, never after their end.

Not here: whether an action was the right answer (`core.policy` is tested by tables).
"""

from collections.abc import Sequence

from beatward.core.entry import ActionState, Entry
from beatward.core.outbox import Action

from .checker import REST_NS, Checker, Findings, WorldFacts


class ActionChecker(Checker):
    """What the disk says of every action, and what the hands really did."""

    def __init__(self, facts: WorldFacts, findings: Findings) -> None:
        super().__init__(facts, findings)
        self._states: dict[str, ActionState] = {}
        self._nodes: dict[str, str] = {}
        self._decided_ns: dict[str, int] = {}
        self._done: set[str] = set()

    def written(self, entry: Entry) -> None:
        """Take an entry that has reached the disk."""
        record = entry.action_record
        if record is None:
            return
        if record.state == ActionState.DONE and record.key not in self._done:
            message = f"{record.key} has succeeded on disk and was never done"
            self._findings.violate("action", record.node, message)
        self._states[record.key] = record.state
        self._decided_ns.setdefault(record.key, self._facts.now_ns)
        self._nodes[record.key] = record.node

    def begun(self, action: Action) -> None:
        """Check an attempt as it begins."""
        self._findings.counts["attempts"] += 1
        if action.key not in self._states:
            message = f"{action.key} begins before its decision is on disk"
            self._findings.violate("action", action.node, message)
        self._check_not_ended(action, "begins")

    def done(self, action: Action) -> None:
        """Check a deed at the instant it is done."""
        self._findings.counts["deeds"] += 1
        if action.key in self._done:
            self._findings.counts["deeds done again"] += 1
        self._done.add(action.key)
        self._check_not_ended(action, "is done")

    def store_replaced(self, kept: Sequence[Entry]) -> None:
        """Forget what the lost disk said of them; what was done is done."""
        self._states.clear()
        self._nodes.clear()
        self._decided_ns.clear()
        for entry in kept:
            self.written(entry)

    def finish(self) -> None:
        """Check that every action that was not decided just now has its end on disk."""
        before_ns = self._facts.now_ns - REST_NS
        for key, state in self._states.items():
            if state == ActionState.DECIDED and self._decided_ns[key] < before_ns:
                message = f"{key} was decided and has no final outcome"
                self._findings.violate("liveness", self._nodes[key], message)
            elif state == ActionState.DONE:
                self._findings.counts["actions done"] += 1

    def _check_not_ended(self, action: Action, verb: str) -> None:
        state = self._states.get(action.key, ActionState.DECIDED)
        if state != ActionState.DECIDED:
            message = f"{action.key} {verb} although the disk says {state}"
            self._findings.violate("action", action.node, message)
