"""Monitors and members with one rule of roles broken each: what the role checkers must catch.

Each is built as production's is, with one part exchanged for one that forgets its rule.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.simulate.broken import FOR_EVER
from tests.simulate.role_worlds import (
    copied,
    fenced,
    forced,
    frozen,
    ill,
    laggy,
    preferring,
    replayed,
    restarted,
    restored,
    slow_to_demote,
    snapped,
    stopped,
    stuck,
    troubled,
    unguarded,
    unwritten,
)

from beatward.agent.roles.lease_holder import HolderState, LeaseHolder
from beatward.core.instants import MINUTE
from beatward.core.monitor import Monitor
from beatward.core.protocol.roles import RoleOrder, State, takeover_wait_ns
from beatward.core.roles.lease import ACTING, GIVEN_UP, Lease, LeaseSettings, speaker
from beatward.core.roles.machine import RoleMachine
from beatward.core.roles.phases import RoleCause
from beatward.simulate import Scenario

# -- monitors ---------------------------------------------------------------------------------


def _monitor(role=None, lease=None, terms=None):
    """Return what builds a monitor whose roles, leases or terms are of other kinds."""

    def build(settings, **keys):
        monitor = Monitor(settings, **keys)
        services = monitor._services
        make = services._new_role

        def new_role(name, now_ns):
            made = make(name, now_ns)
            made.__class__ = role or RoleMachine
            made.lease.__class__ = lease or Lease
            if terms is not None:
                made.lease._terms = terms(made.settings.lease_ns, made.settings.demote_ns)
            return made

        services._new_role = new_role
        return monitor

    return build


def _who(member):
    return speaker(member.incarnation, member.peer)


class _Punctual(LeaseSettings):
    """Knows no drift and nothing that is late."""

    @property
    def takeover_wait_ns(self):
        return self.lease_ns + self.demote_ns


class _Curt(LeaseSettings):
    """Gives no time to give the role up."""

    @property
    def takeover_wait_ns(self):
        return takeover_wait_ns(self.lease_ns, 0)


class _Repeating(Lease):
    """Gives each token twice."""

    def begin(self, token, holder, owner, now_ns):
        given = self.__dict__.setdefault("given", set())
        again = token - 1 if token - 1 in given and token not in given else token
        given.add(token)
        self.token = min(self.token, again - 1)
        super().begin(again, holder, owner, now_ns)


class _Insistent(Lease):
    """Promotes its candidate whatever that has said since."""

    def answer(self, member, now_ns, base_ns, *, is_promoting):
        is_candidate = is_promoting and self.is_written and member.node == self.holder
        if is_candidate and member.report is not None and member.report.token != self.token:
            self.owner = _who(member)
            return self._lend(member.report, self.owner, RoleOrder.PROMOTE, base_ns)
        return super().answer(member, now_ns, base_ns, is_promoting=is_promoting)


class _Loyal(Lease):
    """Renews whoever says that it holds, under whatever token."""

    def answer(self, member, now_ns, base_ns, *, is_promoting):
        report = member.report
        if report is not None and report.state in ACTING and report.token < self.token:
            self.owner = _who(member)
            grant = self._lend(report, self.owner, RoleOrder.HOLD, base_ns)
            return replace(grant, token=report.token)
        return super().answer(member, now_ns, base_ns, is_promoting=is_promoting)


class _Hasty(RoleMachine):
    """Takes silence for the end of a lease."""

    def _wait(self, now_ns):
        return self._expire(now_ns)


class _Gullible(RoleMachine):
    """Takes any word of not holding for one about the newest token."""

    def _follow(self, now_ns):
        member = self.holding
        report = None if member is None else member.report
        if self.lease.granted_ns and report is not None and report.state in GIVEN_UP:
            return self._take_back(now_ns)
        return super()._follow(now_ns)


class _Prompt(RoleMachine):
    """Waits for nobody after a restart."""

    def restore(self, record, now_ns, **how):
        super().restore(record, now_ns, **how)
        self.ready_ns = self.lease.until_ns = now_ns
        self.lease.spoke_ns = self.lease.granted_ns = 0


class _Forgetful(RoleMachine):
    """Begins after a restart one token earlier, and does not wonder who knows of a later one."""

    def restore(self, record, now_ns, **how):
        token = max(record.token - 1, 0)
        earlier = replace(record, phase="vacant", token=token, holder="", seen=0)
        super().restore(earlier, now_ns, **how)

    def hear(self, claim, now_ns, *, is_stale):
        is_news = super().hear(claim, now_ns, is_stale=is_stale)
        self.seen, self.doubt = 0, ""
        return is_news


class _Naive(RoleMachine):
    """Does not wonder that members know of later tokens than its journal."""

    def hear(self, claim, now_ns, *, is_stale):
        is_news = super().hear(claim, now_ns, is_stale=is_stale)
        self.seen, self.doubt = 0, ""
        return is_news


class _Demanding(RoleMachine):
    """Promotes who says that it cannot."""

    def candidates(self, now_ns, **how):
        members = self.members
        asked = {
            slot: replace(one, report=replace(one.report, state=State.STANDBY))
            for slot, one in members.items()
            if one.report is not None and one.report.state in GIVEN_UP
        }
        self.members = {**members, **asked}
        found = super().candidates(now_ns, **how)
        self.members = members
        return found


class _Fond(RoleMachine):
    """Gives a role back to whoever is preferred, though that has just failed at it."""

    def _fail_back(self, able_for_ns, now_ns):
        failed, self._rounds.failed = self._rounds.failed, {}
        fact = super()._fail_back(able_for_ns, now_ns)
        self._rounds.failed = failed
        return fact


class _Credulous(Lease):
    """Takes the word of any process of a name for the holder's, as it was before 014."""

    def is_owner(self, who):
        return True


class _Shortsighted(Lease):
    """Tells processes by their life alone, which a restored machine has with its first one."""

    def is_owner(self, who):
        return self.owner is None or self.owner.life == who.life


class _Impatient(RoleMachine):
    """Takes a member that is stuck for one that is silent."""

    def _be_stuck(self, now_ns):
        return self._expire(now_ns)


class _Trustful(RoleMachine):
    """Trusts in time where a fence is required."""

    def _stay_unfenced(self, now_ns):
        words = f"the time of {self.lease.holder} is over"
        return self._free(RoleCause.EXPIRED, words, now_ns)


class _Rash(RoleMachine):
    """Takes a fence that is decided for one that is done."""

    def begin_fence(self, why):
        fact = super().begin_fence(why)
        self._fenced = self.lease.token
        return fact

    def advance(self, now_ns):
        if self.__dict__.pop("_fenced", None) == self.lease.token and self.lease.holder:
            return self.end_fence(self.lease.token, "", now_ns, done=True)
        return super().advance(now_ns)


class _Distracted(RoleMachine):
    """Hears again what a member said before."""

    def hear(self, claim, now_ns, *, is_stale):
        before = self.members.get(claim.slot)
        if before is not None and before.report is not None:
            report = replace(before.report, counter=0)
            self.members[claim.slot] = replace(before, report=report)
        return super().hear(claim, now_ns, is_stale=is_stale)


def _eager(settings, **keys):
    """Build a monitor that grants before the journal has the token."""
    monitor = Monitor(settings, **keys)
    turn = monitor._services.turn
    monitor._services.turn = lambda now_ns, *, base_ns, journaled: turn(
        now_ns, base_ns=base_ns, journaled=FOR_EVER
    )
    return monitor


def _backdated(settings, **keys):
    """Build a monitor that lends from the watermark on, not from the end of the drain."""
    monitor = Monitor(settings, **keys)
    turn = monitor._services.turn
    monitor._services.turn = lambda now_ns, *, base_ns, journaled: turn(
        now_ns, base_ns=now_ns, journaled=journaled
    )
    return monitor


# -- members ----------------------------------------------------------------------------------


class _Generous(LeaseHolder):
    """Counts its lease from the grant's arrival."""

    def hear(self, grant, now_ns):
        if grant.counter in self._sent:
            self._sent[grant.counter] = now_ns
        super().hear(grant, now_ns)


class _Stubborn(LeaseHolder):
    """Goes on when its lease is over."""

    def turn(self, now_ns):
        if self.state == State.ACTIVE:
            self._now_ns = now_ns
            return self.next_due_ns
        return super().turn(now_ns)

    @property
    def next_due_ns(self):
        return self.standing_due_ns


class _Reusing(LeaseHolder):
    """Takes a token that it has had before."""

    def hear(self, grant, now_ns):
        if grant.order == RoleOrder.PROMOTE and self.state == State.STANDBY:
            self.memory = HolderState(min(self.memory.token, grant.token - 1))
        super().hear(grant, now_ns)


class _Polite(LeaseHolder):
    """Says that it has given the role up when it begins to."""

    def standing(self, now_ns):
        report = super().standing(now_ns)
        is_demoting = report is not None and report.state == State.DEMOTING
        return replace(report, state=State.STANDBY) if is_demoting else report


class _Careless(LeaseHolder):
    """Forgets with its process what it held."""

    def __init__(self, service, memory=None, *, now_ns):
        super().__init__(service, None, now_ns=now_ns)


class _Patient(LeaseHolder):
    """Waits for its demote hook, however long that takes."""

    @property
    def demote_until_ns(self):
        return self.over_ns + MINUTE

    def turn(self, now_ns):
        if self.state == State.DEMOTING:
            self._now_ns = now_ns
            return self.next_due_ns
        return super().turn(now_ns)


@dataclass(frozen=True)
class Broken:
    """One broken monitor or member, the rules that must catch it, and the worlds to try.

    first   the seed where it showed last; others are tried after it
    """

    world: Callable[[int], Scenario]
    rules: frozenset[str]
    build: Callable[..., Monitor] = Monitor
    tenure: Callable[..., LeaseHolder] = LeaseHolder
    first: int = 1


def _broken(world, rules, **how):
    return Broken(world, frozenset(rules.split()), **how)


BROKEN = {
    "counts no margin": _broken(slow_to_demote, "early", build=_monitor(terms=_Punctual)),
    "gives no time to demote": _broken(troubled, "early", build=_monitor(terms=_Curt), first=2),
    "lends from the watermark": _broken(stopped, "early", build=_backdated),
    "grants before the journal's receipt": _broken(unwritten, "receipt", build=_eager),
    "gives a token twice": _broken(
        troubled, "ready accepted token", build=_monitor(lease=_Repeating)
    ),
    "gives a token again after a restart": _broken(
        restarted, "ready accepted token", build=_monitor(_Forgetful)
    ),
    "renews a lower token": _broken(forced, "token", build=_monitor(lease=_Loyal)),
    "takes silence for the end of a lease": _broken(troubled, "early two", build=_monitor(_Hasty)),
    "takes an acknowledgement of a lower token": _broken(
        troubled, "early", build=_monitor(_Gullible)
    ),
    "waits for no term after a restart": _broken(restarted, "early two", build=_monitor(_Prompt)),
    "does not notice a restored backup": _broken(restored, "token", build=_monitor(_Naive)),
    "promotes the unable": _broken(ill, "ready", build=_monitor(_Demanding, _Insistent)),
    "gives a role back to who has failed": _broken(
        preferring, "restless liveness", build=_monitor(_Fond)
    ),
    "takes the word of a copied folder": _broken(
        copied, "early two", build=_monitor(lease=_Credulous)
    ),
    "takes a snapshot for its machine": _broken(
        snapped, "two token", build=_monitor(lease=_Shortsighted)
    ),
    "takes the stuck for silent": _broken(stuck, "early two", build=_monitor(_Impatient)),
    "trusts in time where a fence is required": _broken(
        fenced, "early two", build=_monitor(_Trustful)
    ),
    "takes a fence that is decided for one that is done": _broken(
        fenced, "early two", build=_monitor(_Rash)
    ),
    # Of its replays a third come from another address, which alone would tell them since 014.
    "takes replayed standings": _broken(
        replayed, "held", build=_monitor(_Distracted, _Shortsighted)
    ),
    "counts its lease from the grant": _broken(frozen, "late two early", tenure=_Generous, first=6),
    "ignores the end of its lease": _broken(troubled, "late two", tenure=_Stubborn),
    "takes a token again": _broken(laggy, "token", tenure=_Reusing),
    "says it has given up before it has": _broken(troubled, "claim", tenure=_Polite),
    "forgets what it held": _broken(unguarded, "claim", tenure=_Careless),
    "waits for its hook for ever": _broken(troubled, "late two", tenure=_Patient),
}
