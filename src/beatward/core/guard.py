"""Doubting oneself: the monitor's own pause and its own drops, before any node is accused.

Freeze a monitor for 15 s under 50 healthy nodes, and most monitors wake to condemn all 50: their
clocks ran on while their ears were shut. Two signs tell a pause from silence: the gap between two
watermarks, and arrivals stamped long after the watermark of the same drain (the freeze fell into
the drain itself). A monitor that waits because nothing comes takes few turns; there the gap counts
from the last instant at which it was awake between two of them (`listened`). After a pause, queued
arrivals are taken first, nothing is learnt from their stamps, and every living deadline begins
anew; one that truly died meanwhile is then found one timeout later. Source: Eureka's compensation
time and Cassandra's maximum local pause.

True stamps from the kernel do not make a drain after a pause worth learning from. They are true
where only our process stood still; where the whole machine did, a frozen guest for instance, its
kernel stamps what waited outside at the moment it wakes, and nothing here can tell the two apart.

A pause is plain to see; a monitor that is merely slow is not. Where its turns come late, though
a node's alarm clock had rung, everything it sees of others is late as well. So each late turn
multiplies all margins and probing windows by one more, up to `health_max`, and each second without
one takes one away again: the local health of Lifeguard (Dadgar, Phillips, Currey, DSN 2018; there 8
as well), which cut false positives by more than 50 times. A pause does not count: it begins all
deadlines anew anyway.

Own drops are the smaller doubt: the kernel threw datagrams away that had reached this machine,
because we did not read them fast enough. Any one of them may have been the heartbeat that is
missing. So whose deadline passes, and since whose heartbeat was due something was dropped, gets
one more timeout; a suspect gets one more probing window. What did arrive is as true as ever, so
learning goes on, and no node is touched before the alarm rings: a flood drops in every turn, and a
turn must not cost more because of it. Who can fill our buffer must not be able to hide the dead:
after DOUBTS_MAX timeouts, and as many windows, a node is judged on its silence all the same, and
the journal and the verdict say what was dropped meanwhile.

The last doubt is about time itself. Silence is judged at the watermark, and a drain that never
comes to the end of what waits does not move it: right for each turn, and a monitor that judges
no node if it goes on. Nothing can be done about that here, so it is said.
"""

from dataclasses import dataclass, replace

from beatward.core.arrays import BoolArray, IntArray
from beatward.core.instants import MILLISECOND, NEVER, SECOND

# Where half of all datagrams are dropped, one node in 16 stays unheard for this many timeouts; the
# probes then ask it again. More would hide a death for longer while we are flooded.
DOUBTS_MAX = 3
# A flood drops in every turn; the journal needs to know about once a second.
DOUBT_SPACING_NS = SECOND
# A watermark that stands still for longer, though turns are taken, is told. At a tick of 5 ms that
# is hundreds of drains that did not come to an end.
STALL_NS = 3 * SECOND
# Lifeguard takes one away with each probe that went well, which is one a second there.
HEALTH_CALM_NS = SECOND


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """pause_limit_ns: a longer gap between two turns is a pause of our own.

    late_limit_ns   a turn that comes later than that after it was wanted is late
    health_max      the most that margins and windows are multiplied by; 1: never
    """

    pause_limit_ns: int = 250 * MILLISECOND
    late_limit_ns: int = 100 * MILLISECOND
    health_max: int = 8


@dataclass(frozen=True, slots=True)
class Pauses:
    """The monitor's own pauses so far, for explanations and metrics. Instants 0: never.

    health   what margins and windows are multiplied by, because its turns are late; 1: well
    """

    count: int = 0
    last_ns: int = 0
    last_length_ns: int = 0
    longest_ns: int = 0
    total_ns: int = 0
    health: int = 1


@dataclass(frozen=True, slots=True)
class Drops:
    """Datagrams that the kernel dropped before we read them. Instant 0: never."""

    count: int = 0
    last_ns: int = 0


@dataclass(slots=True)
class Doubt:
    """What own drops have led to since the journal was last told.

    dropped   datagrams
    spared    deadlines and windows that were begun once more
    judged    nodes that had been spared so often that they were judged all the same
    """

    dropped: int = 0
    spared: int = 0
    judged: int = 0


@dataclass(frozen=True, slots=True)
class Stall:
    """For how long the watermark has stood still; `is_over`: it moves again."""

    length_ns: int
    is_over: bool


class Guard:
    """Watches the monitor's own clock and ears."""

    def __init__(self, settings: GuardSettings) -> None:
        self.settings = settings
        self.pauses = Pauses()
        self.drops = Drops()
        self._watermark_ns: int | None = None
        self._listened_ns = 0  # awake between two turns
        self._health_ns = 0
        self._doubt = Doubt()
        self._reported_ns: int | None = None
        self._stands_ns: int | None = None  # since when the watermark stands still
        self._is_stall_told = False

    def listened(self, listened_ns: int) -> None:
        """Note the last instant at which the monitor was awake, before the next `turn`."""
        self._listened_ns = listened_ns

    def is_stale(self, drained_ns: int) -> bool:
        """Tell whether arrivals of a drain that ended then were stamped late by our own pause."""
        if self._watermark_ns is None:
            return False
        awake_ns = max(self._watermark_ns, self._listened_ns)
        return drained_ns - awake_ns > self.settings.pause_limit_ns

    def note_drain(self, watermark_ns: int, drained_ns: int) -> Stall | None:
        """Note a drain, before its `turn`; return what is to be journalled of its watermark."""
        # Counted from the first drain that did not move it: a pause of ours is another matter.
        since_ns = drained_ns if self._stands_ns is None else self._stands_ns
        if self._watermark_ns is None or watermark_ns > self._watermark_ns:
            was_told, self._is_stall_told, self._stands_ns = self._is_stall_told, False, None
            return Stall(drained_ns - since_ns, is_over=True) if was_told else None
        self._stands_ns = since_ns
        if self._is_stall_told or drained_ns - since_ns <= STALL_NS:
            return None
        self._is_stall_told = True
        return Stall(drained_ns - since_ns, is_over=False)

    def turn(self, watermark_ns: int, wanted_ns: int = NEVER) -> int:
        """Note a turn; return the length of our own pause before it, 0 when there was none.

        wanted_ns   when the turn before asked for this one
        """
        before, self._watermark_ns = self._watermark_ns, watermark_ns
        if before is None:
            return 0
        gap = watermark_ns - max(before, self._listened_ns)
        if gap <= self.settings.pause_limit_ns:
            late_ns = watermark_ns - max(before, wanted_ns)
            self._note_health(watermark_ns, is_late=late_ns > self.settings.late_limit_ns)
            return 0
        past = self.pauses
        self.pauses = replace(
            past,
            count=past.count + 1,
            last_ns=watermark_ns,
            last_length_ns=gap,
            longest_ns=max(past.longest_ns, gap),
            total_ns=past.total_ns + gap,
        )
        return gap

    def _note_health(self, now_ns: int, *, is_late: bool) -> None:
        health = self.pauses.health
        if is_late:
            health = min(health + 1, self.settings.health_max)
        elif health == 1 or now_ns - self._health_ns < HEALTH_CALM_NS:
            return
        else:
            health -= 1
        self._health_ns = now_ns
        self.pauses = replace(self.pauses, health=health)

    def note_drops(self, count: int, now_ns: int) -> None:
        """Note that datagrams were dropped between the last turn and this one."""
        if count:
            self.drops = Drops(self.drops.count + count, now_ns)
            self._doubt.dropped += count

    def doubts(self, since_ns: IntArray, late_ns: IntArray, timeout_ns: IntArray) -> BoolArray:
        """Return whose silence (k,) is not to be believed yet, because of our own drops.

        since_ns     (k,) from when on a datagram of theirs, if dropped, would explain it
        late_ns      (k,) how long ago the first timeout or window ended that they were given
        timeout_ns   (k,) how long one more would be
        """
        explained = (since_ns <= self.drops.last_ns) & (self.drops.count > 0)
        spared: BoolArray = explained & (late_ns < DOUBTS_MAX * timeout_ns)
        self._doubt.spared += int(spared.sum())
        self._doubt.judged += int((explained & ~spared).sum())
        return spared

    def take_doubt(self, now_ns: int) -> Doubt | None:
        """Return what is to be journalled now; None when there is nothing, or it was just told."""
        reported = self._reported_ns
        is_early = reported is not None and now_ns - reported < DOUBT_SPACING_NS
        if is_early or not (self._doubt.spared or self._doubt.judged):
            return None
        doubt, self._doubt, self._reported_ns = self._doubt, Doubt(), now_ns
        return doubt
