"""Monitors with one rule broken each: what the checkers are there to catch.

Each is built as production's is, with one part exchanged for one that forgets its rule.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from beatward.agent.heartbeat_protocol import HeartbeatProtocol
from beatward.agent.send_schedule import ANNOUNCED_COUNT_MIN, SendSchedule
from beatward.core.columns import Words
from beatward.core.detect import DetectorSettings
from beatward.core.guard import GuardSettings
from beatward.core.hearing import Hearing
from beatward.core.instants import SECOND
from beatward.core.ledger import Ledger
from beatward.core.mass import MassGuard, MassSettings
from beatward.core.membership import Membership, MembershipSettings, Status
from beatward.core.monitor import Monitor
from beatward.core.orders import Orders
from beatward.core.outbox import Outbox, Rate
from beatward.core.pace import PaceSettings, read_weights
from beatward.core.protocol.record import Flag
from beatward.simulate import Scenario, draw
from beatward.simulate.drivers import FailureRates
from beatward.simulate.faults import Fault, FaultKind, in_order
from beatward.simulate.network import Weather
from beatward.simulate.scenario import SERVICES

FOR_EVER = 10**18
# A world in which nothing goes wrong unless a test says so. Services have their own tests.
NOTHING = frozenset((*FaultKind, SERVICES))


class _Trusting(Hearing):
    """Believes every life without an echo of this session's number."""

    def _meet_lives(self, beats, rows, incarnation, now_ns):
        beats = replace(beats, records=beats.records.copy())
        beats.records["echo"][rows] = self._voice.session
        return super()._meet_lives(beats, rows, incarnation, now_ns)


class _Forgetful(Hearing):
    """Takes every heartbeat for news."""

    def _take_heartbeats(self, beats, now_ns, *, stale):
        self._registry.sequence[beats.slots] = -1
        super()._take_heartbeats(beats, now_ns, stale=stale)


class _Credulous(Hearing):
    """Lets a timely heartbeat revive the dead."""

    def _stir(self, slots, timely, answered, now_ns):
        super()._stir(slots, timely, answered | timely, now_ns)


class _Deaf(Hearing):
    """Hears no answer to a probe of a suspect."""

    def _answers(self, slots, echo, now_ns):
        return np.zeros(len(slots), np.bool_)


class _Inattentive(Hearing):
    """Knows that an announcement comes by the old grid, and waits by the old promise."""

    def _take_schedule(self, beats, steps, *, learn):
        known = self._detector.interval_ns[beats.slots]
        super()._take_schedule(beats, steps, learn=learn)
        slowing = (beats.records["flags"] & Flag.SLOWING != 0) & (known > 0)
        slots = beats.slots[slowing]
        late_ns = self._detector.due_ns(slots) + self._detector.margin_ns(slots)
        self._detector.deadline_ns[slots] = late_ns


class _Impatient(SendSchedule):
    """Slows down after three announcements, whether or not they were heard."""

    def sent(self, slot):
        super().sent(slot)
        if self.is_slowing and self._announced_count == ANNOUNCED_COUNT_MIN:
            self._begin(self.promise_ns, self.due_ns(slot) + self.promise_ns, self.due_ns(slot))


def _impatient(*arguments, **settings):
    protocol = HeartbeatProtocol(*arguments, **settings)
    protocol._schedule.__class__ = _Impatient
    return protocol


class _Unchecked(Monitor):
    """Verifies no tag."""

    def __init__(self, settings, **keys):
        super().__init__(settings, **keys)
        self._registry.tags = _Yes(self._registry.tags)


class _Yes:
    """Finds every tag right; all else as it was."""

    def __init__(self, tags):
        self._tags = tags

    def verify(self, records, slots, secret):
        return np.ones(len(slots), np.bool_)

    def __getattr__(self, name):
        return getattr(self._tags, name)


class _Eager(Outbox):
    """Lets actions run before the journal holds their decision."""

    def release(self, journaled, now_ns):
        return super().release(FOR_EVER, now_ns)


class _Tireless(Outbox):
    """Runs an action again after its success."""

    def settle(self, outcome, now_ns):
        waiting = self._waiting.get(outcome.key)
        settled = super().settle(outcome, now_ns)
        if settled is not None and settled.outcome == "success":
            self.add(waiting.record, sequence=0, not_before_ns=now_ns)
        return settled


class _Secretive(Ledger):
    """Journals no outcome of an action."""

    def record_settled(self, settled, at_ns):
        self.sequence += 0


class _Skipping(Ledger):
    """Skips a number now and then."""

    def record_lives(self, slots, at_ns, changes):
        super().record_lives(slots, at_ns, changes)
        self.sequence += 1 if len(slots) else 0


class _Hasty(Membership):
    """Takes the first stage for the second."""

    def apply(self, slots, cause, at_ns):
        changes = super().apply(slots, cause, at_ns)
        for i, change in enumerate(changes):
            if change.after == Status.SUSPECT:
                self.status[change.slot] = Status.DEAD
                changes[i] = replace(change, after=Status.DEAD)
        return changes


class _Blind(Membership):
    """Never finds silence."""

    def sweep(self, count, now_ns):
        return super().sweep(0, now_ns)


def _with(part, kind):
    def build(settings, **keys):
        monitor = Monitor(settings, **keys)
        getattr(monitor, part).__class__ = kind
        return monitor

    return build


class _Restless(MassGuard):
    """Lets everything be done at once, whatever goes dark."""

    def holder_of(self, node):
        return None

    def may_act(self, zone, ready_ns, now_ns):
        return True


class _Silent(MassGuard):
    """Tells nobody of nodes that die after a mass failure began."""

    def take_events(self, now_ns):
        return [one for one in super().take_events(now_ns) if one[1] != "changed"]


class _Certain(MassGuard):
    """Never doubts that it would hear the living."""

    def withholds(self, since_ns, heard_ns, now_ns):
        return False


class _Frantic(Rate):
    """Keeps to no rate."""

    def take(self, now_ns):
        return True


def _frantic(settings, **keys):
    monitor = Monitor(settings, **keys)
    monitor._outbox._rate.__class__ = _Frantic
    return monitor


def _with_settings(change):
    return lambda settings, **keys: Monitor(change(settings), **keys)


class _Amnesiac(Monitor):
    """Begins every session with all nodes alive."""

    def _restore_nodes(self, nodes, now_ns):
        alive, heard = Words.of(["alive"] * len(nodes)), Words.of(["heard"] * len(nodes))
        return super()._restore_nodes(replace(nodes, status=alive, cause=heard), now_ns)


class _Careless(Monitor):
    """Forgets what was decided before the restart."""

    def _restore_action(self, record, now_ns):
        pass


class _Graceless(Orders):
    """Gives nobody a grace after the monitor's start."""

    def grace_ns(self, slots):
        return np.zeros(len(slots), np.int64)


def _no_window(settings):
    return replace(settings, membership=replace(settings.membership, window_ns=1))


def short(seed):
    """Return an ordinary world, as short as they come."""
    return draw(seed, minutes=3, without=frozenset({SERVICES}))


def often_paused(seed):
    """Return a world that loses a quarter of all datagrams, and stops the monitor all the time.

    Where a window passes while the monitor is frozen, one lost probe is all that it has to go on.
    """
    drawn = draw(seed, minutes=3, without=NOTHING)
    instants = range(20 * SECOND, drawn.heal_ns - 4 * SECOND, 5 * SECOND)
    freezes = tuple(Fault(at, FaultKind.MONITOR_FREEZE, (), 3 * SECOND, 0.0) for at in instants)
    weather = Weather(loss_probability=0.25)
    links = (None,) * len(drawn.links)
    return replace(drawn, weather=weather, links=links, faults=freezes, adversary_ns=0)


def flooded(seed):
    """Return a world whose monitor's kernel drops half of all datagrams, again and again."""
    drawn = draw(seed, minutes=3, without=NOTHING)
    instants = range(20 * SECOND, drawn.heal_ns - 6 * SECOND, 10 * SECOND)
    floods = tuple(Fault(at, FaultKind.FLOOD, (), 5 * SECOND, 0.5) for at in instants)
    return replace(drawn, links=(None,) * len(drawn.links), faults=floods, adversary_ns=0)


def attacked(seed):
    """Return a world of people who listen and repeat, in which everybody dies and comes back.

    A fifth of what is said is swallowed; the monitor is killed every 20 s.
    """
    drawn = draw(seed, minutes=3, without=NOTHING)
    faults = [
        Fault(at, FaultKind.MONITOR_CRASH, (), 3 * SECOND, 0.0)
        for at in range(25 * SECOND, drawn.heal_ns - 5 * SECOND, 20 * SECOND)
    ]
    for i, node in enumerate(drawn.nodes):
        begun = (20 + 37 * i % 60) * SECOND
        faults.append(Fault(begun, FaultKind.CRASH, (node,), 30 * SECOND, 0.9))
    weather = Weather(loss_probability=0.05, withhold_probability=0.05)
    return replace(
        drawn,
        weather=weather,
        links=(None,) * len(drawn.links),
        faults=in_order(faults),
        adversary_ns=SECOND // 20,
        settings=replace(drawn.settings, pace=PaceSettings()),
        skill=FailureRates(2 * SECOND, temporary_probability=0.3),
    )


def isolated(seed):
    """Return a world whose monitor is cut off from everybody, again and again."""
    drawn = draw(seed, minutes=3, without=NOTHING)
    instants = range(20 * SECOND, drawn.heal_ns - 16 * SECOND, 30 * SECOND)
    cuts = tuple(Fault(at, FaultKind.PARTITION, drawn.nodes, 15 * SECOND, 0.0) for at in instants)
    links = (None,) * len(drawn.links)
    return replace(drawn, weather=Weather(), links=links, faults=cuts, adversary_ns=0)


def often_crashed(seed):
    """Return a world in which nodes die all the time, one by one, and few deeds are allowed."""
    drawn = draw(seed, minutes=3, without=NOTHING)
    count = len(drawn.intervals_ns)
    instants = range(20 * SECOND, drawn.heal_ns, 5 * SECOND)
    crashes = tuple(
        Fault(at, FaultKind.CRASH, (number * 2 % count,), 8 * SECOND, 1.0)
        for number, at in enumerate(instants)
    )
    settings = replace(drawn.settings, actions_per_minute=2, mass=MassSettings(count_min=1000))
    return replace(drawn, settings=settings, faults=crashes, adversary_ns=0)


def collapsing(seed):
    """Return a world in which nodes die one after the other, and two of them are a mass."""
    drawn = draw(seed, minutes=3, without=NOTHING)
    count = len(drawn.intervals_ns)
    instants = range(20 * SECOND, drawn.heal_ns - 40 * SECOND, 4 * SECOND)
    crashes = tuple(
        Fault(at, FaultKind.CRASH, (number * 2 % count,), 30 * SECOND, 1.0)
        for number, at in enumerate(instants)
    )
    settings = replace(drawn.settings, mass=MassSettings(fleet_share=0.01, count_min=2))
    return replace(drawn, settings=settings, faults=crashes, adversary_ns=0)


def held_back(seed):
    """Return a world in which a last word is often swallowed, and said when its node is dead.

    It is in time for longer than it takes to find its sender dead: long intervals, short windows.
    """
    drawn = draw(seed, minutes=3, without=NOTHING)
    probing = MembershipSettings(SECOND, SECOND // 5)
    faults = [
        Fault((20 + 7 * i % 10 + again) * SECOND, FaultKind.CRASH, (node,), 12 * SECOND, 0.9)
        for i, node in enumerate(drawn.nodes)
        for again in range(0, drawn.heal_ns // SECOND - 45, 30)
    ]
    return replace(
        drawn,
        settings=replace(
            drawn.settings, membership=probing, detector=DetectorSettings(), pace=PaceSettings()
        ),
        intervals_ns=(5 * SECOND,) * len(drawn.intervals_ns),
        weather=Weather(withhold_probability=0.05),
        links=(None,) * len(drawn.links),
        faults=in_order(faults),
        adversary_ns=SECOND // 4,
    )


def restless(seed):
    """Return a world whose monitor always wants other intervals, and that loses and overtakes."""
    drawn = draw(seed, minutes=4, without=NOTHING)
    budget = 0.4 * sum(SECOND / interval_ns for interval_ns in drawn.intervals_ns)
    pace = PaceSettings(budget, SECOND // 4, 4 * SECOND, read_weights([("node-*[02468]", 16.0)]))
    settings = replace(drawn.settings, pace=pace)
    weather = replace(
        drawn.weather, loss_probability=0.25, heavy_tail=True, is_fifo=False, jitter_ns=SECOND // 50
    )
    detector = replace(settings.detector, margin_min_ns=SECOND // 20, margin_ns=None)
    settings = replace(settings, detector=detector)
    links = (None,) * len(drawn.links)
    return replace(
        drawn, settings=settings, weather=weather, links=links, faults=(), adversary_ns=0
    )


@dataclass(frozen=True)
class Broken:
    """One broken monitor or node: how to build it, the rules that must catch it, worlds to try."""

    build: Callable[..., Monitor]
    rules: frozenset[str]
    seeds: tuple[int, ...]
    world: Callable[[int], Scenario] = short
    protocol: Callable[..., HeartbeatProtocol] = HeartbeatProtocol


def _broken(build, rules, *seeds, world=short, protocol=HeartbeatProtocol):
    return Broken(build, frozenset(rules.split()), seeds, world, protocol)


def _blind_to_itself(settings):
    return replace(settings, guard=GuardSettings(FOR_EVER))


class _Proud(Monitor):
    """Does not want to know of what its own kernel dropped."""

    def step(self, inputs, **rest):
        return super().step(replace(inputs, dropped=0), **rest)


# The seeds that stand here show it soonest; others are tried after them.
BROKEN = {
    "believes a life without proof of this session": _broken(
        _with("_hearing", _Trusting), "replay verdict", 6, world=attacked
    ),
    "filters no replays": _broken(
        _with("_hearing", _Forgetful), "replay completeness", 5, world=attacked
    ),
    "lets a heartbeat revive the dead": _broken(
        _with("_hearing", _Credulous), "replay", 9, world=held_back
    ),
    "does not wait for what was announced": _broken(
        _with("_hearing", _Inattentive), "promise", 3, world=restless
    ),
    "slows down unheard": _broken(Monitor, "promise", 3, world=restless, protocol=_impatient),
    "does not hear answers": _broken(_with("_hearing", _Deaf), "verdict liveness", 1),
    "verifies no tags": _broken(_Unchecked, "replay", 11),
    "does not notice its own pause": _broken(
        _with_settings(_blind_to_itself), "verdict", 25, world=often_paused
    ),
    "does not notice its own drops": _broken(_Proud, "verdict", 8, world=flooded),
    "gives no grace after its start": _broken(_with("_orders", _Graceless), "verdict", 2),
    "convicts without a probing window": _broken(_with_settings(_no_window), "verdict", 4),
    "convicts at the first stage": _broken(_with("_membership", _Hasty), "table", 2),
    "never finds silence": _broken(_with("_membership", _Blind), "completeness", 8),
    "acts before its decision is on disk": _broken(_with("_outbox", _Eager), "action", 2),
    "acts again after a success": _broken(_with("_outbox", _Tireless), "action", 2),
    "journals no outcomes": _broken(_with("_ledger", _Secretive), "liveness", 2),
    "forgets decided actions in a restart": _broken(_Careless, "liveness", 3, world=attacked),
    "begins a session with other statuses": _broken(_Amnesiac, "projection", 2),
    "acts while a mass failure holds it back": _broken(_with("_mass", _Restless), "mass", 3),
    "tells nobody of what a mass failure takes later": _broken(
        _with("_mass", _Silent), "alarm", 2, world=collapsing
    ),
    "judges though it hears nobody": _broken(_with("_mass", _Certain), "mass", 3, world=isolated),
    "acts as fast as it likes": _broken(_frantic, "rate", 5, world=often_crashed),
    "skips a number in the journal": _broken(_with("_ledger", _Skipping), "journal", 2),
}
