"""Jobs: a run is due at known instants, or a period after the last one, and may be late by a grace.

    deadline = due + grace              while a run is awaited
    deadline = started + longest run    while one is under way

due is the first instant of the schedule that the last word does not count for or, without a
schedule, last word + interval. A run that comes early counts for the instant it is early for, if
it is early by no more than the grace and half the way from the instant before: clocks of machines
differ, and a job that ended at 02:59:59 does not run again at 03:00:00.

Instants of a schedule are handed in (`hand`), a few ahead of time: cron expressions, time zones and
their changes of clock are no business of a machine that has no clock (`beatward.timetable`).
Nothing is learnt. Runs are so few that a month of them says less about the next than the person
that wrote the schedule, and it is a person who has to understand the deadline.

When it is wrong: for whatever beats more often than once a minute. It believes every word from its
arrival on, and there is nothing to ask a job that is not running: no probe stands behind it.

A slot costs 89 bytes. For a whole fleet, without schedules, it is `fixed` with a timeout of an
interval and a grace.

Source: cron's own rules, and healthchecks/healthchecks, whose users expect schedule, grace and
start. What is ours is the early run, and the reasons: docs/decisions/012.
"""

import numpy as np

from beatward.core.arrays import IntArray
from beatward.core.detect.base import INTERVAL_MAX_NS, TIMEOUT_MAX_NS, Detector, DetectorSettings
from beatward.core.instants import NEVER, format_duration

# Two that lie ahead are enough to decide by; twice as many leave the room that hands them in the
# time between two due instants.
AHEAD = 4


class Calendar(Detector):
    """Due instants, graces and runs. Without `plan` a slot has neither schedule nor longest run.

    awaited_ns   when the awaited run is due, NEVER where none is known
    started_ns   when the run under way began, NEVER where there is none
    """

    READS = ("grace",)
    ROWS = (
        *Detector.ROWS,
        *("awaited_ns", "started_ns", "grace_ns", "run_ns", "is_scheduled", "upcoming_ns"),
    )

    def __init__(self, settings: DetectorSettings, capacity: int) -> None:
        super().__init__(settings, capacity)
        self.awaited_ns: IntArray = np.zeros(capacity, np.int64)
        self.started_ns: IntArray = np.zeros(capacity, np.int64)
        self.grace_ns: IntArray = np.zeros(capacity, np.int64)  # 0: that of the settings
        self.run_ns: IntArray = np.zeros(capacity, np.int64)  # 0: as the grace
        self.is_scheduled = np.zeros(capacity, np.bool_)
        self.upcoming_ns: IntArray = np.zeros((capacity, AHEAD), np.int64)

    def forget(self, slots: IntArray) -> None:  # noqa: D102
        super().forget(slots)
        self.awaited_ns[slots] = NEVER
        self.started_ns[slots] = NEVER
        self.grace_ns[slots] = 0
        self.run_ns[slots] = 0
        self.is_scheduled[slots] = False
        self.upcoming_ns[slots] = NEVER

    def plan(self, slot: int, *, interval_ns: int, grace_ns: int, run_ns: int) -> None:
        """Say what a job promises; interval_ns is 0 for one that has a schedule.

        What is awaited from now on follows with the next `hand`, `observe` or `begin`.
        """
        self.grace_ns[slot] = grace_ns
        self.run_ns[slot] = run_ns
        self.is_scheduled[slot] = interval_ns == 0
        self.interval_ns[slot] = min(interval_ns, INTERVAL_MAX_NS)
        self.awaited_ns[slot] = self.deadline_ns[slot] = NEVER
        self.upcoming_ns[slot] = NEVER
        if self.started_ns[slot] != NEVER:
            self.begin(np.array([slot]), self.started_ns[[slot]])

    def hand(self, slot: int, upcoming_ns: tuple[int, ...], *, anew: bool = False) -> None:
        """Take the next instants of a schedule, in order; AHEAD of them are kept.

        anew   the wall clock was set: what was awaited until now is not awaited any more
        """
        kept = upcoming_ns[:AHEAD]
        self.upcoming_ns[slot] = (*kept, *(NEVER for _ in range(AHEAD - len(kept))))
        if len(kept) > 1:
            self.interval_ns[slot] = min(kept[1] - kept[0], INTERVAL_MAX_NS)
        if anew or self.awaited_ns[slot] == NEVER:
            self._await(np.array([slot]), self.expected_ns[[slot]])

    def begin(self, slots: IntArray, at_ns: IntArray) -> None:
        """Note that runs (k,) began."""
        self.started_ns[slots] = at_ns
        run = self.run_ns[slots]
        self.deadline_ns[slots] = at_ns + np.where(run == 0, self.margin_ns(slots), run)

    def observe(  # noqa: D102
        self,
        slots: IntArray,
        steps: IntArray,  # noqa: ARG002  a run has no place in a sequence
        interval_ns: IntArray,
        arrived_ns: IntArray,
        *,
        learn: bool = True,  # noqa: ARG002  nothing is learnt
    ) -> None:
        promised = np.minimum(interval_ns, INTERVAL_MAX_NS)
        self.interval_ns[slots] = np.where(
            self.is_scheduled[slots], self.interval_ns[slots], promised
        )
        self.expected_ns[slots] = arrived_ns
        self.started_ns[slots] = NEVER
        self._await(slots, arrived_ns)

    def disarm(self, slots: IntArray) -> None:
        """Let slots (k,) have no deadline until the next word."""
        self.deadline_ns[slots] = NEVER

    def reanchor(self, slots: IntArray) -> None:  # noqa: D102
        pass

    def due_ns(self, slots: IntArray) -> IntArray:  # noqa: D102
        return np.where(self.deadline_ns[slots] == NEVER, NEVER, self.awaited_ns[slots])

    def timeout_ns(self, slots: IntArray) -> IntArray:  # noqa: D102
        return self.interval_ns[slots] + self.margin_ns(slots)

    def margin_ns(self, slots: IntArray) -> IntArray:  # noqa: D102
        usual = self.settings.grace_ns
        fallback = self.interval_ns[slots] if usual is None else usual
        own = self.grace_ns[slots]
        return np.minimum(np.where(own == 0, fallback, own), TIMEOUT_MAX_NS)

    def why(self, slot: int) -> str:  # noqa: D102
        grace = format_duration(int(self.margin_ns(np.array([slot]))[0]))
        return f"a grace of {grace}"

    def early_ns(self, slots: IntArray) -> IntArray:
        """Return how much earlier than due a run may come that counts as the awaited one (k,)."""
        return np.minimum(self.margin_ns(slots), self.interval_ns[slots] // 2)

    def counts_for_ns(self, slot: int, at_ns: int) -> int | None:
        """Return the newest due instant that a run which begins then counts for, if any is open."""
        early_ns = self.early_ns(np.array([slot]))[0]
        instants = np.append(self.upcoming_ns[slot], self.awaited_ns[slot])
        is_open = (instants >= self.awaited_ns[slot]) & (instants - early_ns <= at_ns)
        return int(instants[is_open].max()) if is_open.any() else None

    def _await(self, slots: IntArray, said_ns: IntArray) -> None:
        """Await the first run that a word said then does not count for."""
        upcoming = self.upcoming_ns[slots]
        behind = upcoming - self.early_ns(slots)[:, None] > said_ns[:, None]
        first = np.where(behind, upcoming, NEVER).min(axis=1, initial=NEVER)
        due = np.where(self.is_scheduled[slots], first, said_ns + self.interval_ns[slots])
        self.awaited_ns[slots] = due
        waits = self.started_ns[slots] == NEVER
        known = due != NEVER
        deadline = np.where(known, due, 0) + self.margin_ns(slots)
        rows = slots[waits]
        self.deadline_ns[rows] = np.where(known, deadline, NEVER)[waits]
