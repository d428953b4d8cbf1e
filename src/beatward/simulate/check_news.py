"""The promise about news: what is believed of a node was really said, and said just now.

Good news comes from a node that has spoken within the time in which its word is news, so no replay
makes it; a goodbye was said by this life, or by the one before it a moment ago. Not here: verdicts
by silence (`check_verdicts`).
"""

from beatward.core.entry import Entry, Event
from beatward.core.instants import format_duration
from beatward.core.protocol.record import Kind

from .check_verdicts import VerdictChecker, kind_of
from .checker import Checker, Findings, WorldFacts
from .truth import NodeTruth, Trouble

_RETURN_CAUSES = ("heard", "refuted", "steady", "ill", "well")
_FAREWELL_CAUSES = ("goodbye", "exited")


class NewsChecker(Checker):
    """Looks for the source of each return and each farewell; told before `VerdictChecker` is."""

    def __init__(self, facts: WorldFacts, findings: Findings, verdicts: VerdictChecker) -> None:
        super().__init__(facts, findings)
        self._verdicts = verdicts

    def submitted(self, entry: Entry) -> None:
        """Check a transition by a word of the node."""
        if entry.event != Event.TRANSITION or self._facts.twins.is_doubled(str(entry.node)):
            return
        truth = self._facts.truths[str(entry.node)]
        if entry.cause in _RETURN_CAUSES:
            self._check_return(entry, truth)
        elif entry.cause in _FAREWELL_CAUSES:
            self._check_farewell(entry, truth)

    def _check_return(self, entry: Entry, truth: NodeTruth) -> None:
        since_ns = self._verdicts.horizon_ns(truth)
        if entry.cause == "heard":
            since_ns = max(since_ns, self._verdicts.asked_ns(truth.name))
        path = self._facts.network.to_monitor[truth.name]
        fresh = [fate for fate in path.fates if fate.sent_ns >= since_ns]
        if not any(kind_of(fate.data) in (Kind.HEARTBEAT, Kind.PROBE_REPLY) for fate in fresh):
            ago = format_duration(self._facts.now_ns - since_ns)
            message = f"{entry.status} by {entry.cause}, but it has said nothing for {ago}"
            self._findings.violate("replay", truth.name, message)
        if entry.cause == "ill" and not truth.illness.within(since_ns, self._facts.now_ns):
            message = "failing, but it never said so in this time"
            self._findings.violate("replay", truth.name, message)

    def _check_farewell(self, entry: Entry, truth: NodeTruth) -> None:
        since_ns, now_ns = self._verdicts.horizon_ns(truth), self._facts.now_ns
        downs = [span for span in truth.history.spans if span.trouble == Trouble.DOWN]
        started_ns = max((span.end_ns for span in downs if span.end_ns <= now_ns), default=0)
        found = [one for one in truth.farewells if one[0] >= min(since_ns, started_ns)]
        if entry.cause == "exited":
            code = entry.detail["exit_code"]
            found = [one for one in found if one[2] == code]
        if not found:
            message = f"{entry.status} by {entry.cause}, but this life never said that"
            self._findings.violate("replay", truth.name, message)
