"""The promise about many: no destructive deed while they are held back, and none too fast.

Who hears nobody judges nobody, either. Taken from what the monitor has said and from what really
arrived; on purpose not the guard's own counting. Not here: whether a hold was right (its thresholds
are tested by tables).
"""

from collections import deque
from typing import TYPE_CHECKING

from beatward.core.entry import Entry, Event
from beatward.core.instants import MINUTE, NEVER, SECOND, format_duration
from beatward.core.outbox import Action

from .network import End
from .truth import NodeTruth, Span

if TYPE_CHECKING:
    from .checkers import Checkers

_EXPECTED = ("alive", "failing", "suspect", "recovering")


class Holds:
    """What is held back, as the entries say, and what was done all the same."""

    def __init__(self, checkers: "Checkers") -> None:
        self._checkers = checkers
        self._scenario = checkers.world.scenario
        self._zones: set[str | None] = set()
        self._begun: deque[int] = deque()
        self.cuts: list[Span] = []  # when it said that it is cut off, in true time

    @property
    def is_cut_off(self) -> bool:
        """Whether it says now that it is cut off."""
        return bool(self.cuts) and self.cuts[-1].end_ns == NEVER

    def started(self) -> None:
        """Note that a session began: it holds back nothing yet, and its rate begins anew."""
        self._zones.clear()
        self._end_cut()
        self._begun.clear()

    def heed(self, entry: Entry) -> None:
        """Take an entry of the monitor."""
        if entry.event != Event.GUARD:
            return
        self._checkers.counts[f"guard {entry.cause}"] += 1
        match entry.cause:
            case "cut_off":
                self.cuts.append(Span("cut off", self._checkers.now_ns))
            case "cut_off_over":
                self._end_cut()
            case "mass_failure":
                self._zones.add(entry.detail["zone"])
            case "mass_failure_over":
                self._zones.discard(entry.detail["zone"])

    def begun(self, action: Action) -> None:
        """Check an attempt as it begins."""
        settings = self._scenario.settings.actions[action.name]
        if not settings.destructive:
            return
        self._checkers.counts["destructive attempts"] += 1
        zone = self._checkers.world.zone(action.node)
        if self.is_cut_off or None in self._zones or zone in self._zones:
            message = f"{action.key} begins while a mass failure is said to hold it back"
            self._checkers.violate("mass", action.node, message)
        self._check_rate(action)

    def check_verdict(self, truth: NodeTruth, opened_ns: int) -> None:
        """Check that somebody was heard before this node was found dead by its silence."""
        if self.is_cut_off:
            message = "convicted by a monitor that says of itself that it is cut off"
            self._checkers.violate("mass", truth.name, message)
        mass = self._scenario.settings.mass
        expected = [
            name
            for name, other in self._checkers.world.truths.items()
            if self._checkers.statuses.get(name) in _EXPECTED
            and other.interval_ns <= mass.window_ns
        ]
        if len(expected) < mass.count_min:
            return
        if not self._has_arrived(opened_ns):
            silent = format_duration(self._checkers.now_ns - opened_ns)
            message = f"convicted although nothing at all had arrived for {silent}"
            self._checkers.violate("mass", truth.name, message)

    def _end_cut(self) -> None:
        if self.is_cut_off:
            self.cuts[-1].end_ns = self._checkers.now_ns

    def _has_arrived(self, since_ns: int) -> bool:
        for path in self._checkers.world.network.to_monitor.values():
            for fate in reversed(path.fates):
                if fate.sent_ns < since_ns - SECOND:
                    break
                if fate.end == End.ARRIVED and fate.arrived_ns >= since_ns:
                    return True
        return self._was_played(since_ns)

    def _was_played(self, since_ns: int) -> bool:
        """Tell whether the adversary brought what had not arrived by itself.

        Seed 100241: a heartbeat that was under way when a partition began, and that he had heard.
        To the monitor it is a heartbeat that comes late.
        """
        network = self._checkers.world.network
        played = {data for data, at_ns in network.played.items() if at_ns >= since_ns}
        return any(
            fate.end != End.ARRIVED and fate.data in played
            for path in network.to_monitor.values()
            for fate in path.fates
        )

    def _check_rate(self, action: Action) -> None:
        now_ns, per_minute = self._checkers.now_ns, self._scenario.settings.actions_per_minute
        self._begun.append(now_ns)
        # The bucket holds a minute's worth and a minute fills it once more; its clock may drift.
        while self._begun[0] < now_ns - MINUTE:
            self._begun.popleft()
        if len(self._begun) > 2 * per_minute + 1:
            message = f"{len(self._begun)} destructive attempts in a minute, not {2 * per_minute}"
            self._checkers.violate("rate", action.node, message)
