"""The promise about many: no destructive deed on the nodes of a mass failure, and none too fast.

Every death that is not told alone is told with others, soon. A monitor that hears no node judges
none, either. Taken from what the monitor has said and from what really arrived; on purpose not
the guard's own counting. Not here: whether a hold was right (its thresholds are tested by tables).
"""

from collections import deque

from beatward.core.entry import Entry, Event, Recovered
from beatward.core.instants import MINUTE, NEVER, SECOND, format_duration
from beatward.core.monitor import Monitor
from beatward.core.outbox import Action

from .checker import Checker, Findings, WorldFacts
from .network import End
from .truth import NodeTruth, Span

_ALARM = "notify"
# A turn and an audit, while a look at many may be put off.
_TOLD_SLACK_NS = 3 * SECOND
_EXPECTED = ("alive", "failing", "suspect", "recovering")


class MassChecker(Checker):
    """What is held back, as the entries say, and what was done all the same."""

    def __init__(self, facts: WorldFacts, findings: Findings) -> None:
        super().__init__(facts, findings)
        self._scenario = facts.scenario
        # By zone: the nodes of a mass failure, and when the last of them was found dead.
        self._masses: dict[str | None, tuple[set[str], int]] = {}
        self._began_ns: dict[str | None, int] = {}
        self._named: set[str] = set()
        self._dead_ns: dict[str, int] = {}
        self._untold: dict[str, int] = {}
        self._begun: deque[int] = deque()
        self.cuts: list[Span] = []  # when it said that it is cut off, in true time

    @property
    def is_cut_off(self) -> bool:
        """Whether it says now that it is cut off."""
        return bool(self.cuts) and self.cuts[-1].end_ns == NEVER

    def started(self, _monitor: Monitor, _recovered: Recovered) -> None:
        """Note that a session began: it holds back nothing yet, and its rate begins anew."""
        self._masses.clear()
        self._began_ns.clear()
        self._dead_ns.clear()  # by a clock that has ended
        self._named.clear()
        self._untold.clear()
        self._end_cut()
        self._begun.clear()

    def submitted(self, entry: Entry) -> None:
        """Take an entry of the monitor."""
        if entry.event == Event.TRANSITION:
            self._follow(entry)
        elif entry.event == Event.ACTION and entry.action == _ALARM and entry.node is not None:
            self._untold.pop(entry.node, None)
        if entry.event != Event.GUARD:
            return
        self._findings.counts[f"guard {entry.cause}"] += 1
        zone = entry.detail.get("zone")
        match entry.cause:
            case "cut_off":
                self.cuts.append(Span("cut off", self._facts.now_ns))
            case "cut_off_over":
                self._end_cut()
            case "mass_failure":
                dark = self._dark(zone, entry.at_ns)
                self._masses[zone], self._began_ns[zone] = (dark, entry.at_ns), entry.at_ns
                self._named |= dark
                for node in dark:
                    self._untold.pop(node, None)
            case "mass_failure_grown":
                named = entry.detail["nodes"]
                is_cut = entry.detail["count"] > len(named)
                for node in tuple(self._untold) if is_cut else named:
                    self._untold.pop(node, None)
            case "mass_failure_over":
                self._masses.pop(zone, None)

    def audit(self) -> None:
        """Check that no report is outstanding of a death that was not told alone."""
        if self._facts.monitor.is_away:
            return
        now_ns, window_ns = self._facts.now_ns, self._window_ns
        for node, dead_ns in tuple(self._untold.items()):
            if now_ns - dead_ns > window_ns + _TOLD_SLACK_NS:
                ago = format_duration(now_ns - dead_ns)
                self._findings.violate("alarm", node, f"dead for {ago}, and it was not reported")
                del self._untold[node]

    def _follow(self, entry: Entry) -> None:
        node = str(entry.node)
        if entry.status == "suspect":
            self._count_in(node, entry.at_ns)
            return
        if entry.status != "dead" or entry.cause != "silent":
            self._named.discard(node)
            self._dead_ns.pop(node, None)
            for members, _ in self._masses.values():
                members.discard(node)
            return
        self._dead_ns[node] = entry.at_ns
        if node not in self._named:
            self._untold.setdefault(node, self._facts.now_ns)
        for zone in (None, self._scenario.zone(node)):
            if zone not in self._masses:
                continue
            members, last_ns = self._masses[zone]
            if entry.at_ns - last_ns <= self._window_ns:
                members.add(node)
                self._masses[zone] = members, entry.at_ns

    def _count_in(self, node: str, at_ns: int) -> None:
        """Count a suspect among the nodes that a mass failure began with, if it began in this turn.

        The message of the mass names a node that is overdue in the same turn, and the entry of its
        suspicion comes after it (seed 1, `held_back`: node-5 was named, and dead a second later).
        """
        for zone in (None, self._scenario.zone(node)):
            if zone in self._masses and self._began_ns[zone] == at_ns:
                self._masses[zone][0].add(node)
                self._named.add(node)

    def _dark(self, zone: str | None, at_ns: int) -> set[str]:
        statuses, since_ns = self._facts.reported.statuses, at_ns - self._window_ns
        return {
            name
            for name, status in statuses.items()
            if zone in (None, self._scenario.zone(name))
            and (status == "suspect" or self._dead_ns.get(name, since_ns - 1) >= since_ns)
        }

    @property
    def _window_ns(self) -> int:
        return self._scenario.settings.mass.window_ns

    def begun(self, action: Action) -> None:
        """Check an attempt as it begins."""
        settings = self._scenario.settings.actions[action.name]
        if not settings.destructive:
            return
        self._findings.counts["destructive attempts"] += 1
        if self.is_cut_off or any(action.node in nodes for nodes, _ in self._masses.values()):
            message = f"{action.key} begins while a mass failure is said to hold it back"
            self._findings.violate("mass", action.node, message)
        self._check_rate(action)

    def check_verdict(self, truth: NodeTruth, opened_ns: int) -> None:
        """Check that some node was heard before this node was found dead by its silence."""
        if self.is_cut_off:
            message = "convicted by a monitor that says of itself that it is cut off"
            self._findings.violate("mass", truth.name, message)
        mass = self._scenario.settings.mass
        expected = [
            name
            for name, other in self._facts.truths.items()
            if (name == truth.name or self._facts.reported.statuses.get(name) in _EXPECTED)
            and other.interval_ns <= mass.window_ns
        ]
        if len(expected) < mass.count_min:
            return
        if not self._has_arrived(opened_ns):
            silent = format_duration(self._facts.now_ns - opened_ns)
            message = f"convicted although nothing at all had arrived for {silent}"
            self._findings.violate("mass", truth.name, message)

    def _end_cut(self) -> None:
        if self.is_cut_off:
            self.cuts[-1].end_ns = self._facts.now_ns

    def _has_arrived(self, since_ns: int) -> bool:
        for path in self._facts.network.to_monitor.values():
            for fate in reversed(path.fates):
                if fate.sent_ns < since_ns - SECOND:
                    break
                if fate.end == End.ARRIVED and fate.arrived_ns >= since_ns:
                    return True
        return self._was_played(since_ns)

    def _was_played(self, since_ns: int) -> bool:
        """Tell whether the adversary brought what had not arrived by itself.

        Seed 100241: a heartbeat that was under way when a partition began, and that he had heard.
        To the monitor it is a heartbeat that comes late.
        """
        network = self._facts.network
        played = {data for data, at_ns in network.played.items() if at_ns >= since_ns}
        return any(
            fate.end != End.ARRIVED and fate.data in played
            for path in network.to_monitor.values()
            for fate in path.fates
        )

    def _check_rate(self, action: Action) -> None:
        now_ns, per_minute = self._facts.now_ns, self._scenario.settings.actions_per_minute
        self._begun.append(now_ns)
        # The bucket holds a minute's worth and a minute fills it once more; its clock may drift.
        while self._begun[0] < now_ns - MINUTE:
            self._begun.popleft()
        if len(self._begun) > 2 * per_minute + 1:
            message = f"{len(self._begun)} destructive attempts in a minute, not {2 * per_minute}"
            self._findings.violate("rate", action.node, message)
