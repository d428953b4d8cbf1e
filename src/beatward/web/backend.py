"""What the web asks of the running monitor: five small doors, a bulletin and the identity.

`server` stands behind them in production. All methods may be called from any thread of the web's
pool, return at once unless they say otherwise, and never touch the live core: they read what the
wheel has published and put into its inbox what it should hear.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from beatward.actions.agent import PendingAction
from beatward.core.entry import Failure
from beatward.core.intake import Via
from beatward.core.order_kinds import Order
from beatward.core.outbox import Outcome
from beatward.core.snapshot import Snapshot
from beatward.core.speakers import Speaker
from beatward.web.journal_signal import JournalSignal
from beatward.web.remarks import Remarks


class MonitorMachine(Protocol):
    """The wheel, as seen from outside."""

    def snapshot(self) -> Snapshot:
        """Return the newest published snapshot; it is frozen and at most a moment old."""

    def now_ns(self) -> int:
        """Return the instant on the clock of the snapshot."""

    def wall_offset_ns(self) -> int:
        """Return what to add to an instant of `now_ns` to get nanoseconds since 1970 UTC."""

    def submit(self, records: bytes, via: Via, peer: bytes = ...) -> bool:
        """Put sealed records of 64 bytes, one after the other and arrived now, into the inbox.

        peer   the raw socket address that they came from; without it none is known

        False: it has no room for all of them, and none was taken.
        """

    def order(self, order: Order) -> bool:
        """Put an order into the inbox; False: it is full."""


class Events(Protocol):
    """The journal, for reading. Methods may block on a disk; events are as `core.entry.public`."""

    def events(
        self, *, after: int, limit: int, node: str | None, newest_first: bool
    ) -> Sequence[Mapping[str, Any]]:
        """Return at most `limit` events with an id above `after`, in order of their ids."""

    def last_sequence(self) -> int:
        """Return the id of the newest event on disk; 0 when there is none."""

    def was_forgotten(self, node: str) -> bool:
        """Tell whether a node was forgotten by an operator and not enrolled since."""

    def last_verdict(self, node: str) -> Mapping[str, Any] | None:
        """Return the node's newest transition to suspect, dead or left; None when it never was."""


class Mail(Protocol):
    """Actions that agents run: `actions.agent.AgentQueue`."""

    def has_mail(self, node: str) -> bool:
        """Tell whether something waits that the agent of a node has not fetched yet."""

    def waiting(self, node: str) -> Sequence[PendingAction]:
        """Return what waits for the agent of a node, and count it as fetched."""

    def outcome(self, node: str, outcome: Outcome) -> bool:
        """Take a report from the agent of a node; False: no action waits for it."""


@dataclass(frozen=True, slots=True)
class Turns:
    """How long the wheel's turns took, as a histogram: all turns not longer than each bound."""

    bounds_ns: Sequence[int]
    counts: Sequence[int]
    total_count: int
    total_ns: int


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The monitor's own health.

    written        the journal holds every entry up to this sequence
    waiting        entries that wait to be written
    journal_error  why they wait, in the store's words; None when all is well
    turns          how often the wheel has turned; last_turn_ns: when, on the clock of `now_ns`
    watermark_ns   what had come in by then was read; None: it is not known
    holds          mass failures that hold back destructive actions, one sentence each
    conflicts      names under which two processes speak, one sentence each; of many the first
    speakers       nodes with a key of this monitor that speak and are not enrolled
    failures       actions of the settings whose last attempt failed; actions: all there are
    warnings       further reasons why the monitor is not quite well, one sentence each
    """

    written: int
    waiting: int
    journal_error: str | None
    turns: int
    last_turn_ns: int
    durations: Turns | None = None
    watermark_ns: int | None = None
    holds: Sequence[str] = ()
    speakers: Sequence[Speaker] = ()
    conflicts: Sequence[str] = ()
    warnings: Sequence[str] = ()
    failures: Sequence[Failure] = ()
    actions: Sequence[str] = ()


class HealthSource(Protocol):
    """The monitor's opinion of itself."""

    def report(self) -> HealthReport:
        """Return it as of now."""


class KeyRecords(Protocol):
    """What the master key cannot say of keys: `server.key_book.KeyBook`."""

    def epoch(self, node: int) -> int:
        """Return how often the key of an identity was revoked."""

    def revoke(self, name: str) -> int:
        """Raise the epoch of a name and return it; may wait for a disk.

        Raises TemporaryError when it cannot be written; then nothing has changed.
        """


@dataclass(frozen=True, slots=True)
class MonitorIdentity:
    """What does not change while the monitor runs.

    master            every secret is derived from it (`core.protocol.keys`)
    session           the number a new life must echo before it is believed
    udp               host:port that agents should send datagrams to
    loopback          the HTTP listener can be reached from this machine only
    metrics_per_node  /metrics also has the series of single nodes
    """

    master: bytes = field(repr=False)
    name: str
    session: int
    udp: str
    loopback: bool
    metrics_per_node: bool = False


@dataclass(frozen=True, slots=True)
class Backend:
    """All of it, as `create_app` takes it."""

    machine: MonitorMachine
    events: Events
    mail: Mail
    health: HealthSource
    identity: MonitorIdentity
    key_records: KeyRecords
    journal_signal: JournalSignal
    remarks: Remarks = field(default_factory=Remarks)
