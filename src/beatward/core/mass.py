"""Mass failure: where many go dark at once, the fault is rarely theirs, and acting makes it worse.

A switch dies, and a monitor that restarts all it cannot hear turns an outage of the network into
one of the service. So three questions are asked before anything is done about the silent:

    cut off   has no node at all been heard since this silence began? A verdict needs one other
              voice, as the proof that the monitor can be reached. If there is none when all
              were due, it is we who are cut off: no node is held for dead until one speaks
    fleet     have 15 % of the fleet gone dark within the window (Eureka keeps its registry below
              85 % of renewals)?
    zone      or 55 % of a zone (Kubernetes' unhealthy-zone threshold)?

Where the answer is yes, destructive actions of the nodes that are in it (`core.mass_group`) are
held back, and their alarms become one message. It is over when few enough of them are dark
(hysteresis), or an operator says so. Below `count_min` nodes nothing is a mass: one of three is a
dead node.

Dark is a node that is suspect, or was found dead by silence within the window. An end that was
seen (a process exit, a goodbye) is no darkness. The dead of a mass do not become fewer by waiting;
a node that dies alone when the mass has ceased to grow is none of them, and many that go dark then
are counted anew.

The first of many looks like the first of one. A zone that beats every 10 s goes dark over 10 s,
and its first nodes are judged when most others have not been due yet. So a deed also waits while
the others' silence could still make it a mass: until enough of them were heard since, by count or
by sample. Where d of k who were due are dark, 2d + 3 of k are expected at most, in 19 cases of 20
(a line above Poisson's bound; for d = 0 it is the "rule of three"). At an interval of a second
everybody has spoken before the probing window ends, and nothing waits; it never waits longer than
the guard's window.

Not here: what is done about it (`core.judging`, `core.outbox`, `core.ledger`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from beatward.core.arrays import BoolArray, IntArray
from beatward.core.instants import MILLISECOND, SECOND, format_duration
from beatward.core.mass_group import Group, News
from beatward.core.membership import Cause, Change, Membership, Status
from beatward.core.registry import Registry

FLEET = 0  # the number of the fleet among those of its zones, see `Registry.zone`
# Few enough must be dark for this long before a hold ends: one lost answer is no relapse.
CALM_NS = SECOND
# A look takes about 18 ns a node, 18 ms of a million; while something is held back it may take a
# twentieth of the time.
LOOK_SPACING_NS = 100 * MILLISECOND
_LOOK_SPACING_A_NODE_NS = 300
NODES_NAMED_MAX = 10
CAUSES = ("cut_off", "mass_failure")

_SPEAKING = np.zeros(len(Status), np.bool_)
_SPEAKING[[Status.ALIVE, Status.FAILING, Status.RECOVERING]] = True


@dataclass(frozen=True, slots=True)
class MassSettings:
    """When many are too many. Units and reasons: config.GuardTable.

    lift_share   a hold ends when no more than this part of what began it is dark
    """

    fleet_share: float = 0.15
    zone_share: float = 0.55
    count_min: int = 3
    window_ns: int = 30 * SECOND
    lift_share: float = 0.5


@dataclass(frozen=True, slots=True)
class Hold:
    """Destructive actions of nodes of a zone, or of the fleet, are held back.

    cause     `mass_failure` or `cut_off`
    zone      empty: the fleet
    from_ns   nodes that have gone dark since then were counted when it began
    dark, total   nodes, as of the last look
    group     the nodes that are in it
    """

    cause: str
    zone: str
    begun_ns: int
    from_ns: int
    dark: int
    total: int
    group: Group = field(compare=False, repr=False)
    calm_ns: int | None = None

    @property
    def where(self) -> str:
        """The scope, as the end of a sentence."""
        return f"zone {self.zone}" if self.zone else "the fleet"

    def text(self, at_ns: int) -> str:
        """Say why something is held back."""
        if self.cause == "cut_off":
            silent = format_duration(at_ns - self.from_ns)
            return (
                f"the monitor itself seems cut off: no node was heard for {silent}, "
                f"and all {self.dark:,} nodes that should have spoken are silent"
            )
        return f"{self.dark:,} of {self.total:,} nodes of {self.where} went dark at once"

    def last_words(self, at_ns: int) -> str:
        """Say what is over."""
        if self.cause == "cut_off":
            silent = format_duration(at_ns - self.from_ns)
            return f"no node was heard for {silent}; suspects are probed anew"
        return f"{self.text(at_ns)}; what was held back goes on"


@dataclass(frozen=True, slots=True)
class _Sight:
    """Counts by zone (z,), the fleet's in row 0.

    dark      of the mass that lasts, or else gone dark within the window
    fresh     gone dark within the window, and in no mass that lasts
    since     dark since the instant asked for
    known     heard since then
    unknown   neither, and should be within the window
    total     all that are dark or speak
    gone, rung   slots: gone dark within the window; and overdue, to be suspected in this turn
    """

    dark: IntArray
    fresh: IntArray
    since: IntArray
    known: IntArray
    unknown: IntArray
    total: IntArray
    gone: IntArray
    rung: IntArray


class MassGuard:
    """Counts the dark and holds back. Asked only when something is about to be done."""

    def __init__(
        self,
        settings: MassSettings,
        registry: Registry,
        membership: Membership,
        *,
        jobs: Mapping[int, Any],
    ) -> None:
        """Watch over all slots but those of jobs, which are silent between their runs."""
        self.settings = settings
        self._jobs = jobs
        self._registry = registry
        self._membership = membership
        self._holds: dict[int, Hold] = {}
        self._cut_off: Hold | None = None
        self._overruled: set[int] = set()
        self._overruled_cut_off = False
        self._since_ns = 0
        self._quiet_since_ns: int | None = None
        self._remembered: tuple[int, int] | None = None
        self._is_clear: BoolArray = np.ones(1, np.bool_)
        self._looked_ns = -LOOK_SPACING_NS
        self._events: list[tuple[Hold, str, News]] = []
        self._groups_count = 0

    @property
    def holds(self) -> tuple[Hold, ...]:
        """All that is held back now, the widest first."""
        own = () if self._cut_off is None else (self._cut_off,)
        return (*own, *(self._holds[zone] for zone in sorted(self._holds)))

    @property
    def is_watching(self) -> bool:
        """Whether something is held back, or may be again when it is over."""
        return bool(self._holds or self._overruled) or self._cut_off is not None

    @property
    def has_events(self) -> bool:
        """Whether something is to be told."""
        return bool(self._events)

    def take_events(self, now_ns: int) -> list[tuple[Hold, str, News]]:
        """Return the holds that have `begun`, `changed`, are `over` or were `lifted` since the last
        call; where one has changed, also how.
        """
        events, self._events = self._events, []
        for hold in self.holds:
            news = hold.group.take_news(now_ns)
            if news.gone or news.back:
                events.append((hold, "changed", news))
        return events

    # -- asking ------------------------------------------------------------------------------

    def zone_of(self, node: str) -> int:
        """Return the number of a node's zone; the fleet's where it has none."""
        slot = self._registry.slot_of(node)
        return FLEET if slot < 0 else int(self._registry.zone[slot])

    def may_act(self, zone: int, ready_ns: int, now_ns: int) -> bool:
        """Tell whether a deed in a zone that was ready at an instant may be done now, if no mass
        failure holds it.
        """
        if self._cut_off is not None or self._looked_ns < ready_ns:
            return False
        is_late = now_ns - ready_ns >= self.settings.window_ns
        return is_late or (self._seems_clear(FLEET) and self._seems_clear(zone))

    def holder_of(self, node: str) -> int | None:
        """Return the number of the mass failure that holds back what would be done to a node."""
        slot = self._registry.slot_of(node)
        hold = None if slot < 0 else self.hold_of(slot)
        return None if hold is None else hold.group.number

    def lasts(self, number: int) -> bool:
        """Tell whether a mass failure is not over yet."""
        return any(hold.group.number == number for hold in self.holds)

    def hold_of(self, slot: int) -> Hold | None:
        """Return what holds back deeds for a slot, the widest first."""
        return next((hold for hold in self._holds_over(slot) if hold.group.has(slot)), None)

    def follow(self, changes: Sequence[Change]) -> frozenset[int]:
        """Take changes of one instant, and return the places of those that are not reported
        alone: they are told of together.
        """
        if not self._holds and self._cut_off is None:
            return frozenset()
        return frozenset(
            place
            for place, change in enumerate(changes)
            if change.slot not in self._jobs and self._is_folded(change)
        )

    def _is_folded(self, change: Change) -> bool:
        is_folded = False
        for hold in self._holds_over(change.slot):
            is_folded |= hold.group.follow(change, tells=not is_folded)
        return is_folded

    def _holds_over(self, slot: int) -> Iterator[Hold]:
        """Yield the holds in whose scope a slot is, the widest first."""
        if self._cut_off is not None:
            yield self._cut_off
        for zone in dict.fromkeys((FLEET, int(self._registry.zone[slot]))):
            if zone in self._holds:
                yield self._holds[zone]

    def dark(self, hold: Hold) -> IntArray:
        """Return the slots of the nodes of a hold that are dark."""
        return hold.group.dark()

    def scope(self, hold: Hold) -> IntArray:
        """Return the slots of all nodes in a hold's scope."""
        return self._within(np.flatnonzero(self._registry.in_use()), hold)

    def _within(self, slots: IntArray, hold: Hold) -> IntArray:
        registry = self._registry
        if hold.zone:
            slots = slots[registry.zone[slots] == registry.zones.index(hold.zone)]
        return slots

    def _seems_clear(self, zone: int) -> bool:
        return zone in self._overruled or (
            zone < len(self._is_clear) and bool(self._is_clear[zone])
        )

    # -- cut off -----------------------------------------------------------------------------

    def withholds(self, since_ns: int, heard_ns: int, now_ns: int) -> bool:
        """Tell whether verdicts have to wait, because no node was heard meanwhile that proves that
        the monitor itself can be reached.

        since_ns   when the oldest probing window began that has now ended in silence
        heard_ns   the last turn in which a node was heard
        """
        if self._cut_off is not None:
            return True
        since_ns = min(since_ns, self._quiet_since_ns or since_ns)
        if heard_ns > since_ns or self._overruled_cut_off:
            self._quiet_since_ns = None
            return False
        sight = self._see(since_ns, now_ns)
        # Those who will be due within the window are waited for: each of them may be the proof.
        if sight.since[FLEET] + sight.unknown[FLEET] < self.settings.count_min:
            return False
        self._quiet_since_ns = since_ns
        if sight.known[FLEET] == sight.unknown[FLEET] == 0:
            dark = int(sight.since[FLEET])
            group = self._new_group(sight, FLEET, now_ns, is_for_all=True)
            self._cut_off = Hold("cut_off", "", now_ns, heard_ns or since_ns, dark, dark, group)
            self._events.append((self._cut_off, "begun", News()))
        return True

    def hear(self) -> bool:
        """Note that a node was heard; tell whether that ends a hold because none was."""
        self._quiet_since_ns = None
        self._overruled_cut_off = False
        hold, self._cut_off = self._cut_off, None
        if hold is not None:
            self._end(hold, "over")
        return hold is not None

    # -- looking -----------------------------------------------------------------------------

    def is_due(self, now_ns: int, *, at_once: bool) -> bool:
        """Tell whether it is time for another look.

        at_once   there are verdicts: a small fleet is looked at in every such turn
        """
        if not at_once:
            return now_ns >= self.next_look_ns()
        return now_ns - self._looked_ns >= _LOOK_SPACING_A_NODE_NS * self._registry.count

    def next_look_ns(self) -> int:
        """Return when it is time for another look, while something is held back."""
        spacing_ns = _LOOK_SPACING_A_NODE_NS * self._registry.count
        return self._looked_ns + max(spacing_ns, LOOK_SPACING_NS)

    def look(self, now_ns: int, *, since_ns: int | None = None) -> None:
        """Count the dark; begin and end holds.

        since_ns   when the probing window began of those about to be judged; without it the
                   instant of the look before
        """
        if self._cut_off is not None:
            return  # that holds back everything
        self._since_ns = self._since_ns if since_ns is None else since_ns
        self._looked_ns = now_ns
        sight = self._see(self._since_ns, now_ns)
        share = self._shares(len(sight.total))
        count_min = self.settings.count_min
        limit = np.maximum(share * sight.total, count_min)
        few = sight.fresh + sight.unknown < limit
        sampled = 2 * sight.fresh + 3 < share * (sight.fresh + sight.known)
        self._is_clear = few | sampled
        below = sight.dark <= self.settings.lift_share * share * sight.total
        self._overruled = {zone for zone in self._overruled if not below[zone]}
        for zone in np.flatnonzero(sight.fresh >= limit).tolist():
            if zone in self._holds:
                self._holds[zone].group.add(self._fresh(sight.gone, zone), now_ns)
            elif zone not in self._overruled and not self._is_collapsing(now_ns):
                self._begin(zone, sight, now_ns)
        for zone in tuple(self._holds):
            self._follow(zone, sight, now_ns, is_below=bool(below[zone]))
        if not self._holds:
            self._remembered = None

    def remember(self, from_ns: int, until_ns: int) -> None:
        """Count nodes that went dark between two instants: what would be done to them waits since
        before a restart.
        """
        self._remembered = from_ns, until_ns

    def _is_collapsing(self, now_ns: int) -> bool:
        # The fleet's comes first, and one alarm is enough.
        return FLEET in self._holds and self._holds[FLEET].group.grows(now_ns)

    def lift(self, zone: str) -> None:
        """End holds because an operator says so.

        zone   only this one's; empty: all

        They do not begin again before few enough were dark or, after a cut, a node was heard.
        """
        if not zone and self._cut_off is not None:
            # What is behind it is another question: whether to act on all these verdicts.
            self._end(self._cut_off, "lifted")
            self._cut_off, self._overruled_cut_off = None, True
            return
        if not zone:
            # Also those that only the wider hold has kept from beginning.
            self._overruled.update(range(len(self._registry.zones)))
        for number, hold in tuple(self._holds.items()):
            if not zone or hold.zone == zone:
                self._overruled.add(number)
                self._end(self._holds.pop(number), "lifted")

    def _end(self, hold: Hold, what: str) -> None:
        news = hold.group.last_news()
        if news.gone:
            self._events.append((hold, "changed", news))
        self._events.append((hold, what, News()))

    def _begin(self, zone: int, sight: _Sight, now_ns: int) -> None:
        hold = Hold(
            "mass_failure",
            self._registry.zones[zone],
            now_ns,
            now_ns - self.settings.window_ns,
            int(sight.dark[zone]),
            int(sight.total[zone]),
            self._new_group(sight, zone, now_ns),
        )
        self._holds[zone] = hold
        self._events.append((hold, "begun", News()))

    def _new_group(
        self, sight: _Sight, zone: int, now_ns: int, *, is_for_all: bool = False
    ) -> Group:
        self._groups_count += 1
        slots = self._fresh(np.concatenate((sight.gone, sight.rung)), zone)
        window_ns = self.settings.window_ns
        return Group(self._groups_count, slots, now_ns, window_ns=window_ns, is_for_all=is_for_all)

    def _follow(self, zone: int, sight: _Sight, now_ns: int, *, is_below: bool) -> None:
        hold = self._holds[zone]
        calm_ns = (hold.calm_ns or now_ns) if is_below else None
        dark, total = int(sight.dark[zone]), int(sight.total[zone])
        hold = self._holds[zone] = replace(hold, dark=dark, total=total, calm_ns=calm_ns)
        if calm_ns is not None and now_ns - calm_ns >= CALM_NS:
            del self._holds[zone]
            self._end(hold, "over")

    def _shares(self, count: int) -> npt.NDArray[np.float64]:
        shares = np.full(count, self.settings.zone_share)
        shares[FLEET] = self.settings.fleet_share
        return shares

    # -- counting ----------------------------------------------------------------------------

    def _see(self, since_ns: int, now_ns: int) -> _Sight:
        registry, membership = self._registry, self._membership
        count = registry.count
        speaking = _SPEAKING[membership.status[:count]]
        speaking[list(self._jobs)] = False
        # Who is overdue and was not reached yet in this flood of alarms is dark as well.
        rung = speaking & (membership.due_ns[:count] <= now_ns)
        speaking &= ~rung
        heard = speaking & (registry.heard_ns[:count] >= since_ns)
        window_ms = self.settings.window_ns // MILLISECOND
        unheard = speaking & ~heard & (registry.interval_ms[:count] <= window_ms)
        suspects, dead = self._silent()
        dead_ns, rung_slots = membership.since_ns[dead], np.flatnonzero(rung)
        recent = np.concatenate((suspects, dead[self._is_recent(dead_ns, now_ns)]))
        since = np.concatenate((suspects, dead[dead_ns >= since_ns], rung_slots))
        anew = np.concatenate((recent, rung_slots))
        fresh = self._by_zone(self._fresh(anew, FLEET))
        dark, spoken = fresh.copy(), self._by_zone(np.flatnonzero(speaking))
        for zone, hold in self._holds.items():
            hold.group.keep(np.concatenate((suspects, dead, rung_slots)))
            dark[zone] = len(hold.group.dark())
            fresh[zone] = len(self._fresh(anew, zone))
        return _Sight(
            dark=dark,
            fresh=fresh,
            since=self._by_zone(since),
            known=self._by_zone(np.flatnonzero(heard)),
            unknown=self._by_zone(np.flatnonzero(unheard)),
            total=spoken + fresh + np.where(self._is_held(len(dark)), dark, 0),
            gone=recent,
            rung=rung_slots,
        )

    def _silent(self) -> tuple[IntArray, IntArray]:
        """Return the slots of suspects, and of the dead by silence."""
        membership = self._membership
        status = membership.status[: self._registry.count]
        dead = np.flatnonzero(status == Status.DEAD)
        dead = dead[membership.cause[dead] == Cause.SILENT]
        return self._no_jobs(np.flatnonzero(status == Status.SUSPECT)), self._no_jobs(dead)

    def _is_recent(self, dead_ns: IntArray, now_ns: int) -> BoolArray:
        recent: BoolArray = dead_ns >= now_ns - self.settings.window_ns
        if self._remembered is not None:
            from_ns, until_ns = self._remembered
            recent |= (dead_ns >= from_ns) & (dead_ns <= until_ns)
        return recent

    def _fresh(self, slots: IntArray, zone: int) -> IntArray:
        """Return those of the slots that are in a zone and in no mass of it, or of the fleet."""
        if zone != FLEET:
            slots = slots[self._registry.zone[slots] == zone]
        for wider in dict.fromkeys((FLEET, zone)):
            if wider in self._holds:
                slots = slots[~self._holds[wider].group.among(slots)]
        return slots

    def _is_held(self, count: int) -> BoolArray:
        held = np.zeros(count, np.bool_)
        held[list(self._holds)] = True
        return held

    def _no_jobs(self, slots: IntArray) -> IntArray:
        return slots[~np.isin(slots, list(self._jobs))] if self._jobs else slots

    def _by_zone(self, slots: IntArray) -> IntArray:
        zones_count = len(self._registry.zones)
        if zones_count == 1:
            return np.array([len(slots)])
        counts = np.bincount(self._registry.zone[slots], minlength=zones_count)
        counts[FLEET] = len(slots)
        return counts
