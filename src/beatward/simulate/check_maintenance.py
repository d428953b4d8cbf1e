"""What operators said, held against what the monitor did: maintenance and silences.

maintenance  a paused node is neither judged nor repaired; it stays paused until its planned end or
             until an operator ends it, is watched again in time, and has a whole grace from there
silence      what a silence holds does not begin before the silence has ended

A planned end is counted by the monitor's clock, and across a restart by the wall's: what the store
hands back is what is to be kept. Not here: who orders (`world`).
"""

from beatward.core.entry import Entry, Event, NodeRecord, Recovered
from beatward.core.instants import NEVER, SECOND, format_duration
from beatward.core.monitor import Monitor
from beatward.core.outbox import Action
from beatward.core.upkeep import covers

from .checker import Checker, Findings, WorldFacts
from .services import FENCE

# A planned end waits for a turn, and this for the audit.
_SLACK_NS = 2 * SECOND


class MaintenanceChecker(Checker):
    """What operators said and stands, as the entries have it; instants on the monitor's clock."""

    def __init__(self, facts: WorldFacts, findings: Findings) -> None:
        super().__init__(facts, findings)
        self._until_ns: dict[str, int] = {}  # of those who are paused
        self._resumed: set[str] = set()
        self._new_ns: dict[str, int] = {}
        self._started_ns = 0
        self._held: dict[str, str] = {}  # key -> node

    # -- bookkeeping ----------------------------------------------------------------------------

    def started(self, _monitor: Monitor, recovered: Recovered) -> None:
        """Note what a session has to know from the disk."""
        self._started_ns = self._facts.monitor.now_ns()
        self._new_ns.clear()
        self._until_ns = {row.name: _until_ns(row) for row in recovered.nodes if _is_paused(row)}
        standing = {action.key for action in recovered.actions if action.attempt == 0}
        self._held = {
            key: node
            for key, node in self._held.items()
            if key in standing and self._is_silent(node)
        }

    def resumption_ordered(self, node: str) -> None:
        """Note that an operator wants a node to be watched again."""
        self._resumed.add(node)

    def submitted(self, entry: Entry) -> None:
        """Take an entry as it is told."""
        node = str(entry.node)
        if entry.event == Event.TRANSITION:
            self._check_transition(entry, node)
        if entry.status == "new" and entry.event in (Event.JOINED, Event.TRANSITION):
            self._new_ns[node] = entry.at_ns
        if entry.event == Event.FORGOTTEN:
            self._until_ns.pop(node, None)
        elif entry.node_record is not None and _is_paused(entry.node_record):
            self._until_ns[node] = _until_ns(entry.node_record)
        if entry.action_record is not None:
            if entry.outcome == "silenced":
                self._findings.counts["actions silenced"] += 1
                self._held[entry.action_record.key] = node
            elif entry.outcome in ("unsilenced", "withdrawn", "failed"):
                self._held.pop(entry.action_record.key, None)

    # -- checks ---------------------------------------------------------------------------------

    def begun(self, action: Action) -> None:
        """Check an attempt as it begins."""
        settings = self._facts.scenario.settings.actions[action.name]
        is_repair = settings.revives and action.name != FENCE
        if is_repair and self._facts.reported.statuses.get(action.node) == "paused":
            self._violate(action.node, f"{action.key} begins, to repair a node that is paused")
        if action.key in self._held:
            message = f"{action.key} begins although a silence holds it"
            self._findings.violate("silence", action.node, message)

    def audit(self) -> None:
        """Check that planned ends have come."""
        monitor = self._facts.monitor
        if monitor.is_away:
            return
        now_ns = monitor.now_ns()
        spans = monitor.history.spans
        if spans and self._facts.now_ns - spans[-1].end_ns < _SLACK_NS:
            return
        for node, until_ns in self._until_ns.items():
            if now_ns > until_ns + _SLACK_NS and until_ns != NEVER:
                late = format_duration(now_ns - until_ns)
                self._violate(node, f"still paused {late} after the planned end")
                self._until_ns[node] = NEVER  # told once

    def _check_transition(self, entry: Entry, node: str) -> None:
        until_ns = self._until_ns.pop(node, None)
        if until_ns is not None and entry.cause != "resume":
            self._violate(node, f"{entry.status} by {entry.cause}, though it is paused")
        if entry.cause == "resume" and node not in self._resumed:
            if until_ns is None or entry.at_ns < until_ns:
                self._violate(node, "watched again before its time, without an order")
            else:
                self._findings.counts["maintenance ended as planned"] += 1
        if entry.status == "paused":
            self._resumed.discard(node)
        if entry.status == "suspect" and entry.detail["before"] == "new":
            since_ns = self._new_ns.get(node, self._started_ns)
            grace_ns = self._facts.scenario.settings.start_grace_ns
            if entry.at_ns - since_ns < grace_ns:
                after = format_duration(entry.at_ns - since_ns)
                self._violate(node, f"suspected {after} after it was new, before its grace")

    def _is_silent(self, node: str) -> bool:
        # The labels of the simulated nodes are none.
        return any(
            covers(one, node, {}) and one.until_ns > self._started_ns
            for one in self._facts.reported.silences.values()
        )

    def _violate(self, node: str, message: str) -> None:
        self._findings.violate("maintenance", node, message)


def _is_paused(row: NodeRecord) -> bool:
    return row.status == "paused"


def _until_ns(row: NodeRecord) -> int:
    return NEVER if row.maintenance is None else row.maintenance.until_ns
