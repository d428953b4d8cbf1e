"""The phases of a role, the table of all its ways, and the words for what becomes of it.

Not here: what happens to a role, and why (`core.roles.machine`).
"""

from dataclasses import dataclass
from enum import StrEnum

from beatward.core.protocol.roles import State


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
    Phase.DEMOTING: "releases the role",
}

# What the other process of a holder's name says that it does, if it is no holder.
CLAIMS = {
    State.STANDBY: "released",
    State.UNABLE: "released",
    State.PROMOTING: "takes",
    State.ACTIVE: "holds",
    State.DEMOTING: "releases",
    State.STUCK: "could not release",
}

# What rules can ask to be told of a role: a member holds it under a new token; none has it and
# none can take it; none may have it until an operator decides.
NEWS = ("held", "vacant", "refused")


@dataclass(frozen=True, slots=True)
class RoleEvent:
    """What has become of a role: an entry of the journal.

    node     the node it is about; empty: none in particular
    """

    cause: str
    text: str
    node: str = ""

    def news(self, phase: Phase) -> str:
        """Return the word of NEWS for it, at the phase it led to; empty: there is none."""
        if phase == Phase.REFUSED:
            return "refused"
        return {"promoted": "held", "vacant": "vacant"}.get(self.cause, "")


@dataclass(frozen=True, slots=True)
class Target:
    """What was asked for: that `to` has the role (empty: the best), and rather not `away`."""

    to: str = ""
    away: str = ""
