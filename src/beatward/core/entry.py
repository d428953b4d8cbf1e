"""What is written down: one entry a fact, in one order, and the rows a restart begins from.

An `Entry` is at once the journal's line, the API's event and the demo's output, so its keys are
stable. `NodeRecord` and `ActionRecord` ride on an entry and say how the tables of nodes and
actions look after it; a store writes both in one transaction. Not here: any store.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Event(StrEnum):
    """What kind of fact an entry records."""

    STARTED = "started"  # the monitor began a session
    JOINED = "joined"  # a node was enrolled and got a slot
    LIFE = "life"  # a new incarnation of a node proved itself
    TRANSITION = "transition"  # a node's status changed
    FORGOTTEN = "forgotten"  # a node was removed on request
    GUARD = "guard"  # the monitor doubted itself
    ACTION = "action"  # an action was decided
    OUTCOME = "outcome"  # an action succeeded, failed, or will be tried again


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A node as the journal knows it; what a restart needs and no more.

    since_ns  the instant of the last change of status, on the monitor's clock; the store keeps it
              as wall-clock time, because the monitor's clock means nothing after a reboot
    address   the raw socket address last heard from (`core.peers.PEER_SIZE` bytes) or b""
    via       how it reports: `udp`, `http`, `ping` or, never heard, the empty string
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


@dataclass(frozen=True, slots=True)
class ActionRecord:
    """An action as the journal knows it. `state` is `decided`, `done`, `failed` or `withdrawn`."""

    key: str
    name: str
    kind: str
    node: str
    state: str
    attempt: int
    event: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """One fact in the journal.

    sequence     position in the journal, increasing by one
    at_ns        on the monitor's clock; turned into wall-clock time where it is written
    explanation  one sentence for people; `detail` holds the numbers behind it
    node_record, action_record   the rows after this entry, where it changes them
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


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a store hands back at start; instants are on the clock of the asking process."""

    sequence: int = 0
    nodes: Sequence[NodeRecord] = ()
    actions: tuple[ActionRecord, ...] = ()


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
