"""The promise in time about nodes: a silence is found, and in the end every status is true.

A node that is silent for longer than promised is found; some time after heal every living node is
ALIVE, and every dead one DEAD or LEFT. Not here: roles (`check_role_liveness`), actions
(`check_actions`), and how long is promised (`check_verdicts`).
"""

from beatward.core.entry import Entry
from beatward.core.instants import format_duration

from .check_mass import MassChecker
from .check_verdicts import VerdictChecker
from .checker import Checker, Findings, WorldFacts
from .truth import Trouble

_AT_REST = ("dead", "left", "paused")


class LivenessChecker(Checker):
    """Compares once a second what is reported of each node with what is so."""

    def __init__(
        self, facts: WorldFacts, findings: Findings, verdicts: VerdictChecker, mass: MassChecker
    ) -> None:
        super().__init__(facts, findings)
        self._verdicts = verdicts
        self._mass = mass
        self._accused: dict[str, int] = {}
        self._new_ns: dict[str, int] = {}

    def submitted(self, entry: Entry) -> None:
        """Note when a node is new."""
        if entry.status == "new":
            self._new_ns[str(entry.node)] = self._facts.now_ns

    def audit(self) -> None:
        """Look whether every silent node is found within what was promised."""
        if self._facts.monitor.is_away or self._mass.is_cut_off:
            return
        now_ns = self._facts.now_ns
        for name, truth in self._facts.truths.items():
            status = self._facts.reported.statuses.get(name)
            since_ns = truth.silent_since_ns(now_ns)
            is_doubled = self._facts.twins.is_doubled(name)
            if since_ns is None or status is None or status in _AT_REST or is_doubled:
                continue
            # One that was enrolled, or watched again, while silent has its grace from there.
            due_ns = self._verdicts.found_by_ns(truth, max(since_ns, self._new_ns.get(name, 0)))
            if now_ns > due_ns and self._accused.get(name) != since_ns:
                self._accused[name] = since_ns
                silent, late = format_duration(now_ns - since_ns), format_duration(now_ns - due_ns)
                message = f"silent for {silent}, {late} more than promised, and still {status}"
                self._findings.violate("completeness", name, message)

    def finish(self) -> None:
        """Check the end: all that lives is ALIVE, all that is dead is known to be."""
        for name, truth in self._facts.truths.items():
            status = self._facts.reported.statuses.get(name)
            if truth.history.has(Trouble.DOWN):
                # A node that was forgotten, or never joined, and is down need not be known.
                if status not in (None, "dead", "left"):
                    self._findings.violate("liveness", name, f"down in the end, and held {status}")
            elif status != "alive" and not self._verdicts.is_open(name):
                self._findings.violate("liveness", name, f"well in the end, and held {status}")
