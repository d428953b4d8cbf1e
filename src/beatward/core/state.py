"""What the machine holds to be true: built first, handed to every room, copied for readers.

The arrays of nodes, and the records that stand beside them. Each array and each record has one room
that writes it: the arrays write themselves, by verbs of their own (`core.registry`,
`core.membership`, `core.detect`, `core.quality`, `core.upkeep`), and what some room hands over for
all others to read has its verb here. Not here: the rooms that work on it, which keep what only they
need (`core.hearing`, `core.judging`, ...).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from beatward.core.detect import DETECTORS, Detector, DetectorSettings
from beatward.core.entry import Conflict, Declaration
from beatward.core.figures import Goal
from beatward.core.guard import Drops, Pauses
from beatward.core.job_words import Book
from beatward.core.mass import Hold
from beatward.core.membership import Membership, MembershipSettings
from beatward.core.protocol.report import SelfReport
from beatward.core.quality import Quality
from beatward.core.registry import Registry
from beatward.core.upkeep import Upkeep


@dataclass(slots=True)
class State:
    """All of it, live or a copy.

    started_ns      when this session began
    wall_offset_ns  added to an instant it gives nanoseconds since 1970 UTC; only shown
    pauses, drops   of the monitor itself, as its guard counted them last
    holds           what mass failures hold back, the widest first
    offers          the services that slots have declared
    conflicts       slots under whose names two processes speak
    reports         what slots have said of themselves; of a life that may be over, see `report_of`

    `pauses`, `drops`, `holds` and `conflicts` are replaced and never changed, so any thread may
    keep them.
    """

    registry: Registry
    membership: Membership
    detector: Detector
    quality: Quality
    jobs: Book
    upkeep: Upkeep = field(default_factory=Upkeep)
    started_ns: int = 0
    wall_offset_ns: int = 0
    pauses: Pauses = field(default_factory=Pauses)
    drops: Drops = field(default_factory=Drops)
    holds: tuple[Hold, ...] = ()
    offers: dict[int, tuple[Declaration, ...]] = field(default_factory=dict)
    conflicts: Mapping[int, Conflict] = field(default_factory=dict)
    reports: dict[int, SelfReport] = field(default_factory=dict)

    @classmethod
    def empty(
        cls,
        master: bytes,
        *,
        detector: DetectorSettings,
        membership: MembershipSettings,
        goal: Goal,
        epochs: Mapping[int, int],
    ) -> "State":
        """Return the state of a machine that knows no node yet."""
        registry, jobs = Registry(master, epochs=epochs), Book()
        statuses = Membership(membership, registry.capacity)
        deadlines = DETECTORS[detector.kind](detector, registry.capacity)
        quality = Quality(goal, registry, statuses, deadlines, jobs=jobs.records)
        return cls(registry, statuses, deadlines, quality, jobs)

    # -- reading -----------------------------------------------------------------------------

    def report_of(self, slot: int) -> SelfReport | None:
        """Return what the life of a slot that is known now has said of itself."""
        found = self.reports.get(slot)
        is_current = found is not None and found.incarnation == self.registry.incarnation[slot]
        return found if is_current else None

    def hold_of(self, slot: int) -> Hold | None:
        """Return what holds back deeds for a slot, the widest first."""
        return next((hold for hold in self.holds if hold.group.has(slot)), None)

    # -- what rooms hand over ----------------------------------------------------------------

    def begin(self, now_ns: int) -> None:
        """Begin a session; what was before it is not counted."""
        self.started_ns = now_ns
        self.quality.begin(now_ns)

    def make_room(self) -> None:
        """Let every array have the registry's capacity."""
        capacity = self.registry.capacity
        if self.membership.status.shape[0] < capacity:
            self.membership.grow(capacity)
            self.detector.grow(capacity)
            self.quality.grow(capacity)

    def note_wall_offset(self, wall_offset_ns: int) -> None:
        """Take the wall clock's offset of this turn."""
        self.wall_offset_ns = wall_offset_ns

    def note_guard(self, pauses: Pauses, drops: Drops) -> None:
        """Take what the guard has counted of the monitor itself."""
        self.pauses, self.drops = pauses, drops

    def note_holds(self, holds: tuple[Hold, ...]) -> None:
        """Take what mass failures hold back from now on."""
        self.holds = holds

    def note_conflicts(self, known: Mapping[int, Conflict]) -> None:
        """Take the slots under whose names two processes speak from now on."""
        self.conflicts = known

    def note_offers(self, slot: int, offers: Sequence[Declaration]) -> None:
        """Take all that a node offers from now on."""
        if offers:
            self.offers[slot] = tuple(offers)
        else:
            self.offers.pop(slot, None)

    def note_report(self, slot: int, report: SelfReport) -> None:
        """Take what a node says of itself."""
        self.reports[slot] = report

    def forget_report(self, slot: int) -> None:
        """Drop what a node has said of itself."""
        self.reports.pop(slot, None)
