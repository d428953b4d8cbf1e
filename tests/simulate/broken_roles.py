"""Monitors and members with one rule of roles broken each: what the role checkers must catch.

Each is built as production's is, with one part exchanged for one that forgets its rule.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from tests.simulate.broken import FOR_EVER, NOTHING

from beatward.agent.tenure import Memory, Tenure
from beatward.core.detect import DetectorSettings
from beatward.core.failover import Role
from beatward.core.instants import MILLISECOND, MINUTE, SECOND
from beatward.core.leases import ACTING, GIVEN_UP, Lease, Terms, speaker
from beatward.core.mass import MassSettings
from beatward.core.membership import MembershipSettings
from beatward.core.monitor import Monitor
from beatward.core.pace import PaceSettings
from beatward.core.protocol.roles import State, Word, term_ns
from beatward.core.roles import RoleSettings
from beatward.simulate import Scenario, draw
from beatward.simulate.faults import Fault, Kind, in_order
from beatward.simulate.network import Weather
from beatward.simulate.services import Service
from beatward.simulate.site import Skill

NODES = 4

# -- worlds -----------------------------------------------------------------------------------


def contested(seed, *, faults=(), lease_ms=500, demote_ms=300, members=NODES, **settings):
    """Return a world of four nodes, a role that all of them can have, and these faults.

    faults   of which each is (kind, every so many seconds, lasting so many, draws in turns)
    """
    drawn = draw(seed, minutes=3, without=NOTHING, only=frozenset(range(NODES)))
    lent = RoleSettings(
        lease_ns=lease_ms * MILLISECOND,
        demote_ns=demote_ms * MILLISECOND,
        promote_ns=2 * SECOND,
        switchover_ns=5 * SECOND,
        **settings,
    )
    services = (
        Service("role", lent, tuple(range(members)), (100,) * members, (0,) * members, Skill()),
    )
    return replace(
        drawn,
        settings=replace(
            drawn.settings,
            detector=DetectorSettings(),
            membership=MembershipSettings(SECOND, SECOND // 5, 1, hold_down_max_ns=SECOND),
            mass=MassSettings(count_min=1000),
            pace=PaceSettings(),
            start_grace_ns=3 * SECOND,
            services={one.name: one.settings for one in services},
        ),
        services=services,
        intervals_ns=(SECOND // 2,) * len(drawn.intervals_ns),
        links=(None,) * len(drawn.links),
        weather=Weather(delay_ns=5 * MILLISECOND, jitter_ns=5 * MILLISECOND),
        adversary_ns=0,
        buffer=5000,
        drain_max=8192,
        tick_ns=5 * MILLISECOND,
        latency_ns=5 * MILLISECOND,
        heal_ns=60 * SECOND,
        end_ns=85 * SECOND,
        faults=in_order(one for rule in faults for one in _every(seed, *rule)),
    )


def _every(seed, kind, every_s, lasts_s, draws=(0.9,), late_s=0.0):
    is_per_node = kind not in _OF_THE_MONITOR
    for number, at in enumerate(range(int(15 * SECOND), 55 * SECOND, int(every_s * SECOND))):
        at_ns = at + int(late_s * SECOND) + seed * 37 % 100 * MILLISECOND
        targets = ((number + seed) % NODES,) if is_per_node else ()
        share = draws[(number + seed) % len(draws)]
        yield Fault(at_ns, kind, targets, int(lasts_s * SECOND), share)


_OF_THE_MONITOR = (
    Kind.MONITOR_CRASH,
    Kind.MONITOR_FREEZE,
    Kind.BACKUP,
    Kind.SWITCHOVER,
    Kind.FORCE,
    Kind.HOLD,
    Kind.DISK,
)
# A process and a machine; and hooks that are broken in each way but the one that dies.
_CRASHES = (0.901, 0.902)
_QUIRKS = tuple((7 * number + offset) / 1000 + 0.0001 for number in range(6) for offset in (0, 1))
troubled = partial(
    contested,
    faults=(
        (Kind.CRASH, 4, 3, _CRASHES),
        (Kind.CUT, 5, 3),
        (Kind.CUT_UP, 7, 3),
        (Kind.SWITCHOVER, 6, 1, (0.3, 0.5, 0.7)),
        (Kind.HOOKS, 9, 6, _QUIRKS),
    ),
)
_MOVES = (Kind.SWITCHOVER, 1.5, 1, (0.1, 0.35, 0.6, 0.85))
switched = partial(contested, faults=(_MOVES,))
unwritten = partial(contested, faults=(_MOVES, (Kind.DISK, 5, 2), (Kind.CUT, 2, 2)))
forced = partial(
    contested, faults=((Kind.FORCE, 3, 1, (0.1, 0.35, 0.6, 0.85)), (Kind.CUT_DOWN, 4, 3))
)
restarted = partial(
    contested, faults=((Kind.MONITOR_CRASH, 5, 0.2, (0.9,)), (Kind.CUT_UP, 2, 3, (0.9,), 0.1))
)
restored = partial(
    contested,
    faults=(
        (Kind.SWITCHOVER, 2, 1, (0.1, 0.35, 0.6, 0.85)),
        (Kind.BACKUP, 15, 1, (0.3, 0.45)),
    ),
)
stuck = partial(
    contested, faults=((Kind.HOOKS, 3, 6, (0.0284, 0.0295)), (Kind.SWITCHOVER, 2, 1, (0.3, 0.6)))
)
ill = partial(contested, faults=((Kind.HOOKS, 1.5, 6, (0.0354,)), (Kind.CUT, 3, 3)))
unguarded = partial(
    contested, faults=((Kind.GUARDIAN, 3, 2.5), (Kind.CRASH, 3, 0.5, (0.901,), 0.3))
)
frozen = partial(
    contested,
    faults=(
        (Kind.MONITOR_FREEZE, 4, 0.4, (0.8,)),
        (Kind.CUT, 4, 3, (0.9,), 0.6),
        (Kind.FREEZE, 3, 2),
    ),
)


def slow_to_demote(seed):
    """Return a world in which drift counts: a role that may take a minute to be given up.

    Nobody takes so long. It is enough that a monitor without a margin does not wait that long.
    """
    world = contested(seed, lease_ms=1000, demote_ms=60_000)
    return replace(
        world,
        faults=tuple(
            Fault(70 * SECOND, Kind.CRASH, (node,), 100 * SECOND, 0.902)
            for node in range(NODES)
            if node != seed % NODES
        ),
        weather=Weather(delay_ns=MILLISECOND // 10, jitter_ns=0),
        tick_ns=MILLISECOND,
        latency_ns=MILLISECOND,
        heal_ns=140 * SECOND,
        end_ns=160 * SECOND,
    )


def stopped(seed):
    """Return a world whose monitor is stopped in the middle of a read, and hears little after."""
    world = contested(seed, lease_ms=4000)
    faults = []
    for at_ns in range(15 * SECOND + seed * 37 * MILLISECOND, 50 * SECOND, 15 * SECOND):
        faults.append(Fault(at_ns, Kind.MONITOR_FREEZE, (), 2500 * MILLISECOND, 0.6))
        for node in set(range(NODES)) - {at_ns // SECOND % NODES}:
            cut_ns = at_ns + 2450 * MILLISECOND
            faults.append(Fault(cut_ns, Kind.CUT_UP, (node,), 6 * SECOND, 0.9))
    return replace(world, tick_ns=100 * MILLISECOND, faults=in_order(faults))


def laggy(seed):
    """Return a world in which words are late and doubled, and promotions soon fail."""
    world = contested(
        seed, faults=((Kind.HOOKS, 1.5, 8, (0.0084, 0.0014)), (Kind.CUT, 3, 2)), lease_ms=1000
    )
    weather = Weather(
        delay_ns=50 * MILLISECOND, jitter_ns=50 * MILLISECOND, duplicate_probability=0.5
    )
    skill = Skill(MILLISECOND, MILLISECOND, MILLISECOND)
    services = tuple(replace(one, skill=skill) for one in world.services)
    return replace(world, weather=weather, services=services)


def preferring(seed):
    """Return a world in which a role goes back to the first node, which at last fails at it."""
    world = contested(seed, lease_ms=1000, failback_ns=SECOND)
    failing = Fault(56 * SECOND, Kind.HOOKS, (0,), 10 * SECOND, 0.0014)
    services = tuple(replace(one, priorities=(200, 100, 100, 100)) for one in world.services)
    crash = Fault(54 * SECOND, Kind.CRASH, (0,), SECOND, 0.902)
    return replace(world, services=services, faults=(crash, failing))


# A twin of whoever holds, of either kind, and the first one cut off or not.
copied = partial(contested, lease_ms=2000, faults=((Kind.COPY, 3, 2.5), (Kind.SWITCHOVER, 7, 1)))
snapped = partial(
    contested, lease_ms=2000, faults=((Kind.SNAPSHOT, 3, 2.9, (0.05,)), (Kind.SWITCHOVER, 7, 1))
)


def replayed(seed):
    """Return a world in which machines die for long, and somebody says again what they said."""
    world = contested(seed, faults=((Kind.CRASH, 30, 29, (0.902,)),), members=3)
    return replace(world, adversary_ns=SECOND // 100)


# -- monitors ---------------------------------------------------------------------------------


def _monitor(role=None, lease=None, terms=None):
    """Return what builds a monitor whose roles, leases or terms are of other kinds."""

    def build(settings, **keys):
        monitor = Monitor(settings, **keys)
        services = monitor._services
        make = services._new_role

        def new_role(name, now_ns):
            made = make(name, now_ns)
            made.__class__ = role or Role
            made.lease.__class__ = lease or Lease
            if terms is not None:
                made.lease._terms = terms(made.settings.lease_ns, made.settings.demote_ns)
            return made

        services._new_role = new_role
        return monitor

    return build


def _who(member):
    return speaker(member.incarnation, member.peer)


class _Punctual(Terms):
    """Knows no drift and nothing that is late."""

    @property
    def term_ns(self):
        return self.lease_ns + self.demote_ns


class _Curt(Terms):
    """Gives no time to give the role up."""

    @property
    def term_ns(self):
        return term_ns(self.lease_ns, 0)


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
        if is_candidate and member.said is not None and member.said.token != self.token:
            self.owner = _who(member)
            return self._lend(member.said, self.owner, Word.PROMOTE, base_ns)
        return super().answer(member, now_ns, base_ns, is_promoting=is_promoting)


class _Loyal(Lease):
    """Renews whoever says that it holds, under whatever token."""

    def answer(self, member, now_ns, base_ns, *, is_promoting):
        said = member.said
        if said is not None and said.state in ACTING and said.token < self.token:
            self.owner = _who(member)
            grant = self._lend(said, self.owner, Word.HOLD, base_ns)
            return replace(grant, token=said.token)
        return super().answer(member, now_ns, base_ns, is_promoting=is_promoting)


class _Hasty(Role):
    """Takes silence for the end of a lease."""

    def _wait(self, now_ns):
        return self._expire(now_ns)


class _Gullible(Role):
    """Takes any word of not holding for one about the newest token."""

    def _follow(self, now_ns):
        member = self.holding
        said = None if member is None else member.said
        if self.lease.granted_ns and said is not None and said.state in GIVEN_UP:
            return self._take_back(now_ns)
        return super()._follow(now_ns)


class _Prompt(Role):
    """Waits for nobody after a restart."""

    def restore(self, record, now_ns, **how):
        super().restore(record, now_ns, **how)
        self.ready_ns = self.lease.until_ns = now_ns
        self.lease.spoke_ns = self.lease.granted_ns = 0


class _Forgetful(Role):
    """Begins after a restart one token earlier, and does not wonder who knows of a later one."""

    def restore(self, record, now_ns, **how):
        token = max(record.token - 1, 0)
        super().restore(replace(record, token=token, holder="", seen=0), now_ns, **how)

    def hear(self, claim, now_ns, *, is_stale):
        is_news = super().hear(claim, now_ns, is_stale=is_stale)
        self.seen, self.doubt = 0, ""
        return is_news


class _Naive(Role):
    """Does not wonder that members know of later tokens than its journal."""

    def hear(self, claim, now_ns, *, is_stale):
        is_news = super().hear(claim, now_ns, is_stale=is_stale)
        self.seen, self.doubt = 0, ""
        return is_news


class _Demanding(Role):
    """Promotes who says that it cannot."""

    def candidates(self, now_ns, **how):
        members = self.members
        asked = {
            slot: replace(one, said=replace(one.said, state=State.STANDBY))
            for slot, one in members.items()
            if one.said is not None and one.said.state in GIVEN_UP
        }
        self.members = {**members, **asked}
        found = super().candidates(now_ns, **how)
        self.members = members
        return found


class _Fond(Role):
    """Gives a role back to whoever is preferred, though that has just failed at it."""

    def _fail_back(self, able_for_ns, now_ns):
        failed, self.failed = self.failed, {}
        fact = super()._fail_back(able_for_ns, now_ns)
        self.failed = failed
        return fact


class _Credulous(Lease):
    """Takes the word of any process of a name for the holder's, as it was before 014."""

    def is_owner(self, who):
        return True


class _Shortsighted(Lease):
    """Tells processes by their life alone, which a restored machine has with its first one."""

    def is_owner(self, who):
        return self.owner is None or self.owner.life == who.life


class _Impatient(Role):
    """Takes a member that is stuck for one that is silent."""

    def _be_stuck(self, now_ns):
        return self._expire(now_ns)


class _Distracted(Role):
    """Hears again what a member said before."""

    def hear(self, claim, now_ns, *, is_stale):
        before = self.members.get(claim.slot)
        if before is not None and before.said is not None:
            said = replace(before.said, counter=0)
            self.members[claim.slot] = replace(before, said=said)
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


class _Generous(Tenure):
    """Counts its lease from the grant's arrival."""

    def hear(self, grant, now_ns):
        if grant.counter in self._sent:
            self._sent[grant.counter] = now_ns
        super().hear(grant, now_ns)


class _Stubborn(Tenure):
    """Goes on when its lease is over."""

    def turn(self, now_ns):
        if self.state == State.ACTIVE:
            self._now_ns = now_ns
            return self.next_due_ns
        return super().turn(now_ns)

    @property
    def next_due_ns(self):
        return self.standing_due_ns


class _Reusing(Tenure):
    """Takes a token that it has had before."""

    def hear(self, grant, now_ns):
        if grant.word == Word.PROMOTE and self.state == State.STANDBY:
            self.memory = Memory(min(self.memory.token, grant.token - 1))
        super().hear(grant, now_ns)


class _Polite(Tenure):
    """Says that it has given the role up when it begins to."""

    def standing(self, now_ns):
        said = super().standing(now_ns)
        is_demoting = said is not None and said.state == State.DEMOTING
        return replace(said, state=State.STANDBY) if is_demoting else said


class _Careless(Tenure):
    """Forgets with its process what it held."""

    def __init__(self, service, memory=None, *, now_ns):
        super().__init__(service, None, now_ns=now_ns)


class _Patient(Tenure):
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
    tenure: Callable[..., Tenure] = Tenure
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
    "takes replayed standings": _broken(replayed, "held", build=_monitor(_Distracted), first=9),
    "counts its lease from the grant": _broken(frozen, "late two early", tenure=_Generous, first=6),
    "ignores the end of its lease": _broken(troubled, "late two", tenure=_Stubborn),
    "takes a token again": _broken(laggy, "token", tenure=_Reusing),
    "says it has given up before it has": _broken(troubled, "claim", tenure=_Polite),
    "forgets what it held": _broken(unguarded, "claim", tenure=_Careless),
    "waits for its hook for ever": _broken(troubled, "late two", tenure=_Patient),
}
