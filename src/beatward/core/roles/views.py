"""All services as readers see them: copies of what is known, made into views where one is read.

The wheel copies a few dicts; sentences and views are made by the reader, in its own thread. Not
here: what becomes of a role (`core.roles.machine`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from beatward.core.entry import Declaration, Maintenance
from beatward.core.explanation import credit
from beatward.core.instants import NEVER, format_duration
from beatward.core.membership import Status
from beatward.core.roles.candidates import (
    Member,
    Remembered,
    candidates,
    is_healthy,
    wanted_by,
    zone_of,
)
from beatward.core.roles.machine import RoleMachine
from beatward.core.roles.phases import Phase
from beatward.core.roles.settings import RoleSettings
from beatward.core.state import State

_STATUSES = tuple(Status)


@dataclass(frozen=True, slots=True)
class MemberView:
    """A node that offers a service, for readers.

    row        of the node in the snapshot
    status     of the node, a word of `membership.Status`
    state      what it said last of its role, a word of `protocol.roles.State`; empty: nothing yet
    token      the one it said then
    heard_ns   when it said so
    zone       its own, or its node's label
    healthy    the node is alive and the member neither unable nor stuck
    hindrance  why the role cannot go to it now, in a few words; empty: it can, or has it
    """

    node: str
    row: int
    status: str
    state: str = ""
    token: int = 0
    replication_position: int | None = None
    heard_ns: int | None = None
    address: str = ""
    port: int = 0
    weight: int = 100
    priority: int = 100
    zone: str = ""
    version: str = ""
    labels: Mapping[str, str] | None = None
    healthy: bool = False
    hindrance: str = ""


@dataclass(frozen=True, slots=True)
class ServiceView:
    """A service, for readers; what follows `members` means something in failover mode only.

    phase        None in balance mode
    holder       the name of the node that has the role, takes it or gives it up; empty: none
    until_ns     no other member may have the role before, unless it is given back or fenced
    reason       why no member may have it, or what is waited for; empty: nothing is wrong
    explanation  all of it as one sentence
    automatic    it fails over by itself; not while `paused` says something
    target       the node it is being moved to on request; empty: none in particular
    """

    name: str
    mode: str
    members: tuple[MemberView, ...] = ()
    phase: Phase | None = None
    holder: str = ""
    token: int = 0
    since_ns: int = 0
    until_ns: int = 0
    reason: str = ""
    explanation: str = ""
    automatic: bool = True
    paused: Maintenance | None = None
    target: str = ""
    lease_ns: int = 0
    demote_ns: int = 0


class RoleCopy(NamedTuple):
    """A role at an instant, for readers in other threads; nothing of it changes any more."""

    name: str
    settings: RoleSettings
    members: tuple[Member, ...]
    phase: Phase
    since_ns: int
    holder: str
    token: int
    until_ns: int
    reason: str
    target: str
    paused: Maintenance | None
    former: str
    remembered: Remembered | None

    @classmethod
    def of(cls, role: RoleMachine) -> "RoleCopy":
        """Copy a role. The wheel waits for it."""
        lease = role.lease
        return cls(
            role.name,
            role.settings,
            tuple(role.members.values()),
            role.phase,
            role.since_ns,
            lease.holder,
            lease.token,
            lease.until_ns,
            role.reason,
            "" if role.target is None else role.target.to,
            role.paused,
            role.former,
            role.remembered,
        )


class ServiceViews(Mapping[str, ServiceView]):
    """Services by name, in order of names. What it is given must not change any more."""

    def __init__(
        self,
        state: State,
        roles: Mapping[str, RoleCopy],
        balanced: Mapping[str, Mapping[int, Declaration]],
        taken_ns: int,
    ) -> None:
        self._state = state
        self._roles = roles
        self._balanced = balanced
        self._taken_ns = taken_ns

    def __len__(self) -> int:
        return len(self._names())

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._names()))

    def __getitem__(self, name: str) -> ServiceView:
        """Return a service; raises KeyError where there is none."""
        if name in self._balanced:
            return self._balance(name, self._balanced[name])
        return self._failover(self._roles[name])

    def _names(self) -> dict[str, None]:
        return dict.fromkeys((*self._roles, *self._balanced))

    def _balance(self, name: str, offers: Mapping[int, Declaration]) -> ServiceView:
        registry = self._state.registry
        found = (
            Member(registry.name(slot), slot, offer, zone_of(offer, registry.labels.get(slot, {})))
            for slot, offer in offers.items()
        )
        members = tuple(self._member(one) for one in sorted(found, key=lambda one: one.node))
        healthy = sum(member.healthy for member in members)
        text = f"{healthy} of {len(members)} members of {name} are healthy and serve"
        return ServiceView(name, "balance", members, explanation=text)

    def _failover(self, role: RoleCopy) -> ServiceView:
        members, settings = sorted(role.members, key=lambda one: one.node), role.settings
        wanted = wanted_by(settings, role.former, role.remembered, members)
        _, others = candidates(members, wanted, self._state.membership, self._taken_ns)
        others.pop(role.holder, None)
        return ServiceView(
            role.name,
            "failover",
            tuple(self._member(member, others.get(member.node, "")) for member in members),
            phase=role.phase,
            holder=role.holder,
            token=role.token,
            since_ns=role.since_ns,
            until_ns=role.until_ns,
            reason=role.reason,
            explanation=explain(role, self._taken_ns),
            automatic=settings.automatic,
            paused=role.paused,
            target=role.target,
            lease_ns=settings.lease_ns,
            demote_ns=settings.demote_ns,
        )

    def _member(self, member: Member, hindrance: str = "") -> MemberView:
        offer, report = member.offer, member.report
        status = _STATUSES[self._state.membership.status[member.slot]]
        return MemberView(
            member.node,
            member.slot,
            status.word,
            state="" if report is None else report.state.name.lower(),
            token=0 if report is None else report.token,
            replication_position=None if report is None else report.replication_position,
            heard_ns=member.heard_ns,
            address=offer.address,
            port=offer.port,
            weight=offer.weight,
            priority=offer.priority,
            zone=member.zone,
            version=offer.version,
            labels=offer.labels,
            healthy=is_healthy(status, report),
            hindrance=hindrance,
        )


def explain(role: RoleCopy, at_ns: int) -> str:
    """Say in one sentence who has the role, since when, and what is waited for."""
    holder, token = role.holder, role.token
    since = format_duration(max(at_ns - role.since_ns, 0))
    text = {
        Phase.VACANT: f"no node has the role of {role.name}, since {since}",
        Phase.PROMOTING: f"{holder} takes the role of {role.name} under token {token}, "
        f"since {since}",
        Phase.HELD: f"{holder} holds the role of {role.name} under token {token}, since {since}",
        Phase.DEMOTING: f"{holder} releases the role of {role.name}, since {since}",
        Phase.WAITING: f"{holder} may still hold the role of {role.name} under token "
        f"{token}, for another {format_duration(max(role.until_ns - at_ns, 0))}",
        Phase.REFUSED: f"no node may take the role of {role.name}, since {since}",
    }[role.phase]
    text += f": {role.reason}" if role.reason else ""
    if role.target:
        text += f"; it was asked to go to {role.target}"
    if role.paused is not None:
        planned = role.paused.until_ns != NEVER
        left = f" for another {format_duration(role.paused.until_ns - at_ns)}" if planned else ""
        text += f"; automatic failover is paused{left}{credit(role.paused.by, role.paused.reason)}"
    return text
