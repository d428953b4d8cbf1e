"""What must hold in every world: safety at every moment, liveness some time after heal.

Safety    every transition is in the table and starts from the status before; journal numbers have
          no gap; after a restart the statuses are what the disk says; good and bad news have a
          source that really spoke; no verdict against the evidence (`verdicts`); no deed before
          its decision is on disk, none after its end is (`deeds`); no destructive deed while many
          are held back, none too fast, no verdict by who hears nobody, and no death of which
          nobody is told (`holds`); no suspicion
          and no silence because an interval has changed (`promises`).
Liveness  a node silent for longer than promised is found; after heal every living node ends ALIVE,
          every dead one DEAD or LEFT, and no action is left without a final outcome.

The checkers know the truth and the monitor's words, and draw no chance: they change nothing.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from beatward.core.entry import Entry, Event, Recovered
from beatward.core.instants import SECOND, format_duration
from beatward.core.membership import TABLE, Cause, Status
from beatward.core.monitor import Monitor
from beatward.core.outbox import Action
from beatward.core.protocol.record import Kind as Word

from .deeds import Deeds
from .holds import Holds
from .promises import Promises
from .role_ends import RoleEnds
from .roles import Roles
from .sayings import Sayings
from .truth import NodeTruth, Trouble
from .verdicts import Verdicts, kind_of

if TYPE_CHECKING:
    from .world import World

_AUDIT_NS = SECOND
_AT_REST = ("dead", "left", "paused")
_RETURN_CAUSES = ("heard", "refuted", "steady", "ill", "well")
# What began so shortly before the end of a world need not have come to its own end there.
_REST_NS = 20 * SECOND
# The next is told after the first: one mistake often breaks a rule again and again.
VIOLATIONS_MAX = 20


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that did not hold: which, when in true time, for which node, and in words."""

    at_ns: int
    rule: str
    node: str
    message: str


@dataclass(frozen=True, slots=True)
class Line:
    """One event of the world, for the log of a failing seed; no node means the monitor."""

    at_ns: int
    node: str
    text: str


class Checkers:
    """The monitor's ear (`monitor.Ear`) in the world, and its judge."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.violations: list[Violation] = []
        self.counts: Counter[str] = Counter()
        self.log: list[Line] = []
        self.statuses: dict[str, str] = {}  # what the monitor said last, also if not yet on disk
        self.verdicts = Verdicts(self)
        self.promises = Promises(self)
        self.deeds = Deeds(self)
        self.holds = Holds(self)
        self.sayings = Sayings(self)
        self.roles = Roles(self)
        self.role_ends = RoleEnds(self)
        self._durable: dict[str, str] = {}
        self._written = 0
        self._submitted = 0
        self._waiting: deque[tuple[int, int]] = deque()  # submitted when, not yet on disk
        self._accused: dict[str, int] = {}
        self._new_ns: dict[str, int] = {}
        world.agenda.after(_AUDIT_NS, self._audit)

    @property
    def now_ns(self) -> int:
        """True time."""
        return self.world.agenda.now_ns

    def violate(self, rule: str, node: str, message: str) -> None:
        """Note that a rule did not hold."""
        self.note(node, f"VIOLATION {rule}: {message}")
        if len(self.violations) < VIOLATIONS_MAX:
            self.violations.append(Violation(self.now_ns, rule, node, message))

    def note(self, node: str, text: str) -> None:
        """Write a line into the log."""
        self.log.append(Line(self.now_ns, node, text))

    # -- what the monitor does ------------------------------------------------------------------

    def started(self, monitor: Monitor, recovered: Recovered) -> None:
        """Check that a session begins with exactly what the disk holds."""
        self.counts["sessions"] += 1
        self.note("", f"the monitor starts after entry {recovered.sequence}")
        if recovered.sequence != self._written:
            message = f"it begins after entry {recovered.sequence}, the disk holds {self._written}"
            self.violate("restart", "", message)
        held = {record.name: record.status for record in recovered.nodes}
        self._compare("restart", held, "the store's rows")
        self.statuses = dict(self._durable)
        self._submitted = self._written
        self._waiting.clear()
        self._compare_live(monitor)
        self.verdicts.started()
        self.holds.started()
        self.sayings.started(recovered)
        self.roles.started()
        self.role_ends.started()

    def submitted(self, entries: Sequence[Entry]) -> None:
        """Check the entries of one turn."""
        for entry in entries:
            if entry.sequence != self._submitted + 1:
                message = f"entry {entry.sequence} follows entry {self._submitted}"
                self.violate("journal", entry.node or "", message)
            self._submitted = entry.sequence
            self._waiting.append((entry.sequence, self.now_ns))
            self.counts[f"event {entry.event}"] += 1
            self.note(entry.node or "", f"#{entry.sequence} {entry.explanation or entry.event}")
            if entry.event == Event.TRANSITION:
                self._check_transition(entry)
            self.sayings.heed(entry)
            self.roles.heed(entry)
            _fold(self.statuses, entry)
            self._check_row(entry)
            if entry.event in (Event.JOINED, Event.TRANSITION):
                self.counts[f"status {entry.status}"] += 1
            if entry.status == "new":
                self._new_ns[str(entry.node)] = self.now_ns
            self.verdicts.heed(entry)
            self.holds.heed(entry)

    def written(self, entries: Sequence[Entry]) -> None:
        """Check that the disk gets every entry once and in order."""
        for entry in entries:
            if entry.sequence <= self._written:
                continue  # written again after a doubtful write: the store skips it too
            if entry.sequence != self._written + 1:
                message = f"entry {entry.sequence} was written after entry {self._written}"
                self.violate("journal", entry.node or "", message)
            self._written = entry.sequence
            while self._waiting and self._waiting[0][0] <= entry.sequence:
                self._waiting.popleft()
            _fold(self._durable, entry)
            self.deeds.written(entry)
            self.roles.written(entry)

    def begun(self, action: Action) -> None:
        """Check an attempt as it begins."""
        self.deeds.begun(action)
        self.sayings.begun(action)
        self.holds.begun(action)

    def done(self, action: Action) -> None:
        """Check a deed at the instant it is done."""
        self.deeds.done(action)
        self.world.crew.fence(action)

    def said(self, data: bytes, target: bytes) -> None:
        """Check a reply of the monitor at the instant it is sent."""
        self.roles.granted(data, self.world.network.owner_of(target))

    def store_replaced(self, kept: Sequence[Entry]) -> None:
        """Forget what was on the disk, but for these entries of a backup."""
        self.note("", f"the monitor's disk is lost; a backup has {len(kept)} entries")
        self._durable = {}
        self._written = len(kept)
        self.deeds.forget()
        for entry in kept:
            _fold(self._durable, entry)
            self.deeds.written(entry)
        self.roles.store_replaced(kept)

    # -- transitions ----------------------------------------------------------------------------

    def _check_transition(self, entry: Entry) -> None:
        node = entry.node or ""
        before, after = str(entry.detail["before"]), str(entry.status)
        cause = str(entry.cause)
        self.counts[f"{before}->{after} ({cause})"] += 1
        if self.statuses.get(node) != before:
            message = f"a transition from {before}, but it was {self.statuses.get(node)}"
            self.violate("chain", node, message)
        allowed = TABLE.get((Status[before.upper()], Cause[cause.upper()]))
        if allowed is None or allowed.word != after:
            self.violate("table", node, f"{before} -> {after} by {cause} is not in the table")
        truth = self.world.truths[node]
        if self.world.twins.is_doubled(node):
            self.counts["transitions of two under one name"] += 1
            return
        if cause in _RETURN_CAUSES:
            self._check_return(entry, truth)
        elif cause in ("goodbye", "exited"):
            self._check_farewell(entry, truth)
        elif cause == "silent":
            self.verdicts.check(entry, truth)
        elif cause == "overdue":
            self.promises.check_suspicion(entry, truth)

    def _check_row(self, entry: Entry) -> None:
        """Check that an entry's row says what has been told so far, not what comes later."""
        row, node = entry.node_record, str(entry.node)
        told = self.statuses.get(node)
        if row is not None and row.status != told:
            message = f"entry {entry.sequence} writes the status {row.status}, told was {told}"
            self.violate("row", node, message)
        if entry.event == Event.LIFE and entry.status != told:
            message = f"a new life of a node said to be {entry.status}, told was {told}"
            self.violate("row", node, message)

    def _check_return(self, entry: Entry, truth: NodeTruth) -> None:
        """Check that good news comes from a node that has just spoken: no replay makes it."""
        since_ns = self.verdicts.horizon_ns(truth)
        if entry.cause == "heard":
            since_ns = max(since_ns, self.verdicts.asked_ns(truth.name))
        path = self.world.network.to_monitor[truth.name]
        words = [fate for fate in path.fates if fate.sent_ns >= since_ns]
        if not any(kind_of(fate.data) in (Word.HEARTBEAT, Word.PROBE_REPLY) for fate in words):
            ago = format_duration(self.now_ns - since_ns)
            message = f"{entry.status} by {entry.cause}, but it has said nothing for {ago}"
            self.violate("replay", truth.name, message)
        if entry.cause == "ill" and not truth.illness.within(since_ns, self.now_ns):
            self.violate("replay", truth.name, "failing, but it never said so in this time")

    def _check_farewell(self, entry: Entry, truth: NodeTruth) -> None:
        """Check that this life said goodbye, or the one before it a moment ago."""
        since_ns = self.verdicts.horizon_ns(truth)
        downs = [span for span in truth.history.spans if span.trouble == Trouble.DOWN]
        started_ns = max((span.end_ns for span in downs if span.end_ns <= self.now_ns), default=0)
        said = [one for one in truth.farewells if one[0] >= min(since_ns, started_ns)]
        if entry.cause == "exited":
            code = entry.detail["exit_code"]
            said = [one for one in said if one[2] == code]
        if not said:
            message = f"{entry.status} by {entry.cause}, but this life never said that"
            self.violate("replay", truth.name, message)

    # -- comparing ------------------------------------------------------------------------------

    def _compare(self, rule: str, held: dict[str, str], whose: str) -> None:
        for name in sorted({*held, *self._durable}):
            wanted, found = self._durable.get(name), held.get(name)
            if wanted != found:
                self.violate(rule, name, f"{whose} say {found}, the entries say {wanted}")

    def _compare_live(self, monitor: Monitor) -> None:
        snapshot = monitor.snapshot(0)
        live = {snapshot.names[row]: Status(snapshot.status[row]).word for row in snapshot.rows()}
        for name in sorted({*live, *self.statuses}):
            if live.get(name) != self.statuses.get(name):
                message = f"held {live.get(name)}, its entries say {self.statuses.get(name)}"
                self.violate("projection", name, message)

    # -- in time, and in the end ----------------------------------------------------------------

    def _audit(self) -> None:
        """Look whether every silent node is found within what was promised."""
        self.world.agenda.after(_AUDIT_NS, self._audit)
        for truth in self.world.truths.values():
            if not self.world.twins.is_doubled(truth.name):
                self.promises.audit(truth)
        self.roles.audit()
        if self.world.monitor.is_away:
            self.role_ends.started()
            return
        self.sayings.audit()
        if self.world.monitor.store.refuses:
            self.role_ends.started()  # what nothing can be written of cannot be granted
        self.role_ends.audit()
        self.holds.audit()
        if self.holds.is_cut_off:
            return
        for name, truth in self.world.truths.items():
            status = self.statuses.get(name)
            since_ns = truth.silent_since_ns(self.now_ns)
            is_doubled = self.world.twins.is_doubled(name)
            if since_ns is None or status is None or status in _AT_REST or is_doubled:
                continue
            # One that was enrolled, or watched again, while silent has its grace from there.
            due_ns = self.verdicts.found_by_ns(truth, max(since_ns, self._new_ns.get(name, 0)))
            if self.now_ns > due_ns and self._accused.get(name) != since_ns:
                self._accused[name] = since_ns
                silent = format_duration(self.now_ns - since_ns)
                late = format_duration(self.now_ns - due_ns)
                message = f"silent for {silent}, {late} more than promised, and still {status}"
                self.violate("completeness", name, message)

    def finish(self) -> None:
        """Check the end: all that lives is ALIVE, all that is dead is known to be."""
        monitor = self.world.monitor.monitor
        assert monitor is not None
        self._compare_live(monitor)
        for name, truth in self.world.truths.items():
            status = self.statuses.get(name)
            if truth.history.has(Trouble.DOWN):
                # A node that was forgotten, or never joined, and is down is nobody's duty.
                if status not in (None, "dead", "left"):
                    self.violate("liveness", name, f"down in the end, and held {status}")
            elif status != "alive" and not self.verdicts.is_open(name):
                self.violate("liveness", name, f"well in the end, and held {status}")
        self.role_ends.finish()
        self.deeds.finish(self.now_ns - _REST_NS)
        if self._waiting and self._waiting[0][1] < self.now_ns - _REST_NS:
            message = f"{self._submitted - self._written} entries were never written"
            self.violate("liveness", "", message)


def _fold(statuses: dict[str, str], entry: Entry) -> None:
    """Apply an entry to the statuses by name; on purpose not the store's own code."""
    if entry.event == Event.FORGOTTEN:
        statuses.pop(str(entry.node), None)
    elif entry.event in (Event.JOINED, Event.TRANSITION):
        statuses[str(entry.node)] = str(entry.status)
