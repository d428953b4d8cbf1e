"""What every checker is given, what it is told, and where it puts what it finds.

    WorldFacts, and each event of the world as it happens -> Checker -> Findings

A checker knows the truth and what the monitor reports, draws no chance and changes nothing: a world
without checkers writes the same journal. Not here: the promises, one file each (`check_...`), and
the list of them (`checkers`).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from beatward.core.entry import Entry, Event, Recovered, Silence
from beatward.core.monitor import Monitor
from beatward.core.protocol.roles import RoleReport

from .event_queue import EventQueue
from .monitor import MonitorProcess, Observer
from .network import Network
from .node import PlayedNode
from .scenario import Scenario
from .site import Witness
from .truth import NodeTruth
from .twins import Twins

# The next is told after the first: one mistake often breaks a rule again and again.
VIOLATIONS_MAX = 20
# What began so shortly before the end of a world need not have come to its own end there.
REST_NS = 20_000_000_000


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that did not hold: which, when in true time, for which node, and in words."""

    at_ns: int
    rule: str
    node: str
    message: str


@dataclass(frozen=True, slots=True)
class LogLine:
    """One event of the world, for the log of a failing seed; no node means the monitor."""

    at_ns: int
    node: str
    text: str


class Findings:
    """What the checkers of one world found, counted and noted.

    luck   the probability of each verdict that only chance explains
    """

    def __init__(self, event_queue: EventQueue) -> None:
        self._event_queue = event_queue
        self.violations: list[Violation] = []
        self.counts: Counter[str] = Counter()
        self.log: list[LogLine] = []
        self.luck: list[float] = []

    def violate(self, rule: str, node: str, message: str) -> None:
        """Note that a rule did not hold."""
        self.note(node, f"VIOLATION {rule}: {message}")
        if len(self.violations) < VIOLATIONS_MAX:
            self.violations.append(Violation(self._event_queue.now_ns, rule, node, message))

    def note(self, node: str, text: str) -> None:
        """Write a line into the log."""
        self.log.append(LogLine(self._event_queue.now_ns, node, text))


class ReportedState(Observer):
    """What the monitor has reported by its entries; on purpose not the store's own code.

    It is told of each entry before the checkers are, and operators look at it.

    statuses   by name, as reported last, also if not yet on disk
    durable    the same, as the disk has them
    before     the status that the node of the newest entry had before it
    silences   those that have not ended, by their id
    """

    def __init__(self) -> None:
        self.statuses: dict[str, str] = {}
        self.durable: dict[str, str] = {}
        self.before: str | None = None
        self.silences: dict[str, Silence] = {}

    def started(self, _monitor: Monitor, recovered: Recovered) -> None:
        """Forget what was not on disk."""
        self.statuses = dict(self.durable)
        self.silences = {one.id: one for one in recovered.silences}

    def submitted(self, entry: Entry) -> None:
        """Take an entry as the monitor reports it."""
        self.before = self.statuses.get(str(entry.node))
        _fold(self.statuses, entry)
        if entry.silence is None:
            return
        if entry.event == Event.SILENCED:
            self.silences[entry.silence.id] = entry.silence
        else:
            self.silences.pop(entry.silence.id, None)

    def written(self, entry: Entry) -> None:
        """Take an entry that has reached the disk."""
        _fold(self.durable, entry)

    def store_replaced(self, kept: Sequence[Entry]) -> None:
        """Begin with what a backup has."""
        self.durable = {}
        for entry in kept:
            _fold(self.durable, entry)


def _fold(statuses: dict[str, str], entry: Entry) -> None:
    if entry.event == Event.FORGOTTEN:
        statuses.pop(str(entry.node), None)
    elif entry.event in (Event.JOINED, Event.TRANSITION):
        statuses[str(entry.node)] = str(entry.status)


@dataclass(frozen=True, slots=True)
class WorldFacts:
    """The world as the checkers see it: all of it to read."""

    scenario: Scenario
    event_queue: EventQueue
    network: Network
    monitor: MonitorProcess
    twins: Twins
    truths: Mapping[str, NodeTruth]
    nodes: Mapping[int, PlayedNode]
    reported: ReportedState

    @property
    def now_ns(self) -> int:
        """True time."""
        return self.event_queue.now_ns


class Checker(Observer, Witness):
    """One promise. Each method is called at the instant of what it names, and does nothing here.

    A checker raises nothing, and calls nothing that changes the world.
    """

    def __init__(self, facts: WorldFacts, findings: Findings) -> None:
        self._facts = facts
        self._findings = findings

    def stood(self, node: PlayedNode, standing: RoleReport) -> None:
        """Note that a member has said where it stands."""

    def resumption_ordered(self, node: str) -> None:
        """Note that an operator wants a paused node to be watched again."""

    def forced(self, service: str) -> None:
        """Note that an operator ordered a failover whatever may happen."""

    def fenced(self, node: str) -> None:
        """Note that a fence has switched a machine off."""

    def replaced(self, node: str) -> None:
        """Note that another machine, with an empty disk, has a node's name now."""

    def audit(self) -> None:
        """Look at the world; called once a second of true time."""

    def finish(self) -> None:
        """Check how the world has ended."""
