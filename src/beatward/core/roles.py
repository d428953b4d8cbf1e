"""The words about services and roles: phases, settings, what the journal and readers are told.

Not here: what happens to a role, and why (`core.failover`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from beatward.core.entry import Maintenance
from beatward.core.instants import SECOND
from beatward.core.protocol.roles import State

# A candidate was heard within a lease, or this: one lost datagram of a short lease is no death.
HEARD_WITHIN_NS = 2 * SECOND


class Phase(StrEnum):
    """Where a service's role stands."""

    VACANT = "vacant"  # no member holds it, and the last holder cannot act any more
    PROMOTING = "promoting"  # the holder is to take it under the newest token
    HELD = "held"  # the holder says that it is active under the newest token
    DEMOTING = "demoting"  # the holder gives it up, asked or by itself
    WAITING = "waiting"  # the holder is silent, and its lease or its demotion may still run
    REFUSED = "refused"  # no member may have it until an operator decides; the reason says why


class RoleCause(StrEnum):
    """Why a role moved: the second half of every transition.

    The journal has the first word of it: it tells where a role came to anyway.
    """

    CHOSEN = "chosen"  # the best candidate is to take it
    FORCED = "forced"  # an operator gave it to a node, whatever the monitor was unsure of
    PROMOTED = "promoted"  # the holder reports, for the first time, that it is active
    ACTIVE = "heard active"  # the holder reports again that it is active
    TAKING = "heard promoting"  # the holder reports again that it takes the role
    GIVING_UP = "heard demoting"  # the holder, asked for the role, reports again
    GIVES_UP = "gives_up"  # the holder reports that it gives the role up by itself
    TOO_SLOW = "too_slow"  # a promotion took too long: the role is asked back
    SWITCHOVER = "switchover"  # an operator asked for the role
    FAILBACK = "failback"  # a preferred node has been able for long enough
    SILENT = "silent"  # the holder has not reported for a lease
    UNFENCED = "unfenced"  # the holder's time is over, and no fence is confirmed yet
    FENCE_FAILED = "unfenced failed"  # nor will one be
    FAILED = "failed"  # the holder released the role and was never active
    DEMOTED = "demoted"  # the holder released the role as asked
    GIVEN_BACK = "given_back"  # the holder released the role by itself
    EXPIRED = "expired"  # the holder's time is over
    FENCED = "fenced"  # the holder is isolated
    VACANT = "vacant"  # no node can take it, for another reason than before
    DOUBT = "doubt"  # the journal is older than what has happened
    STUCK = "stuck"  # the holder could not be made to release the role
    UNSURE = "unsure"  # how far candidates lag behind the last holder is not known

    @property
    def word(self) -> str:
        """The cause in entries and JSON."""
        return self.partition(" ")[0]


_P, _C = Phase, RoleCause
_LENT = (_P.PROMOTING, _P.HELD, _P.DEMOTING, _P.WAITING, _P.REFUSED)
# Every way that a role can go: (phase, cause) -> phase. What is not here does not happen, and
# raises KeyError where it would. A cause leads to one phase, wherever it finds the role.
TABLE: dict[tuple[Phase, RoleCause], Phase] = {
    (before, cause): after
    for cause, befores, after in (
        (_C.CHOSEN, (_P.VACANT, _P.REFUSED), _P.PROMOTING),
        (_C.FORCED, (_P.VACANT, *_LENT), _P.PROMOTING),
        (_C.PROMOTED, (_P.PROMOTING,), _P.HELD),
        (_C.ACTIVE, (_P.DEMOTING, _P.WAITING, _P.REFUSED), _P.HELD),
        (_C.TAKING, (_P.DEMOTING, _P.WAITING, _P.REFUSED), _P.PROMOTING),
        (_C.GIVING_UP, (_P.WAITING, _P.REFUSED), _P.DEMOTING),
        (_C.GIVES_UP, (_P.PROMOTING, _P.HELD, _P.WAITING, _P.REFUSED), _P.DEMOTING),
        (_C.TOO_SLOW, (_P.PROMOTING,), _P.DEMOTING),
        (_C.SWITCHOVER, (_P.HELD,), _P.DEMOTING),
        (_C.FAILBACK, (_P.HELD,), _P.DEMOTING),
        (_C.SILENT, (_P.PROMOTING, _P.HELD, _P.DEMOTING), _P.WAITING),
        (_C.UNFENCED, _LENT, _P.WAITING),
        (_C.FENCE_FAILED, _LENT, _P.REFUSED),
        (_C.FAILED, (_P.PROMOTING, _P.DEMOTING, _P.WAITING, _P.REFUSED), _P.VACANT),
        (_C.DEMOTED, (_P.DEMOTING, _P.WAITING, _P.REFUSED), _P.VACANT),
        (_C.GIVEN_BACK, _LENT, _P.VACANT),
        (_C.EXPIRED, _LENT, _P.VACANT),
        (_C.FENCED, _LENT, _P.VACANT),
        (_C.VACANT, (_P.VACANT, _P.REFUSED), _P.VACANT),
        (_C.DOUBT, (_P.VACANT, *_LENT), _P.REFUSED),
        (_C.STUCK, _LENT, _P.REFUSED),
        (_C.UNSURE, (_P.VACANT, _P.REFUSED), _P.REFUSED),
    )
    for before in befores
}


class FenceState(StrEnum):
    """What became of isolating a role's holder; of one that succeeded the role is free."""

    NONE = ""
    DECIDED = "decided"
    FAILED = "failed"


# What the holder does, in the phases in which it is heard.
DOES = {
    Phase.PROMOTING: "takes the role",
    Phase.HELD: "holds the role",
    Phase.DEMOTING: "gives the role up",
}

# What the other process of a holder's name says that it does, if it is no holder.
CLAIMS = {
    State.STANDBY: "gave up",
    State.UNABLE: "gave up",
    State.PROMOTING: "takes",
    State.ACTIVE: "holds",
    State.DEMOTING: "gives up",
    State.STUCK: "could not give up",
}

# What rules can ask to be told of a role: a member holds it under a new token; none has it and
# none can take it; none may have it until an operator decides.
TOLD = ("held", "vacant", "refused")


@dataclass(frozen=True, slots=True)
class RoleSettings:
    """How a role is lent and moved. Units, reasons and costs: config.FailoverSettings."""

    lease_ns: int = 2 * SECOND
    demote_ns: int = SECOND
    promote_ns: int = 30 * SECOND
    switchover_ns: int = 60 * SECOND
    failback_ns: int | None = None
    zones: tuple[str, ...] = ()
    max_lag: int | None = None
    fence: str = ""
    fence_required: bool = False
    min_healthy: int = 0
    automatic: bool = True

    @property
    def within_ns(self) -> int:
        """Who has not been heard for longer is silent."""
        return max(self.lease_ns, HEARD_WITHIN_NS)


def fence_key(service: str, token: int) -> str:
    """Return the key under which the holder of a token is fenced."""
    return f"{service}/{token}/fence"


def fenced_by(key: str) -> tuple[str, int] | None:
    """Return service and token of such a key; None for the key of another action."""
    service, _, token = key.removesuffix("/fence").rpartition("/")
    return (service, int(token)) if key.endswith("/fence") and token.isdigit() else None


@dataclass(frozen=True, slots=True)
class Fact:
    """What has become of a role: an entry of the journal.

    node     the node it is about; empty: none in particular
    """

    cause: str
    words: str
    node: str = ""

    def told(self, phase: Phase) -> str:
        """Return the word of TOLD for it, at the phase it led to; empty: there is none."""
        if phase == Phase.REFUSED:
            return "refused"
        return {"promoted": "held", "vacant": "vacant"}.get(self.cause, "")


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for: that `to` has the role (empty: the best), and rather not `away`."""

    to: str = ""
    away: str = ""


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
    freshness: int | None = None
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
