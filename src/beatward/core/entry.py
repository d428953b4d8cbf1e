"""What is written down: one entry a fact, in one order, and the rows a restart begins from.

An `Entry` is at once the journal's line, the API's event and the demo's output, so its keys are
stable. `NodeRecord`, `ActionRecord` and `Silence` ride on an entry and say how the tables of nodes,
actions and silences look after it; a store writes both in one transaction. Not here: any store.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from beatward.core.instants import NEVER


class Event(StrEnum):
    """What kind of fact an entry records."""

    STARTED = "started"  # the monitor began a session
    JOINED = "joined"  # a node was enrolled and got a slot
    LIFE = "life"  # a new incarnation of a node proved itself
    TRANSITION = "transition"  # a node's status changed
    FORGOTTEN = "forgotten"  # a node was removed on request
    JOB = "job"  # a node was declared a job, or what it promises was changed
    RUN = "run"  # a job began a run, ended one, or a run takes too long
    GUARD = "guard"  # the monitor doubted itself
    ACTION = "action"  # an action was decided
    OUTCOME = "outcome"  # an action succeeded, failed, or will be tried again
    LABELLED = "labelled"  # a node was enrolled again, with other labels
    REPLACED = "replaced"  # the key of a node was given out again, to one that did not show it
    MAINTENANCE = "maintenance"  # the maintenance of a paused node was planned anew
    ACKNOWLEDGED = "acknowledged"  # an operator knows of a node's alarm
    UNACKNOWLEDGED = "unacknowledged"  # that was taken back
    SILENCED = "silenced"  # notifications are held from now on
    UNSILENCED = "unsilenced"  # they are not any more
    SERVICE = "service"  # a node declared its services anew
    ROLE = "role"  # who holds a service's role, or why no member may
    CONFLICT = "conflict"  # two processes speak under one node's name, or only one does again


@dataclass(frozen=True, slots=True)
class Maintenance:
    """Why a node is paused, and until when; NEVER: until an operator ends it.

    ended_by   only at its end: who ended it before its time
    """

    until_ns: int = NEVER
    by: str = ""
    reason: str = ""
    ended_by: str = ""

    def moved(self, by_ns: int) -> "Maintenance":
        """Return the same on a clock that is ahead by that much."""
        return replace(self, until_ns=_moved(self.until_ns, by_ns))


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Who knows of a node's alarm; `status` is the one that the node had then."""

    at_ns: int
    status: str
    by: str = ""
    note: str = ""

    def moved(self, by_ns: int) -> "Acknowledgement":
        """Return the same on a clock that is ahead by that much."""
        return replace(self, at_ns=self.at_ns + by_ns)


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two processes under one name: the one that is believed, and the other.

    incarnation, raw_address, via   of the other; the address is raw as in `core.peers`, and over
                                    HTTP it may be a proxy's
    believed_...                    of the one that is believed, as it was known then
    """

    since_ns: int
    incarnation: int
    raw_address: bytes
    via: str
    believed_incarnation: int
    believed_raw_address: bytes = b""

    def moved(self, by_ns: int) -> "Conflict":
        """Return the same on a clock that is ahead by that much."""
        return replace(self, since_ns=self.since_ns + by_ns)


@dataclass(frozen=True, slots=True)
class Silence:
    """Notifications that are held, and until when.

    nodes     a pattern of names; `labels` that a node must have as well, all of them
    actions   repairs are held too
    """

    id: str
    at_ns: int
    until_ns: int
    nodes: str = "*"
    labels: Mapping[str, str] = field(default_factory=dict)
    actions: bool = False
    by: str = ""
    reason: str = ""

    def moved(self, by_ns: int) -> "Silence":
        """Return the same on a clock that is ahead by that much."""
        until_ns = _moved(self.until_ns, by_ns)
        return replace(self, at_ns=self.at_ns + by_ns, until_ns=until_ns)


def _moved(instant_ns: int, by_ns: int) -> int:
    return instant_ns if instant_ns == NEVER else instant_ns + by_ns


@dataclass(frozen=True, slots=True)
class JobPlan:
    """What a job promises.

    schedule     five fields of a cron expression in `timezone`, or empty: by `period_ns`
    grace_ns     so late a run may begin; without word of its beginning, so late it may end
    run_ns       the longest that a run may take
    """

    schedule: str = ""
    timezone: str = "UTC"
    period_ns: int = 0
    grace_ns: int = 600_000_000_000
    run_ns: int = 600_000_000_000


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as the journal knows it, beside its `NodeRecord`; instants that never were are None.

    due_ns        the run that is awaited
    started_ns    when the run under way began, None when there is none
    ended_ns      when the last run ended, and ran_ns how long it took, None where it was not
                  reported
    succeeded_ns  when a run last succeeded
    has_failed    the last run failed, with exit_code if it was said (a signal is negative)
    overran       the run under way takes too long, and this was said
    excused_ns    a due instant of which it is unknown whether it was kept: we were away
    zone_ns, zone   what local time is ahead of UTC by, and its name, at the last due instant
    """

    plan: JobPlan
    due_ns: int | None = None
    started_ns: int | None = None
    ended_ns: int | None = None
    ran_ns: int | None = None
    succeeded_ns: int | None = None
    has_failed: bool = False
    exit_code: int | None = None
    overran: bool = False
    excused_ns: int | None = None
    zone_ns: int = 0
    zone: str = "UTC"

    def moved(self, by_ns: int) -> "JobRecord":
        """Return the same on a clock that is ahead by that much."""
        names = ("due_ns", "started_ns", "ended_ns", "succeeded_ns", "excused_ns")
        instants = {name: getattr(self, name) for name in names}
        return replace(
            self, **{name: at + by_ns for name, at in instants.items() if at is not None}
        )


@dataclass(frozen=True, slots=True)
class Declaration:
    """A service that a node offers, as its agent declares it.

    mode      `balance` (all healthy members serve) or `failover` (one of them holds the role)
    weight    of balanced traffic; priority: the highest is promoted first
    zone      empty: the node's own label
    """

    name: str
    mode: str = "balance"
    address: str = ""
    port: int = 0
    weight: int = 100
    priority: int = 100
    zone: str = ""
    version: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServiceRecord:
    """A service's role as the journal knows it.

    token    the newest that was ever decided; holder: who it is for, empty: none now
    phase    see `core.roles.Phase`
    term_ns  how long after the last grant its holder may still hold, by the settings of then; the
             name is the column's, the code calls it `takeover_wait_ns`
    reason   why no member may have the role, or what is waited for
    paused   automatic failover is paused; NEVER: until an operator ends it
    former   who had it before, where no member has it now
    seen     the highest token that any member has claimed
    doubt    why this journal does not know all that has happened; empty: it does
    stuck    the holder could not be made to give it up
    target   whom it is being moved to on request, empty: the best; None: not asked for
    freshness   of the data of the holder, or else of who had it before, as that one said last
    unsure   it may have written more since, without our hearing it
    life, host   the process that the token was lent to, see `core.roles.lease.Speaker`; the host as
             hexadecimal digits. 0 and empty: its end is proven, or the row is of an earlier version
    """

    name: str
    token: int = 0
    holder: str = ""
    phase: str = "vacant"
    since_ns: int = 0
    term_ns: int = 0
    reason: str = ""
    paused: Maintenance | None = None
    former: str = ""
    seen: int = 0
    doubt: str = ""
    stuck: bool = False
    target: str | None = None
    freshness: int | None = None
    unsure: bool = False
    life: int = 0
    host: str = ""

    def moved(self, by_ns: int) -> "ServiceRecord":
        """Return the same on a clock that is ahead by that much."""
        paused = self.paused and self.paused.moved(by_ns)
        return replace(self, since_ns=self.since_ns + by_ns, paused=paused)


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A node as the journal knows it; what a restart needs and no more.

    since_ns  the instant of the last change of status, on the monitor's clock; the store keeps it
              as wall-clock time, because the monitor's clock means nothing after a reboot
    address   the raw socket address last heard from (`core.peers.PEER_SIZE` bytes) or b""
    via       how it reports: `udp`, `http`, `ping` or, never heard, the empty string
    job       where the node is a job
    services  what it offers
    conflict  two processes speak under its name
    """

    name: str
    node: int
    status: str
    cause: str
    since_ns: int
    incarnation: int = 0
    interval_ns: int = 0
    address: bytes = b""
    via: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    maintenance: Maintenance | None = None
    acknowledgement: Acknowledgement | None = None
    job: JobRecord | None = None
    services: Sequence[Declaration] = ()
    conflict: Conflict | None = None

    def moved(self, by_ns: int) -> "NodeRecord":
        """Return the same with its instants on a clock that is ahead by that much."""
        return replace(
            self,
            since_ns=self.since_ns + by_ns,
            maintenance=self.maintenance and self.maintenance.moved(by_ns),
            acknowledgement=self.acknowledgement and self.acknowledgement.moved(by_ns),
            job=self.job and self.job.moved(by_ns),
            conflict=self.conflict and self.conflict.moved(by_ns),
        )


class ActionState(StrEnum):
    """Where an action stands, as the journal has it; all but the first are final."""

    DECIDED = "decided"
    DONE = "done"
    FAILED = "failed"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class ActionRecord:
    """An action as the journal knows it."""

    key: str
    name: str
    kind: str
    node: str
    state: ActionState
    attempt: int
    event: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """How an action of the settings failed when it was tried last.

    name     of the action
    at_ns    when the attempt ended
    message  what the driver said
    """

    name: str
    at_ns: int
    message: str


# Outcomes of attempts; the last one says whether an action of the settings can be carried out.
SUCCEEDED, FAILED = ("success",), ("retry", "failed")


@dataclass(frozen=True, slots=True)
class Entry:
    """One fact in the journal.

    sequence     position in the journal, increasing by one
    at_ns        on the monitor's clock; turned into wall-clock time where it is written
    explanation  one sentence for people; `detail` holds the numbers behind it
    node_record, action_record   the rows after this entry, where it changes them
    silence      the one that begins or ends with it
    """

    sequence: int
    event: Event
    at_ns: int
    node: str | None = None
    status: str | None = None
    cause: str | None = None
    explanation: str | None = None
    action: str | None = None
    outcome: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    node_record: NodeRecord | None = None
    action_record: ActionRecord | None = None
    silence: Silence | None = None
    service_record: ServiceRecord | None = None


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a store hands back at start; instants are on the clock of the asking process.

    failures   of the actions whose last attempt failed, as far as the newest entries tell
    """

    sequence: int = 0
    nodes: Sequence[NodeRecord] = ()
    actions: tuple[ActionRecord, ...] = ()
    silences: tuple[Silence, ...] = ()
    services: tuple[ServiceRecord, ...] = ()
    failures: tuple[Failure, ...] = ()


def public(entry: Entry, at: str) -> dict[str, Any]:
    """Return an entry as the object that the API, SSE and `--json` show.

    at   wall-clock time, RFC 3339 in UTC
    """
    return {
        "id": entry.sequence,
        "event": str(entry.event),
        "at": at,
        "node": entry.node,
        "status": entry.status,
        "cause": entry.cause,
        "explanation": entry.explanation,
        "action": entry.action,
        "outcome": entry.outcome,
        "detail": dict(entry.detail),
    }
