"""What goes wrong in one world, drawn from the seed before anything happens.

Each kind of fault has its own generator, so a failing seed can be tried again without one kind
and everything else stays as it was. A fault begins at an instant, touches one node, some, or the
monitor, and ends after a while; at heal all that still lasts is ended. Not here: how a fault is
done (`world`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from beatward.core.instants import MILLISECOND, MINUTE, SECOND

from .chance import duration_ns, exponential_ns, split
from .traces import Spells


class FaultKind(StrEnum):
    """Everything that can go wrong. The words are the names for `--without`."""

    CRASH = "crash"  # kill -9 of a node, started again later, or never
    FREEZE = "freeze"  # SIGSTOP of a node
    HICCUP = "hiccup"  # a node's host is busy for a moment
    SUSPEND = "suspend"  # a node's machine sleeps
    MIGRATION = "migration"  # the same for a moment, as when a virtual machine moves
    CLOCK = "clock"  # a node's wall clock is set
    LEAVE = "leave"  # a node says goodbye and is started again later
    EXIT = "exit"  # the wrapped command ends; the wrapper says how
    ILL = "ill"  # a node says of itself that it is not well
    CUT_UP = "cut-up"  # nothing from a node reaches the monitor
    CUT_DOWN = "cut-down"  # nothing from the monitor reaches a node
    CUT = "cut"  # both
    PARTITION = "partition"  # both, for many nodes at once
    OUTAGE = "outage"  # what the link's own model says, one way or both
    MONITOR_CRASH = "monitor-crash"
    MONITOR_FREEZE = "monitor-freeze"
    MONITOR_HICCUP = "monitor-hiccup"  # shorter than a pause that the monitor would notice
    MONITOR_CLOCK = "monitor-clock"  # its wall clock is set
    FLOOD = "flood"  # junk fills its socket, and the kernel drops a share of all datagrams
    DISK = "disk"  # the monitor's disk refuses writes
    STORE = "store"  # the monitor crashes and comes back without its disk
    HANDS = "hands"  # every deed fails for a while
    PAUSE = "pause"  # an operator announces maintenance
    FORGET = "forget"  # an operator removes a node
    SILENCE = "silence"  # an operator silences notifications
    BACKUP = "backup"  # the monitor crashes and comes back with an earlier copy of its disk
    HOOKS = "hooks"  # a node's hooks fail, hang, half succeed; or what they started dies
    GUARDIAN = "guardian"  # a node's second process, which ends what its agent cannot, is out
    SWITCHOVER = "switchover"  # an operator moves a role
    FORCE = "force"  # an operator moves a role whatever may happen
    HOLD = "hold"  # an operator holds a service's automatic failover
    COPY = "copy"  # an agent is started from a copy of a node's folder, beside the first one
    SNAPSHOT = "snapshot"  # a copy of a node's whole machine goes on, at another address


@dataclass(frozen=True, slots=True)
class Habit:
    """How a kind of fault comes: mean time between two on one target, and how long it lasts."""

    spacing_ns: int
    median_ns: int
    most_ns: int
    per_node: bool = True


_M, _S = MINUTE, SECOND
# Spacing is per target. Far worse than any real fleet, so that minutes hold what years bring.
HABITS: dict[FaultKind, Habit] = {
    FaultKind.CRASH: Habit(6 * _M, 15 * _S, 90 * _S),
    FaultKind.FREEZE: Habit(6 * _M, 6 * _S, 60 * _S),
    FaultKind.HICCUP: Habit(1 * _M, 80 * MILLISECOND, 900 * MILLISECOND),
    FaultKind.SUSPEND: Habit(15 * _M, 20 * _S, 120 * _S),
    FaultKind.MIGRATION: Habit(3 * _M, 400 * MILLISECOND, 5 * _S),
    FaultKind.CLOCK: Habit(10 * _M, 1, 1),
    FaultKind.LEAVE: Habit(12 * _M, 20 * _S, 60 * _S),
    FaultKind.EXIT: Habit(12 * _M, 5 * _S, 30 * _S),
    FaultKind.ILL: Habit(10 * _M, 10 * _S, 60 * _S),
    FaultKind.CUT_UP: Habit(12 * _M, 2 * _S, 40 * _S),
    FaultKind.CUT_DOWN: Habit(12 * _M, 5 * _S, 60 * _S),
    FaultKind.CUT: Habit(8 * _M, 2 * _S, 40 * _S),
    FaultKind.PARTITION: Habit(5 * _M, 5 * _S, 40 * _S, per_node=False),
    FaultKind.MONITOR_CRASH: Habit(100 * _S, 3 * _S, 60 * _S, per_node=False),
    FaultKind.MONITOR_FREEZE: Habit(100 * _S, 3 * _S, 60 * _S, per_node=False),
    FaultKind.MONITOR_HICCUP: Habit(20 * _S, 60 * MILLISECOND, 200 * MILLISECOND, per_node=False),
    FaultKind.MONITOR_CLOCK: Habit(5 * _M, 1, 1, per_node=False),
    FaultKind.FLOOD: Habit(2 * _M, 5 * _S, 30 * _S, per_node=False),
    FaultKind.DISK: Habit(2 * _M, 10 * _S, 60 * _S, per_node=False),
    FaultKind.STORE: Habit(10 * _M, 2 * _S, 30 * _S, per_node=False),
    FaultKind.HANDS: Habit(2 * _M, 10 * _S, 30 * _S, per_node=False),
    FaultKind.PAUSE: Habit(20 * _M, 15 * _S, 60 * _S),
    FaultKind.FORGET: Habit(40 * _M, 1, 1),
    FaultKind.SILENCE: Habit(1 * _M, 15 * _S, 60 * _S, per_node=False),
    FaultKind.BACKUP: Habit(5 * _M, 2 * _S, 30 * _S, per_node=False),
    FaultKind.HOOKS: Habit(4 * _M, 10 * _S, 60 * _S),
    FaultKind.GUARDIAN: Habit(10 * _M, 10 * _S, 60 * _S),
    FaultKind.SWITCHOVER: Habit(30 * _S, 1, 1, per_node=False),
    FaultKind.FORCE: Habit(3 * _M, 1, 1, per_node=False),
    FaultKind.HOLD: Habit(3 * _M, 10 * _S, 30 * _S, per_node=False),
    FaultKind.COPY: Habit(8 * _M, 10 * _S, 40 * _S),
    FaultKind.SNAPSHOT: Habit(8 * _M, 10 * _S, 40 * _S),
}
# A swarm: each world has some kinds switched off, or they would hide one another (A. Groce et al.,
# "Swarm Testing", ISSTA 2012). How many, and how often each of the others comes, differs as well:
# what only shows where hardly anything else goes wrong is met too.
_SHARES_ON = (0.2, 0.5, 0.5, 0.8)
_RATE_MOST = 3.0
# Losing the disk, or some of it, voids every promise about actions; so it is rare, that the promise
# is tested.
_STORE_ON = 0.1
_STORES = (FaultKind.STORE, FaultKind.BACKUP)
STAYS_DOWN_PROBABILITY = 0.15


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `targets` are node numbers, empty for the monitor.

    draw   one number between 0 and 1 for whatever the fault needs to choose
    """

    at_ns: int
    kind: FaultKind
    targets: tuple[int, ...]
    duration_ns: int
    draw: float


def draw_kinds(seed: int, *, without: frozenset[str] = frozenset()) -> tuple[FaultKind, ...]:
    """Draw which kinds of fault this world knows."""
    rng = split(seed, "kinds")
    share_on = rng.choice(_SHARES_ON)
    # Drawn for every kind, so that leaving one out changes nothing else.
    drawn = [(kind, rng.random()) for kind in FaultKind]
    return tuple(
        kind
        for kind, draw in drawn
        if draw < (_STORE_ON if kind in _STORES else share_on) and kind not in without
    )


def draw_faults(
    seed: int, kinds: tuple[FaultKind, ...], *, nodes_count: int, begin_ns: int, end_ns: int
) -> tuple[Fault, ...]:
    """Draw the faults of a world in order of time; those of the links are not among them."""
    faults: list[Fault] = []
    for kind in kinds:
        if kind == FaultKind.OUTAGE:
            continue
        rng = split(seed, f"fault {kind}")
        habit = HABITS[kind]
        rate = _RATE_MOST ** rng.uniform(-1.0, 1.0)
        spacing_ns = habit.spacing_ns / rate / (nodes_count if habit.per_node else 1)
        at_ns = begin_ns + exponential_ns(rng, spacing_ns)
        while at_ns < end_ns:
            targets: tuple[int, ...] = ()
            if habit.per_node:
                targets = (rng.randrange(nodes_count),)
            elif kind == FaultKind.PARTITION:
                count = rng.randint(2, nodes_count)
                targets = tuple(sorted(rng.sample(range(nodes_count), count)))
            lasts_ns = duration_ns(rng, habit.median_ns, most_ns=habit.most_ns)
            faults.append(Fault(at_ns, kind, targets, lasts_ns, rng.random()))
            at_ns += exponential_ns(rng, spacing_ns)
    return in_order(faults)


def outages(seed: int, number: int, spells: Spells, *, begin_ns: int, end_ns: int) -> list[Fault]:
    """Make faults of the outages of a node's link."""
    rng = split(seed, f"outages of {number}")
    found = zip(spells.start_ns.tolist(), spells.end_ns.tolist(), strict=True)
    drawn = [(start, end, rng.random()) for start, end in found]
    return [
        Fault(start, FaultKind.OUTAGE, (number,), end - start, draw)
        for start, end, draw in drawn
        if begin_ns <= start < end_ns
    ]


def among(faults: Iterable[Fault], nodes: frozenset[int]) -> tuple[Fault, ...]:
    """Return the faults that touch the monitor or one of these nodes, and them alone."""
    kept = []
    for fault in faults:
        targets = tuple(target for target in fault.targets if target in nodes)
        if targets or not fault.targets:
            kept.append(replace(fault, targets=targets))
    return tuple(kept)


def in_order(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """Return faults in order of time."""
    return tuple(sorted(faults, key=lambda fault: (fault.at_ns, fault.kind, fault.targets)))
