"""Who could take a role, and who best: members, what they reported last, and their order.

    able      it says STANDBY, its node is alive, and it was heard just now
    fresh     its copy of the data is no further behind the best that is known than `max_lag`
    order     priority, the zones in the order of the settings, position of the data, who had it
              before, name

The position comes after what people have set, because it differs in every moment and the lag that
is allowed is theirs to set. Not here: whether the role may move at all (`core.roles.machine`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from beatward.core.entry import Declaration, ServiceRecord
from beatward.core.membership import Membership, Status
from beatward.core.protocol.roles import RoleReport, State
from beatward.core.roles.reports import ReceivedReport
from beatward.core.roles.settings import RoleSettings

_STATUSES = tuple(Status)
_ILL = (State.UNABLE, State.STUCK)


@dataclass(frozen=True, slots=True)
class Member:
    """A node that offers a service.

    report     its last one, in the life `incarnation`; None: none yet
    peer       the address that it came from
    heard_ns   when that arrived; what came late by our own pause does not count
    able_ns    since when it has reported that it could be promoted
    """

    node: str
    slot: int
    offer: Declaration
    zone: str = ""
    report: RoleReport | None = None
    incarnation: int = 0
    peer: bytes = b""
    heard_ns: int | None = None
    able_ns: int | None = None

    def hear(self, received: ReceivedReport, *, is_stale: bool, within_ns: int) -> "Member | None":
        """Return the member after a claim; None where that is no news.

        is_stale    the claim was stamped late by our own pause
        within_ns   a longer silence between two claims is an interruption
        """
        report, before = received.report, self.report
        is_same_life = received.incarnation == self.incarnation
        if before is not None and is_same_life and report.counter <= before.counter:
            return None
        heard_ns = self.heard_ns if is_stale else received.arrived_ns
        able_ns = None
        if report.state == State.STANDBY:
            gap_ns = received.arrived_ns - (self.heard_ns or 0)
            able_ns = self.able_ns if is_same_life and gap_ns <= within_ns else None
            able_ns = received.arrived_ns if able_ns is None else able_ns
        # Past `replace`, which takes four times as long, at each word of each member.
        return Member(
            self.node,
            self.slot,
            self.offer,
            self.zone,
            report=report,
            incarnation=received.incarnation,
            peer=received.peer,
            heard_ns=heard_ns,
            able_ns=able_ns,
        )

    def cut_off(self) -> "Member":
        """Return the member after its node was isolated: no candidate until it is heard again.

        The power is gone, and what it said last may be half a second old: that it stands by, as
        well as that its node is alive.
        """
        return replace(self, heard_ns=None, able_ns=None)


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the journal knows of the data of who had a role last, until that one speaks again.

    replication_position   as it reported last, if it did
    is_unsure              it held the role while the monitor was away, and may have written more
    """

    node: str
    replication_position: int | None
    is_unsure: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of candidates, see `RoleSettings`; `within_ns`: when they were heard."""

    within_ns: int
    zones: Sequence[str] = ()
    max_lag: int | None = None
    former: str = ""
    remembered: Remembered | None = None


def named(node: str, members: Iterable[Member]) -> Member | None:
    """Return the member of that name, if there is one."""
    return next((one for one in members if one.node == node), None)


def remembered(record: ServiceRecord, *, is_silent: bool) -> Remembered | None:
    """Return what is known at the beginning of a session of who had the role last.

    is_silent   it was not heard any more already, and has said all that it was going to say
    """
    node = record.holder or record.former
    is_unsure = record.unsure or (bool(record.holder) and not is_silent)
    return Remembered(node, record.freshness, is_unsure=is_unsure) if node else None


def recalled(
    memory: Remembered | None, members: Iterable[Member], *, now_of: str = ""
) -> Remembered | None:
    """Return what counts of a memory: who is no member any more, by people's word, has no say.

    now_of   whose own word, if it has said anything in this session, counts instead; but not
             where the memory is what it said itself, and another process of its name says less
    """
    members = list(members)
    member = named(now_of, members)
    is_kept = memory is not None and memory.node == now_of
    if member is not None and member.report is not None and not is_kept:
        return Remembered(now_of, member.report.replication_position, is_unsure=False)
    return memory if memory is not None and named(memory.node, members) is not None else None


def wanted_by(
    settings: RoleSettings,
    former: str,
    memory: Remembered | None,
    members: Iterable[Member],
) -> Wanted:
    """Return what a role asks of candidates: by its settings, and by who had it last."""
    known = recalled(memory, members)
    return Wanted(settings.within_ns, settings.zones, settings.max_lag, former, known)


def is_healthy(status: int, report: RoleReport | None) -> bool:
    """Tell whether a member of a node with that status serves, or could."""
    return status == Status.ALIVE and (report is None or report.state not in _ILL)


def zone_of(offer: Declaration, labels: Mapping[str, str]) -> str:
    """Return a member's zone: its own, or its node's by its labels."""
    return offer.zone or labels.get("zone", "")


def _hindrance(member: Member, wanted: Wanted, membership: Membership, now_ns: int) -> str:
    """Say why a member cannot be promoted now, as a few words; empty: it can."""
    report, status = member.report, _STATUSES[membership.status[member.slot]]
    if status != Status.ALIVE:
        return f"is {status.word}"
    if report is None:
        return "has not said where it stands"
    if member.heard_ns is None or now_ns - member.heard_ns > wanted.within_ns:
        return "was not heard for too long"
    return _STATE_WORDS.get(report.state, "")


def candidates(
    members: Iterable[Member], wanted: Wanted, membership: Membership, now_ns: int
) -> tuple[list[Member], dict[str, str]]:
    """Return who could be promoted, the best first, and why the others could not, by node."""
    members = list(members)
    known = [one.report.replication_position for one in members if one.report is not None]
    if wanted.remembered is not None:
        known.append(wanted.remembered.replication_position)
    best = max((replication_position or 0 for replication_position in known), default=0)
    found, others = [], {}
    for member in members:
        why = _hindrance(member, wanted, membership, now_ns)
        why = why or _lags(member, best, wanted.max_lag)
        if why:
            others[member.node] = why
        else:
            found.append(member)
    return sorted(found, key=lambda one: _rank(one, wanted)), others


def why_nobody(others: Mapping[str, str]) -> str:
    """Say why no member can take a role: `others` as `candidates` returns them."""
    reasons = "; ".join(f"{node} {why}" for node, why in sorted(others.items()))
    return reasons or "no node offers the service"


def why_not(to: str, able: Iterable[Member], others: Mapping[str, str]) -> str:
    """Say why a role cannot go to a node, or (empty) to any; empty: it can.

    able, others   as `candidates` returns them
    """
    nodes = [one.node for one in able]
    if to and to not in nodes:
        return f"{to} {others.get(to, 'does not offer the service')}"
    return "" if nodes else f"no node can take it: {why_nobody(others)}"


def _lags(member: Member, best: int, max_lag: int | None) -> str:
    if max_lag is None or member.report is None:
        return ""
    if member.report.replication_position is None:
        return "does not say how fresh its data is"
    return "lags too far behind" if best - member.report.replication_position > max_lag else ""


def _rank(member: Member, wanted: Wanted) -> tuple[int, int, int, bool, str]:
    zones = wanted.zones
    zone = zones.index(member.zone) if member.zone in zones else len(zones)
    fresh = member.report.replication_position if member.report is not None else None
    return -member.offer.priority, zone, -(fresh or 0), member.node != wanted.former, member.node


_STATE_WORDS = {
    State.UNABLE: "could not be promoted, as it says",
    State.PROMOTING: "is being promoted, as it says",
    State.ACTIVE: "is active, as it says",
    State.DEMOTING: "is still being demoted",
    State.STUCK: "could not be demoted",
}
