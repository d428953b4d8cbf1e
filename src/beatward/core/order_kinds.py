"""What can be asked of the machine: one type a kind of order.

Route: operators, the API, drivers and settings make them, an inbox carries them, and `core.orders`
obeys. Not here: who may order (`web.access`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from beatward.core.entry import Declaration, JobPlan
from beatward.core.instants import NEVER
from beatward.core.protocol.report import SelfReport


@dataclass(frozen=True, slots=True)
class NodeOrder:
    """An order about one node; it does nothing where the node is not known."""

    name: str


@dataclass(frozen=True, slots=True)
class Join(NodeOrder):
    """Enrol a node, or enrol it again.

    relabels  no labels means none, and not those of before
    job       what it promises, if it is a job; a node that is known becomes one
    replaced_by   who got the key of a name that is taken, without showing it; else empty
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    relabels: bool = False
    job: JobPlan | None = None
    replaced_by: str = ""


@dataclass(frozen=True, slots=True)
class Readmit(Join):
    """Enrol a node by its own key, which does not bring back what was forgotten."""


@dataclass(frozen=True, slots=True)
class Forget(NodeOrder):
    """Remove a node."""

    by: str = ""


@dataclass(frozen=True, slots=True)
class Revoke:
    """Give a name the key of another epoch, and remove its node where it is known."""

    name: str
    epoch: int
    by: str = ""


@dataclass(frozen=True, slots=True)
class NotifyAgent(NodeOrder):
    """Tell a node's agent that an action waits for it."""


@dataclass(frozen=True, slots=True)
class Declare(NodeOrder):
    """Take all services that a node offers, in place of those that it offered before."""

    services: tuple[Declaration, ...] = ()


@dataclass(frozen=True, slots=True)
class NoteReport(NodeOrder):
    """Take a reason and metrics of a node, in place of those of before."""

    report: SelfReport


@dataclass(frozen=True, slots=True)
class Acknowledge(NodeOrder):
    """Note that an operator knows of a node's alarm."""

    by: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Unacknowledge(NodeOrder):
    """Take an acknowledgement back."""

    by: str = ""


@dataclass(frozen=True, slots=True)
class Pause:
    """Announce maintenance of nodes, for a time from now on or until it is ended."""

    names: tuple[str, ...]
    for_ns: int = NEVER
    by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Resume:
    """End the maintenance of nodes."""

    names: tuple[str, ...]
    by: str = ""


@dataclass(frozen=True, slots=True)
class AddSilence:
    """Hold notifications about nodes for a time from now on, and repairs too with `actions`.

    nodes    a pattern of names
    labels   those that a node must have
    """

    id: str
    for_ns: int
    nodes: str = "*"
    labels: Mapping[str, str] = field(default_factory=dict)
    actions: bool = False
    by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class EndSilence:
    """End a silence before its time."""

    id: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class Lift:
    """Let go what a mass failure holds back: in a zone, or everywhere with an empty one."""

    zone: str = ""


@dataclass(frozen=True, slots=True)
class ServiceOrder:
    """An order about a service's role; it does nothing where the service is not known."""

    service: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class SwitchOver(ServiceOrder):
    """Move the role from a holder that answers. to: the node; empty: the best candidate."""

    to: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FailOver(ServiceOrder):
    """Move the role without its holder, with `force` whatever the machine is unsure of."""

    to: str = ""
    force: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PauseService(ServiceOrder):
    """Let the role not move by itself, for a time from now on or until it is resumed."""

    for_ns: int = NEVER
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ResumeService(ServiceOrder):
    """Let the role move by itself again."""


Order = NodeOrder | ServiceOrder | Revoke | Pause | Resume | AddSilence | EndSilence | Lift
