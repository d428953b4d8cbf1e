"""The table of statuses, and the two stages between silence and a verdict.

    NEW ──heard──► ALIVE ──overdue──► SUSPECT ──window silent──► DEAD ──heard──► RECOVERING
                    ▲ ▲                  │                                           │
                    │ └─────refuted──────┘            steady: k good heartbeats      │
                    └────────────────────────────────────────────────────────────────┘

Flaps: a node that dies again and again comes back more slowly each time. Its second death holds it
in RECOVERING for `hold_down_ns`, and each further one twice as long; calm time makes deaths be
forgotten one by one. Who becomes suspect while it recovers goes on recovering when that is refuted,
and counts from the beginning.

Stage one: the deadline of the detector passes; the node is SUSPECT and is probed. Stage two: the
probing window passes in silence; the node is DEAD. Anything authenticated and fresh refutes. A
process exit or a goodbye is direct evidence and skips the window.

The table is a dict literal and the only place where a status changes; what is not in it does not
happen. A slot has one alarm clock, `due_ns`: the deadline while it is watched, the next probe or
the end of the window while it is suspect, the planned end of its maintenance while it is paused,
NEVER otherwise; the sweep is one comparison.
Not here: when a deadline lies (`core.detect`), and what a change of status leads to
(`core.policy`).
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from beatward.core.arrays import BoolArray, CodeArray, IntArray, Rows
from beatward.core.instants import NEVER, SECOND


class Status(IntEnum):
    """What we hold a node to be. DEAD is our verdict, never a fact about the node."""

    NEW = 0
    ALIVE = 1
    SUSPECT = 2
    DEAD = 3
    LEFT = 4
    PAUSED = 5
    FAILING = 6
    RECOVERING = 7

    @property
    def word(self) -> str:
        """The status in entries, settings and JSON."""
        return self.name.lower()


class Cause(IntEnum):
    """Why a status changed: the second half of every transition."""

    ENROLLED = 0
    HEARD = 1  # a heartbeat arrived
    OVERDUE = 2  # the deadline passed
    REFUTED = 3  # a suspect answered a probe, or its heartbeat arrived after all
    SILENT = 4  # the probing window passed without an answer
    EXITED = 5  # the agent saw the process end
    GOODBYE = 6  # the node said that it leaves
    PAUSE = 7  # maintenance was announced
    RESUME = 8  # maintenance is over
    ILL = 9  # the node says of itself that it is not well
    WELL = 10  # it says that it is well again
    STEADY = 11  # enough good heartbeats since it came back

    @property
    def word(self) -> str:
        """The cause in entries and JSON."""
        return self.name.lower()


_S, _C = Status, Cause
TABLE: dict[tuple[Status, Cause], Status] = {
    (_S.NEW, _C.HEARD): _S.ALIVE,
    (_S.NEW, _C.OVERDUE): _S.SUSPECT,
    (_S.NEW, _C.EXITED): _S.DEAD,
    (_S.NEW, _C.GOODBYE): _S.LEFT,
    (_S.NEW, _C.PAUSE): _S.PAUSED,
    (_S.ALIVE, _C.OVERDUE): _S.SUSPECT,
    (_S.ALIVE, _C.EXITED): _S.DEAD,
    (_S.ALIVE, _C.GOODBYE): _S.LEFT,
    (_S.ALIVE, _C.PAUSE): _S.PAUSED,
    (_S.ALIVE, _C.ILL): _S.FAILING,
    (_S.FAILING, _C.WELL): _S.ALIVE,
    (_S.FAILING, _C.OVERDUE): _S.SUSPECT,
    (_S.FAILING, _C.EXITED): _S.DEAD,
    (_S.FAILING, _C.GOODBYE): _S.LEFT,
    (_S.FAILING, _C.PAUSE): _S.PAUSED,
    (_S.SUSPECT, _C.REFUTED): _S.ALIVE,
    # Of one that had just come back, and has to begin its count of good heartbeats anew.
    (_S.SUSPECT, _C.HEARD): _S.RECOVERING,
    (_S.SUSPECT, _C.SILENT): _S.DEAD,
    (_S.SUSPECT, _C.EXITED): _S.DEAD,
    (_S.SUSPECT, _C.GOODBYE): _S.LEFT,
    (_S.SUSPECT, _C.PAUSE): _S.PAUSED,
    (_S.DEAD, _C.HEARD): _S.RECOVERING,
    # Said by a new life before its first heartbeat got through: it came back and left in order.
    (_S.DEAD, _C.GOODBYE): _S.LEFT,
    (_S.DEAD, _C.PAUSE): _S.PAUSED,
    (_S.RECOVERING, _C.STEADY): _S.ALIVE,
    # A job whose run failed is back all the same.
    (_S.RECOVERING, _C.ILL): _S.FAILING,
    (_S.RECOVERING, _C.OVERDUE): _S.SUSPECT,
    (_S.RECOVERING, _C.EXITED): _S.DEAD,
    (_S.RECOVERING, _C.GOODBYE): _S.LEFT,
    (_S.RECOVERING, _C.PAUSE): _S.PAUSED,
    (_S.LEFT, _C.HEARD): _S.ALIVE,
    (_S.LEFT, _C.PAUSE): _S.PAUSED,
    (_S.PAUSED, _C.RESUME): _S.NEW,
}

_NOTHING = 255
_NEXT = np.full((len(Status), len(Cause)), _NOTHING, np.uint8)
for (_before, _cause), _after in TABLE.items():
    _NEXT[_before, _cause] = _after

# At most this many alarms are dealt with in one turn, the rest in the next: words and entries for a
# status take about 50 us, and a turn that took seconds would itself be a pause of the monitor.
RUNG_MAX = 1000
# The end of a maintenance need not come by the millisecond, so a large one leaves the turn to
# those whose silence counts.
OVER_MAX = 200

# Good heartbeats are counted up to here; a suspect with the number above was recovering before.
_COUNTED_MAX = 254
_RETURNING = 255

# Silence counts for these; the others are not expected to speak.
WATCHED = np.zeros(len(Status), np.bool_)
WATCHED[[Status.NEW, Status.ALIVE, Status.FAILING, Status.RECOVERING]] = True


@dataclass(frozen=True, slots=True)
class MembershipSettings:
    """window_ns and spacing_ns of probing, and its rate; good heartbeats that end a recovery.

    hold_down_ns   a node that dies a second time recovers no sooner; doubles with each death more,
                   up to hold_down_max_ns
    calm_ns        after this long without a death one is forgotten
    """

    window_ns: int = SECOND
    spacing_ns: int = SECOND // 5
    recovery_heartbeats: int = 3
    hold_down_ns: int = 10 * SECOND
    hold_down_max_ns: int = 300 * SECOND
    calm_ns: int = 600 * SECOND
    probes_per_second: float = 100_000.0


@dataclass(frozen=True, slots=True)
class Change:
    """One change of status, as the table allowed it; `since_ns` is when `before` had begun."""

    slot: int
    before: Status
    after: Status
    cause: Cause
    at_ns: int
    since_ns: int


@dataclass(frozen=True, slots=True)
class Due:
    """What the sweep found: slots newly suspect, to be probed (again), and silent to the end; and
    those whose maintenance is over as planned.
    """

    overdue: IntArray
    probed: IntArray
    silent: IntArray
    over: IntArray


_NO_SLOT = np.zeros(0, np.int64)
NOTHING_DUE = Due(_NO_SLOT, _NO_SLOT, _NO_SLOT, _NO_SLOT)


class Membership(Rows):
    """The arrays of statuses. Public arrays are read by every room, written only here."""

    ROWS = (
        *("status", "cause", "since_ns", "due_ns"),
        *("window_ends_ns", "probes_sent", "challenge", "answer_by_ns"),
        *("good_count", "deaths", "died_ns"),
    )
    SHARED = ("status", "cause", "since_ns")

    def __init__(self, settings: MembershipSettings, capacity: int) -> None:
        self.settings = settings
        self.status = np.zeros(capacity, np.uint8)
        self.cause = np.zeros(capacity, np.uint8)
        self.since_ns: IntArray = np.zeros(capacity, np.int64)
        self.due_ns: IntArray = np.zeros(capacity, np.int64)
        # What only suspects, the dead and the returning have; a healthy fleet never writes it, and
        # pages that were never written take no memory.
        self.window_ends_ns: IntArray = np.zeros(capacity, np.int64)
        self.probes_sent = np.zeros(capacity, np.uint32)
        self.challenge = np.zeros(capacity, np.uint32)
        self.answer_by_ns: IntArray = np.zeros(capacity, np.int64)
        self.good_count = np.zeros(capacity, np.uint8)
        # Deaths that are not forgotten yet, and the last one: 9 bytes, of those that ever died.
        self.deaths = np.zeros(capacity, np.uint8)
        self.died_ns: IntArray = np.zeros(capacity, np.int64)

    def place(
        self,
        slots: IntArray,
        status: CodeArray | int,
        cause: CodeArray | int,
        *,
        since_ns: IntArray | int,
        due_ns: IntArray | int,
    ) -> None:
        """Put slots (k,) into statuses without a transition: enrolment and restart only."""
        self.own("status", "cause", "since_ns")
        self.status[slots] = status
        self.cause[slots] = cause
        self.since_ns[slots] = since_ns
        self.due_ns[slots] = due_ns
        for array in (
            self.window_ends_ns,
            self.probes_sent,
            self.challenge,
            self.good_count,
            self.deaths,
        ):
            array[slots[array[slots] != 0]] = 0

    def apply(self, slots: IntArray, cause: Cause, at_ns: int) -> list[Change]:
        """Change the status of distinct slots for a cause; where the table is silent, nothing.

        Returns only what changed, in the order of the slots given.
        """
        if not len(slots):
            return []  # three times in most turns, and all that follows would take 10 us
        before = self.status[slots]
        after = _NEXT[before, cause]
        moved = np.flatnonzero(after != _NOTHING)
        changed = slots[moved]
        since = self.since_ns[changed].tolist()
        changes = [
            Change(int(slots[i]), Status(before[i]), Status(after[i]), cause, at_ns, since_ns)
            for i, since_ns in zip(moved, since, strict=True)
        ]
        if not changes:
            return []
        self.own("status", "cause", "since_ns")
        self.status[changed] = after[moved]
        self.cause[changed] = cause
        self.since_ns[changed] = at_ns
        self.good_count[changed[self.good_count[changed] != 0]] = 0
        self._note_flaps(changed, before[moved], after[moved], at_ns)
        if cause != Cause.OVERDUE:
            self.window_ends_ns[changed[self.window_ends_ns[changed] != 0]] = 0
            self.due_ns[changed[~WATCHED[after[moved]]]] = NEVER
        return changes

    def watch(self, slots: IntArray, deadline_ns: IntArray) -> None:
        """Set the alarm clocks of those slots whose silence counts to their deadlines."""
        watched = WATCHED[self.status[slots]]
        self.due_ns[slots[watched]] = deadline_ns[watched]

    def ring_now(self, slots: IntArray, now_ns: IntArray | int) -> None:
        """Let alarm clocks (k,) ring in this turn."""
        self.due_ns[slots] = now_ns

    def put_back(self, slots: IntArray, until_ns: IntArray | int) -> None:
        """Let alarm clocks (k,) that would ring before an instant ring then."""
        self.due_ns[slots] = np.maximum(self.due_ns[slots], until_ns)

    def plan(self, slots: IntArray, until_ns: IntArray | int) -> None:
        """Set alarm clocks (k,) to the end of a maintenance, or of the grace after it."""
        self.due_ns[slots] = until_ns

    def steady(self, slots: IntArray, now_ns: int) -> IntArray:
        """Count one good heartbeat for recovering slots; return those that have had enough, and
        whose hold-down is over.
        """
        recovering = slots[self.status[slots] == Status.RECOVERING]
        good = np.minimum(self.good_count[recovering], _COUNTED_MAX - 1) + 1
        self.good_count[recovering] = good
        enough = good >= self.settings.recovery_heartbeats
        enough &= now_ns - self.since_ns[recovering] >= self.hold_down_ns(recovering)
        steady: IntArray = recovering[enough]
        return steady

    def is_returning(self, slots: IntArray) -> BoolArray:
        """Tell which suspects (k,) had come back and were not steady yet."""
        returning: BoolArray = self.good_count[slots] == _RETURNING
        return returning

    def hold_down_ns(self, slots: IntArray) -> IntArray:
        """Return how long slots (k,) recover at least, for how often they died before they last
        came back, or would come back now.
        """
        first, most = self.settings.hold_down_ns, self.settings.hold_down_max_ns
        deaths = self._deaths(slots, self.since_ns[slots])
        # Beyond this many doublings it is more than the most anyway, and one day no number any
        # more.
        doublings = np.clip(deaths - 2, 0, (most // first).bit_length())
        return np.where(deaths >= 2, np.minimum(first << doublings, most), 0)

    def _note_flaps(self, slots: IntArray, before: CodeArray, after: CodeArray, at_ns: int) -> None:
        dead = slots[(after == Status.DEAD) & (before != Status.DEAD)]
        if len(dead):
            deaths = self._deaths(dead, np.full(len(dead), at_ns)) + 1
            self.deaths[dead] = np.minimum(deaths, _COUNTED_MAX)
            self.died_ns[dead] = at_ns
        returning = (before == Status.RECOVERING) & (after == Status.SUSPECT)
        self.good_count[slots[returning]] = _RETURNING

    def _deaths(self, slots: IntArray, at_ns: IntArray) -> IntArray:
        """Return how many deaths of slots (k,) are not forgotten at instants (k,)."""
        forgotten = (at_ns - self.died_ns[slots]) // self.settings.calm_ns
        left = self.deaths[slots].astype(np.int64) - np.maximum(forgotten, 0)
        deaths: IntArray = np.maximum(left, 0)
        return deaths

    def sweep(self, count: int, now_ns: int) -> Due:
        """Find whose alarm clock has rung among the first `count` slots, at most RUNG_MAX."""
        rung = (self.due_ns[:count] <= now_ns).nonzero()[0]
        if not len(rung):
            return NOTHING_DUE
        paused = self.status[rung] == Status.PAUSED
        over, rung = rung[paused][:OVER_MAX], rung[~paused][:RUNG_MAX]
        suspect = self.status[rung] == Status.SUSPECT
        ended = suspect & (self.window_ends_ns[rung] <= now_ns)
        return Due(rung[~suspect], rung[suspect & ~ended], rung[ended], over)

    def suspect(self, slots: IntArray, challenges: IntArray, now_ns: IntArray | int) -> None:
        """Open the probing window of slots that have just become SUSPECT."""
        self.window_ends_ns[slots] = now_ns + self.settings.window_ns
        self.probes_sent[slots] = 0
        self.ask(slots, challenges, now_ns)

    def prolong(self, slots: IntArray, now_ns: IntArray | int) -> None:
        """Give suspects one more probing window from an instant on; their number stays."""
        self.window_ends_ns[slots] = now_ns + self.settings.window_ns
        self.answer_by_ns[slots] = now_ns + 2 * self.settings.window_ns

    def put_off(self, slots: IntArray, until_ns: IntArray) -> None:
        """Let suspects wait for their first probe; without it no window runs."""
        self.window_ends_ns[slots] = NEVER
        self.due_ns[slots] = until_ns

    def ask(self, slots: IntArray, challenges: IntArray, now_ns: IntArray | int) -> None:
        """Note the number that slots are asked for from now on, and until when it may be answered.

        One window longer than it is asked: the answer to its last probe is under way then. Not
        for ever, or else an answer that was held back would wake the dead.
        """
        self.challenge[slots] = challenges
        self.answer_by_ns[slots] = now_ns + 2 * self.settings.window_ns

    def clear_challenge(self, slots: IntArray) -> None:
        """Let no number be an answer of slots (k,) any more."""
        self.challenge[slots] = 0

    def probe(self, slots: IntArray, now_ns: int, *, sent: BoolArray) -> None:
        """Note a round of probes (`sent`: those that have an address) and set the next alarm."""
        self.probes_sent[slots] += sent
        next_probe = np.minimum(now_ns + self.settings.spacing_ns, self.window_ends_ns[slots])
        # A suspect whose window is over and that may not be judged yet is asked once a window, and
        # may answer each time (seed 1542 of the clones: only answers to the first rounds counted).
        over = self.window_ends_ns[slots] <= now_ns
        self.due_ns[slots] = np.where(over, now_ns + self.settings.window_ns, next_probe)
        self.answer_by_ns[slots[over]] = now_ns + 2 * self.settings.window_ns

    def earliest_ns(self, count: int) -> int:
        """Return when the next alarm clock rings, or NEVER."""
        return int(self.due_ns[:count].min()) if count else NEVER
