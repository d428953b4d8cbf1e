"""Small worlds of four nodes and one role, each with the faults that one broken rule shows in."""

from dataclasses import replace
from functools import partial

from tests.simulate.broken import NOTHING

from beatward.core.detect import DetectorSettings
from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.mass import MassSettings
from beatward.core.membership import MembershipSettings
from beatward.core.pace import PaceSettings
from beatward.core.roles.settings import RoleSettings
from beatward.simulate import draw
from beatward.simulate.faults import Fault, FaultKind, in_order
from beatward.simulate.network import Weather
from beatward.simulate.services import FENCE, DrawnService
from beatward.simulate.site import HookRates

NODES = 4


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
        DrawnService(
            "role", lent, tuple(range(members)), (100,) * members, (0,) * members, HookRates()
        ),
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
    FaultKind.MONITOR_CRASH,
    FaultKind.MONITOR_FREEZE,
    FaultKind.BACKUP,
    FaultKind.SWITCHOVER,
    FaultKind.FORCE,
    FaultKind.HOLD,
    FaultKind.DISK,
)
# A process and a machine; and hooks that are broken in each way but the one that dies.
_CRASHES = (0.901, 0.902)
_QUIRKS = tuple((7 * number + offset) / 1000 + 0.0001 for number in range(6) for offset in (0, 1))
troubled = partial(
    contested,
    faults=(
        (FaultKind.CRASH, 4, 3, _CRASHES),
        (FaultKind.CUT, 5, 3),
        (FaultKind.CUT_UP, 7, 3),
        (FaultKind.SWITCHOVER, 6, 1, (0.3, 0.5, 0.7)),
        (FaultKind.HOOKS, 9, 6, _QUIRKS),
    ),
)
_MOVES = (FaultKind.SWITCHOVER, 1.5, 1, (0.1, 0.35, 0.6, 0.85))
switched = partial(contested, faults=(_MOVES,))
unwritten = partial(contested, faults=(_MOVES, (FaultKind.DISK, 5, 2), (FaultKind.CUT, 2, 2)))
forced = partial(
    contested, faults=((FaultKind.FORCE, 3, 1, (0.1, 0.35, 0.6, 0.85)), (FaultKind.CUT_DOWN, 4, 3))
)
restarted = partial(
    contested,
    faults=((FaultKind.MONITOR_CRASH, 5, 0.2, (0.9,)), (FaultKind.CUT_UP, 2, 3, (0.9,), 0.1)),
)
restored = partial(
    contested,
    faults=(
        (FaultKind.SWITCHOVER, 2, 1, (0.1, 0.35, 0.6, 0.85)),
        (FaultKind.BACKUP, 15, 1, (0.3, 0.45)),
    ),
)
stuck = partial(
    contested,
    faults=((FaultKind.HOOKS, 3, 6, (0.0284, 0.0295)), (FaultKind.SWITCHOVER, 2, 1, (0.3, 0.6))),
)
fenced = partial(
    contested,
    faults=((FaultKind.CUT, 5, 4), (FaultKind.CRASH, 11, 3, _CRASHES)),
    fence=FENCE,
    fence_required=True,
)
ill = partial(contested, faults=((FaultKind.HOOKS, 1.5, 6, (0.0354,)), (FaultKind.CUT, 3, 3)))
unguarded = partial(
    contested, faults=((FaultKind.GUARDIAN, 3, 2.5), (FaultKind.CRASH, 3, 0.5, (0.901,), 0.3))
)
frozen = partial(
    contested,
    faults=(
        (FaultKind.MONITOR_FREEZE, 4, 0.4, (0.8,)),
        (FaultKind.CUT, 4, 3, (0.9,), 0.6),
        (FaultKind.FREEZE, 3, 2),
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
            Fault(70 * SECOND, FaultKind.CRASH, (node,), 100 * SECOND, 0.902)
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
        faults.append(Fault(at_ns, FaultKind.MONITOR_FREEZE, (), 2500 * MILLISECOND, 0.6))
        for node in set(range(NODES)) - {at_ns // SECOND % NODES}:
            cut_ns = at_ns + 2450 * MILLISECOND
            faults.append(Fault(cut_ns, FaultKind.CUT_UP, (node,), 6 * SECOND, 0.9))
    return replace(world, tick_ns=100 * MILLISECOND, faults=in_order(faults))


def laggy(seed):
    """Return a world in which words are late and doubled, and promotions soon fail."""
    world = contested(
        seed,
        faults=((FaultKind.HOOKS, 1.5, 8, (0.0084, 0.0014)), (FaultKind.CUT, 3, 2)),
        lease_ms=1000,
    )
    weather = Weather(
        delay_ns=50 * MILLISECOND, jitter_ns=50 * MILLISECOND, duplicate_probability=0.5
    )
    skill = HookRates(MILLISECOND, MILLISECOND, MILLISECOND)
    services = tuple(replace(one, skill=skill) for one in world.services)
    return replace(world, weather=weather, services=services)


def outlived(seed):
    """Return a world whose first node is stuck, and whose guardian ends that without its agent."""
    world = contested(seed)
    faults = (
        Fault(20 * SECOND, FaultKind.HOOKS, (0,), 10 * SECOND, 0.0284),
        Fault(21 * SECOND, FaultKind.SWITCHOVER, (), SECOND, 0.3),
        Fault(23 * SECOND, FaultKind.SWITCHOVER, (), SECOND, 0.3),
        Fault(25 * SECOND, FaultKind.CRASH, (0,), 20 * SECOND, 0.901),
    )
    services = tuple(replace(one, priorities=(200, 100, 100, 100)) for one in world.services)
    return replace(world, services=services, faults=faults)


def preferring(seed):
    """Return a world in which a role goes back to the first node, which at last fails at it."""
    world = contested(seed, lease_ms=1000, failback_ns=SECOND)
    failing = Fault(57 * SECOND, FaultKind.HOOKS, (0,), 10 * SECOND, 0.0014)
    services = tuple(replace(one, priorities=(200, 100, 100, 100)) for one in world.services)
    crash = Fault(54 * SECOND, FaultKind.CRASH, (0,), 2 * SECOND, 0.902)
    return replace(world, services=services, faults=(crash, failing))


# A twin of whoever holds, of either kind, and the first one cut off or not.
copied = partial(
    contested, lease_ms=2000, faults=((FaultKind.COPY, 3, 2.5), (FaultKind.SWITCHOVER, 7, 1))
)
snapped = partial(
    contested,
    lease_ms=2000,
    faults=((FaultKind.SNAPSHOT, 3, 2.9, (0.05,)), (FaultKind.SWITCHOVER, 7, 1)),
)


def replayed(seed):
    """Return a world in which machines die for long, and somebody says again what they said."""
    world = contested(seed, faults=((FaultKind.CRASH, 30, 29, (0.902,)),), members=3)
    return replace(world, adversary_ns=SECOND // 100)
