"""Mass failure: where many go dark at once, the fault is rarely theirs, and acting makes it worse.

A switch dies, and a monitor that restarts all it cannot hear turns an outage of the network into
one of the service. So three questions are asked before anything is done about the silent:

    cut off   has nobody at all been heard since this silence began? A verdict needs one other
              voice, as the proof that the monitor can be reached. If there is none when all
              were due, it is we who are cut off: nobody is held for dead until somebody speaks
    fleet     have 15 % of the fleet gone dark within the window (Eureka keeps its registry below
              85 % of renewals)?
    zone      or 55 % of a zone (Kubernetes' unhealthy-zone threshold)?

Where the answer is yes, destructive actions of that zone or of the whole fleet are held back, and
alarms become one message. It is over when few enough are dark (hysteresis), or an operator says
so. Below `count_min` nodes nothing is a mass: one of three is a dead node.

Dark is who is suspect, or was found dead by silence within the window. An end that somebody saw
(a process exit, a goodbye) is no darkness. While a hold lasts its window does not move on: the
dead do not become fewer by waiting.

The first of many looks like the first of one. A zone that beats every 10 s goes dark over 10 s,
and its first nodes are judged when most others have not been due yet. So a deed also waits while
the others' silence could still make it a mass: until enough of them were heard since, by count or
by sample. Where d of k who were due are dark, 2d + 3 of k are expected at most, in 19 cases of 20
(a line above Poisson's bound; for d = 0 it is the "rule of three"). At an interval of a second
everybody has spoken before the probing window ends, and nothing waits; it never waits longer than
the guard's window.

Not here: what is done about it (`core.judging`, `core.outbox`, `core.ledger`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from beatward.core.instants import MILLISECOND, SECOND, format_duration
from beatward.core.membership import Cause, Change, Membership, Status
from beatward.core.registry import Registry

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

FLEET = 0  # the number of the fleet among those of its zones, see `Registry.zone`
# Few enough must be dark for so long before a hold ends: one lost answer is no relapse.
CALM_NS = SECOND
# A look takes about 18 ns a node, 18 ms of a million; while something is held back it may take a
# twentieth of the time.
LOOK_SPACING_NS = 100 * MILLISECOND
_LOOK_SPACING_A_NODE_NS = 300
NODES_NAMED_MAX = 10
CAUSES = ("cut_off", "mass_failure")

_SPEAKING = np.zeros(len(Status), np.bool_)
_SPEAKING[[Status.ALIVE, Status.FAILING, Status.RECOVERING]] = True
_FOLDED = (Cause.OVERDUE, Cause.SILENT, Cause.REFUTED, Cause.STEADY)


@dataclass(frozen=True, slots=True)
class MassSettings:
    """When many are too many. Units and reasons: config.GuardSettings.

    lift_share   a hold ends when no more than this part of what began it is dark
    """

    fleet_share: float = 0.15
    zone_share: float = 0.55
    count_min: int = 3
    window_ns: int = 30 * SECOND
    lift_share: float = 0.5


@dataclass(frozen=True, slots=True)
class Hold:
    """Destructive actions of a zone, or of the fleet, are held back.

    cause     `mass_failure` or `cut_off`
    zone      empty: the fleet
    from_ns   who has gone dark since then counts until it is over
    dark, total   nodes, as of the last look
    """

    cause: str
    zone: str
    begun_ns: int
    from_ns: int
    dark: int
    total: int
    calm_ns: int | None = None

    @property
    def where(self) -> str:
        """The scope, as the end of a sentence."""
        return f"zone {self.zone}" if self.zone else "the fleet"

    def words(self, at_ns: int) -> str:
        """Say why something is held back."""
        if self.cause == "cut_off":
            silent = format_duration(at_ns - self.from_ns)
            return (
                f"the monitor itself seems cut off: nothing was heard of anybody for {silent}, "
                f"and all {self.dark:,} nodes that should have spoken are silent"
            )
        return f"{self.dark:,} of {self.total:,} nodes of {self.where} went dark at once"

    def last_words(self, at_ns: int) -> str:
        """Say what is over."""
        if self.cause == "cut_off":
            silent = format_duration(at_ns - self.from_ns)
            return f"nothing was heard of anybody for {silent}; suspects are probed anew"
        return f"{self.words(at_ns)}; what was held back goes on"


@dataclass(frozen=True, slots=True)
class _Sight:
    """Counts by zone (z,), the fleet's in row 0.

    dark      silent
    since     dark since the instant asked for
    known     heard since then
    unknown   neither, and should be within the window
    total     all that are dark or speak
    """

    dark: IntArray
    since: IntArray
    known: IntArray
    unknown: IntArray
    total: IntArray


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
        self._from_ns: int | None = None
        self._is_clear: BoolArray = np.ones(1, np.bool_)
        self._looked_ns = -LOOK_SPACING_NS
        self._events: list[tuple[Hold, str]] = []

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

    def take_events(self) -> list[tuple[Hold, str]]:
        """Return the holds that have `begun`, are `over` or were `lifted` since the last call."""
        events, self._events = self._events, []
        return events

    # -- asking ------------------------------------------------------------------------------

    def zone_of(self, node: str) -> int:
        """Return the number of a node's zone; the fleet's where it has none."""
        slot = self._registry.slot_of(node)
        return FLEET if slot < 0 else int(self._registry.zone[slot])

    def may_act(self, zone: int, ready_ns: int, now_ns: int) -> bool:
        """Tell whether a deed in a zone that was ready at an instant may be done now."""
        if self._cut_off is not None or FLEET in self._holds or zone in self._holds:
            return False
        if self._looked_ns < ready_ns:
            return False
        is_late = now_ns - ready_ns >= self.settings.window_ns
        return is_late or (self._seems_clear(FLEET) and self._seems_clear(zone))

    def hold_of(self, slot: int) -> Hold | None:
        """Return what holds back deeds for a slot, the widest first."""
        if not self._holds:
            return self._cut_off
        zone = int(self._registry.zone[slot])
        return self._cut_off or self._holds.get(FLEET) or self._holds.get(zone)

    def folds(self, change: Change) -> bool:
        """Tell whether a change is part of a mass that was told as a whole."""
        if change.slot in self._jobs:
            return False
        returned = change.cause == Cause.HEARD and change.before in (Status.DEAD, Status.SUSPECT)
        return (returned or change.cause in _FOLDED) and self.hold_of(change.slot) is not None

    def dark(self, hold: Hold) -> IntArray:
        """Return the slots of those who are dark in a hold's scope, as of now."""
        from_ns = np.full(len(self._registry.zones), hold.from_ns)
        return self._within(self._since(self._gone(), from_ns), hold)

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
        """Tell whether verdicts have to wait, because nobody was heard meanwhile who proves that
        the monitor itself can be reached.

        since_ns   when the oldest probing window began that has now ended in silence
        heard_ns   the last turn in which anybody was heard
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
            self._cut_off = Hold("cut_off", "", now_ns, heard_ns or since_ns, dark, dark)
            self._events.append((self._cut_off, "begun"))
        return True

    def hear(self) -> bool:
        """Note that somebody was heard; tell whether that ends a hold because nobody was."""
        self._quiet_since_ns = None
        self._overruled_cut_off = False
        hold, self._cut_off = self._cut_off, None
        if hold is not None:
            self._events.append((hold, "over"))
        return hold is not None

    # -- looking -----------------------------------------------------------------------------

    def is_due(self, now_ns: int, *, at_once: bool) -> bool:
        """Tell whether it is time for another look.

        at_once   there are verdicts: a small fleet is looked at in every such turn
        """
        spacing_ns = _LOOK_SPACING_A_NODE_NS * self._registry.count
        if not at_once:
            spacing_ns = max(spacing_ns, LOOK_SPACING_NS)
        return now_ns - self._looked_ns >= spacing_ns

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
        few = sight.dark + sight.unknown < limit
        sampled = 2 * sight.dark + 3 < share * (sight.dark + sight.known)
        self._is_clear = few | sampled
        below = sight.dark <= self.settings.lift_share * share * sight.total
        self._overruled = {zone for zone in self._overruled if not below[zone]}
        for zone in np.flatnonzero(sight.dark >= limit).tolist():
            # The fleet's comes first, and one alarm is enough.
            if FLEET not in self._holds and zone not in self._overruled.union(self._holds):
                self._begin(zone, sight, now_ns)
        for zone in tuple(self._holds):
            self._follow(zone, sight, now_ns, is_below=bool(below[zone]))
        if not self._holds:
            self._from_ns = None

    def remember(self, from_ns: int) -> None:
        """Count whoever has gone dark since an instant: their deeds wait since before a restart."""
        self._from_ns = min(from_ns, self._from_ns or from_ns)

    def lift(self, zone: str) -> None:
        """End holds because an operator says so.

        zone   only this one's; empty: all

        They do not begin again before few enough were dark or, after a cut, somebody was heard.
        """
        if not zone and self._cut_off is not None:
            # What is behind it is another question: whether to act on all these verdicts.
            self._events.append((self._cut_off, "lifted"))
            self._cut_off, self._overruled_cut_off = None, True
            return
        if not zone:
            # Also those that only the wider hold has kept from beginning.
            self._overruled.update(range(len(self._registry.zones)))
        for number, hold in tuple(self._holds.items()):
            if not zone or hold.zone == zone:
                self._overruled.add(number)
                self._events.append((self._holds.pop(number), "lifted"))

    def _begin(self, zone: int, sight: _Sight, now_ns: int) -> None:
        hold = Hold(
            "mass_failure",
            self._registry.zones[zone],
            now_ns,
            self._begins_ns(now_ns),
            int(sight.dark[zone]),
            int(sight.total[zone]),
        )
        self._holds[zone] = hold
        self._events.append((hold, "begun"))

    def _follow(self, zone: int, sight: _Sight, now_ns: int, *, is_below: bool) -> None:
        hold = self._holds[zone]
        calm_ns = (hold.calm_ns or now_ns) if is_below else None
        dark, total = int(sight.dark[zone]), int(sight.total[zone])
        hold = self._holds[zone] = replace(hold, dark=dark, total=total, calm_ns=calm_ns)
        if calm_ns is not None and now_ns - calm_ns >= CALM_NS:
            del self._holds[zone]
            self._events.append((hold, "over"))

    def _begins_ns(self, now_ns: int) -> int:
        begins_ns = now_ns - self.settings.window_ns
        return begins_ns if self._from_ns is None else min(begins_ns, self._from_ns)

    def _shares(self, count: int) -> npt.NDArray[np.float64]:
        shares = np.full(count, self.settings.zone_share)
        shares[FLEET] = self.settings.fleet_share
        return shares

    # -- counting ----------------------------------------------------------------------------

    def _see(self, since_ns: int, now_ns: int) -> _Sight:
        registry, membership = self._registry, self._membership
        count = registry.count
        from_ns = np.full(len(registry.zones), self._begins_ns(now_ns))
        for zone, hold in self._holds.items():
            from_ns[zone] = min(from_ns[zone], hold.from_ns)
        speaking = _SPEAKING[membership.status[:count]]
        speaking[list(self._jobs)] = False
        # Who is overdue and was not reached yet in this flood of alarms is dark as well.
        rung = speaking & (membership.due_ns[:count] <= now_ns)
        speaking &= ~rung
        heard = speaking & (registry.heard_ns[:count] >= since_ns)
        window_ms = self.settings.window_ns // MILLISECOND
        unheard = speaking & ~heard & (registry.interval_ms[:count] <= window_ms)
        rung_slots, gone = np.flatnonzero(rung), self._gone()
        dark = self._by_zone(np.concatenate((self._since(gone, from_ns), rung_slots)))
        of_fleet = self._since(gone, np.full(len(from_ns), from_ns[FLEET]))
        dark[FLEET] = len(of_fleet) + len(rung_slots)
        since = self._since(gone, np.full(len(from_ns), since_ns))
        return _Sight(
            dark=dark,
            since=self._by_zone(np.concatenate((since, rung_slots))),
            known=self._by_zone(np.flatnonzero(heard)),
            unknown=self._by_zone(np.flatnonzero(unheard)),
            total=dark + self._by_zone(np.flatnonzero(speaking)),
        )

    def _gone(self) -> tuple[IntArray, IntArray]:
        """Return the slots of suspects, and of the dead by silence."""
        membership = self._membership
        status = membership.status[: self._registry.count]
        dead = np.flatnonzero(status == Status.DEAD)
        dead = dead[membership.cause[dead] == Cause.SILENT]
        return self._no_jobs(np.flatnonzero(status == Status.SUSPECT)), self._no_jobs(dead)

    def _since(self, gone: tuple[IntArray, IntArray], from_ns: IntArray) -> IntArray:
        """Return the suspects, and those who are dead since an instant of their zone (z,)."""
        suspects, dead = gone
        since_ns, zone = self._membership.since_ns[dead], self._registry.zone[dead]
        return np.concatenate((suspects, dead[since_ns >= from_ns[zone]]))

    def _no_jobs(self, slots: IntArray) -> IntArray:
        return slots[~np.isin(slots, list(self._jobs))] if self._jobs else slots

    def _by_zone(self, slots: IntArray) -> IntArray:
        zones_count = len(self._registry.zones)
        if zones_count == 1:
            return np.array([len(slots)])
        counts = np.bincount(self._registry.zone[slots], minlength=zones_count)
        counts[FLEET] = len(slots)
        return counts
