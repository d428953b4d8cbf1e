"""What is heard: authenticated records -> lives, sequences, deadlines and changes of status.

Three questions in this order. Which life speaks? A life of which this session knows nothing has
to echo the session's number first, so nothing recorded earlier is believed. Is it news? A
sequence at or below the highest one heard is a replay or a duplicate. Is it in time? A heartbeat
whose own deadline has passed teaches the detector and refutes nothing: freshness hangs on the
sender's schedule. Unless by that schedule it was sent after the suspicion began: it cannot have
kept it back since before, and where the way has become longer than the probing window it is the
only sign of life that can come in time.

Who was found dead, or left, comes back by an answer only. Its heartbeat, and even the proof of a
new life, may be one that was held back until now; it leads to a probe with a fresh number, and
who echoes that number speaks now. A number may be answered for one probing window beyond its own.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from beatward.core.arrays import BoolArray, IntArray, newest_of_each
from beatward.core.conflicts import Conflicts
from beatward.core.instants import NEVER
from beatward.core.intake import Heartbeats, Intake, Reject, Via, interval_ns
from beatward.core.jobs import Run
from beatward.core.membership import Cause, Change, Status
from beatward.core.protocol.record import Farewell, Flag, Health, Kind
from beatward.core.runs import Runs, exit_code_in
from beatward.core.state import State
from beatward.core.voice import Voice

# One node may put many heartbeats into one batch (a queue that was flushed); beyond this many
# rounds only its newest is taken, so that no sender can make a turn quadratic.
ROUNDS_MAX = 4
# A monitor that has fallen behind finds several heartbeats of every node in one drain. A round over
# many nodes costs each of them little, so more of such rounds are taken.
LARGE_ROUND = 1024
LARGE_ROUNDS_MAX = 16
# At most this many heartbeats may be missing before one whose instant is worked out; no sum
# overflows then.
_AHEAD_MAX = 1 << 16
# The same for what is rarer: proofs of new lives, answers, goodbyes. What is beyond is refused.
TURNS_MAX = 16
_YES = np.ones(1, np.bool_)
_ONE = np.ones(1, np.int64)
# As plain numbers: a look into an enumeration takes as long as a step over a hundred rows.
_ALIVE, _ILL, _ACKNOWLEDGE = int(Status.ALIVE), int(Health.ILL), int(Flag.ACKNOWLEDGE)
_SLOWING, _STANDING = int(Flag.SLOWING), int(Kind.STANDING)
_HEARTBEAT, _SUSPECT = int(Kind.HEARTBEAT), int(Status.SUSPECT)
_UDP, _PING = int(Via.UDP), int(Via.PING)
# Who is not expected to speak, and who is asked to.
_GONE = np.zeros(len(Status), np.bool_)
_GONE[[Status.DEAD, Status.LEFT]] = True
_ASKED = _GONE.copy()
_ASKED[Status.SUSPECT] = True


@dataclass(frozen=True, slots=True)
class Heard:
    """What a batch led to. `lives` are slots whose node has begun a new life; `exit_codes` holds
    the exit code of a goodbye by slot. `runs` are words about runs of jobs; `standings` is what
    members say of their roles, as it came in.
    """

    changes: tuple[Change, ...]
    lives: tuple[int, ...]
    exit_codes: dict[int, int]
    runs: tuple[Run, ...] = ()
    standings: Heartbeats | None = None


class Hearing:
    """Takes batches; holds nothing of its own but what it found in a batch."""

    def __init__(
        self,
        state: State,
        *,
        runs: Runs,
        intake: Intake,
        voice: Voice,
        conflicts: Conflicts,
    ) -> None:
        self._registry = state.registry
        self._detector = state.detector
        self._membership = state.membership
        self._quality = state.quality
        self._runs, self._jobs = runs, runs.jobs
        self._intake = intake
        self._voice = voice
        self._conflicts = conflicts
        self.accepted_count = 0
        self._changes: list[Change] = []
        self._lives: list[int] = []
        self._exit_codes: dict[int, int] = {}
        # Slots whose life has proved itself in this batch: they have just echoed the session.
        self._begun: list[IntArray] = []

    def take(self, beats: Heartbeats, now_ns: int, *, stale: bool) -> Heard:
        """Take one authenticated batch.

        stale  the batch was stamped late by our own pause: believe it, learn nothing from it
        """
        self._changes, self._lives, self._exit_codes, self._begun = [], [], {}, []
        is_standing = beats.records["kind"] == _STANDING
        standings = None
        if is_standing.any():
            # Taken out first: they prove no life, and have other fields in the place of the echo.
            beats, standings = beats.take(~is_standing), beats.take(is_standing)
        if len(beats.slots):
            if beats.via == _PING:
                self._take_pings(beats, now_ns)
            else:
                if self._conflicts.is_watching:
                    beats, answers, asked_ns = self._conflicts.take_answers(beats, now_ns)
                    self._take_other_answers(answers, asked_ns, now_ns)
                self._take_records(beats, now_ns, stale=stale)
        lives, runs = tuple(self._lives), self._runs.take()
        return Heard(tuple(self._changes), lives, self._exit_codes, runs, standings)

    def _take_records(self, beats: Heartbeats, now_ns: int, *, stale: bool) -> None:
        beats = beats.take(self._believed(beats, now_ns))
        kind = beats.records["kind"]
        is_heartbeat = kind == _HEARTBEAT
        if is_heartbeat.all():
            self._take_heartbeats(beats, now_ns, stale=stale)
            return
        self._take_heartbeats(beats.take(is_heartbeat), now_ns, stale=stale)
        self._take_replies(beats.take(kind == Kind.PROBE_REPLY), now_ns)
        self._take_goodbyes(beats.take(kind == Kind.GOODBYE), now_ns)

    # -- which life speaks -------------------------------------------------------------------

    def _believed(self, beats: Heartbeats, now_ns: int) -> BoolArray:
        """Return which rows come from a life that has proved itself; new lives may do so here."""
        registry = self._registry
        incarnation = beats.records["incarnation"].astype(np.int64)
        believed: BoolArray = registry.proven[beats.slots]
        believed &= incarnation == registry.incarnation[beats.slots]
        if believed.all():
            return believed
        # Row after row of each node: one may begin the life that the next belongs to.
        rounds, rest = self._rounds(beats.slots, np.flatnonzero(~believed))
        for rows in rounds:
            believed[rows] = self._meet_lives(beats, rows, incarnation[rows], now_ns)
        if len(rest):
            is_old = incarnation[rest] < registry.incarnation[beats.slots[rest]]
            proves = beats.records["echo"][rest] == self._voice.session
            believed[rest] = ~is_old & proves & registry.proven[beats.slots[rest]]
            self._intake.refuse(Reject.OLD_LIFE, int(is_old.sum()))
            self._intake.refuse(Reject.UNPROVEN, int((~is_old & ~believed[rest]).sum()))
        # A life that proved itself in this batch ends the one before it, also for earlier rows.
        current = incarnation == registry.incarnation[beats.slots]
        self._intake.refuse(Reject.OLD_LIFE, int((believed & ~current).sum()))
        both: BoolArray = believed & current
        return both

    def _rounds(self, slots: IntArray, rows: IntArray) -> tuple[list[IntArray], IntArray]:
        """Divide rows into rounds in which each slot is at most once, in order; return what does
        not fit into TURNS_MAX of them too.
        """
        rounds: list[IntArray] = []
        while len(rows) and len(rounds) < TURNS_MAX:
            first = self._registry.first_of_each(slots[rows])
            rounds.append(rows[first])
            rows = rows[~first]
        return rounds, rows

    def _meet_lives(
        self, beats: Heartbeats, rows: IntArray, incarnation: IntArray, now_ns: int
    ) -> BoolArray:
        """Return which rows (k,) of distinct slots are to be believed, though a life of which
        nothing is known speaks there.
        """
        registry, slots = self._registry, beats.slots[rows]
        known, echo = registry.incarnation[slots], beats.records["echo"][rows]
        is_old = incarnation < known
        # A life that proved itself a row before proves no other row of this batch: its sequence is
        # not known yet, so a heartbeat recorded long ago would pass for news (seed 47).
        proves = (echo == self._voice.session) | self._answers(slots, echo, now_ns)
        believed: BoolArray = ~is_old & proves
        self._intake.refuse(Reject.OLD_LIFE, int(is_old.sum()))
        if is_old.any():
            self._conflicts.hint(beats.at(rows[is_old]), now_ns)
        unproven = ~is_old & ~proves
        self._intake.refuse(Reject.UNPROVEN, int(unproven.sum()))
        if beats.via == Via.UDP:
            asks = beats.records["flags"][rows] & _ACKNOWLEDGE != 0
            # Tells agents whose clock is behind which incarnation they have to exceed.
            self._tell_known_life(beats, rows[is_old & asks])
            self._challenge_lives(beats, rows[unproven], incarnation[unproven], now_ns)
        begins = believed & ~((incarnation == known) & registry.proven[slots])
        self._begin_lives(slots[begins], incarnation[begins], known[begins], now_ns)
        return believed

    def _tell_known_life(self, beats: Heartbeats, rows: IntArray) -> None:
        if len(rows):
            self._voice.acknowledge(beats.at(rows), np.zeros(len(rows), np.int64))

    def _begin_lives(
        self, slots: IntArray, incarnation: IntArray, known: IntArray, now_ns: int
    ) -> None:
        if not len(slots):
            return
        self._quality.end_lives(slots)
        self._registry.begin_lives(slots, incarnation)
        self._detector.forget(slots)
        self._begun.append(slots)
        lives = slots[incarnation > known].tolist()
        self._lives.extend(lives)
        if self._jobs:
            self._runs.begin_lives(lives, now_ns)

    def _challenge_lives(
        self, beats: Heartbeats, rows: IntArray, incarnation: IntArray, now_ns: int
    ) -> None:
        # The probe has to name the life it asks; the registry still holds the one before.
        if not len(rows):
            return
        slots = beats.slots[rows]
        numbers = np.full(len(slots), self._voice.session, np.int64)
        gone = _GONE[self._membership.status[slots]]
        numbers[gone] = self._numbers(slots[gone], now_ns)
        self._voice.probe_lives(slots, numbers, incarnation, beats.peers[rows])

    # -- heartbeats --------------------------------------------------------------------------

    def _take_heartbeats(self, beats: Heartbeats, now_ns: int, *, stale: bool) -> None:
        """Take heartbeats in rounds: the first of each slot, then the next one of each, ..."""
        sequence = beats.records["sequence"].astype(np.int64)
        rows, rounds = np.arange(len(sequence)), 0
        while len(rows):
            slots = beats.slots[rows]
            fresh = sequence[rows] > self._registry.sequence[slots]
            chosen = fresh.copy()
            chosen[fresh] = self._registry.first_of_each(slots[fresh])
            count = int(np.count_nonzero(chosen))
            if rounds >= ROUNDS_MAX and (rounds == LARGE_ROUNDS_MAX or count < LARGE_ROUND):
                self._quality.pass_over(slots[fresh], sequence[rows[fresh]])
                fresh &= newest_of_each(slots, sequence[rows])
                chosen, count = fresh, int(np.count_nonzero(fresh))
            if not fresh.all():
                self._refuse_replays(beats.at(rows[~fresh]), now_ns)
            taken = beats if count == len(sequence) else beats.at(rows[chosen])
            self._observe(taken, now_ns, learn=not stale)
            rows, rounds = rows[fresh & ~chosen], rounds + 1

    def _refuse_replays(self, beats: Heartbeats, now_ns: int) -> None:
        self._intake.refuse(Reject.REPLAY, len(beats.slots))
        self._conflicts.hint_replays(beats, now_ns)

    def _observe(self, beats: Heartbeats, now_ns: int, *, learn: bool) -> None:
        """Take heartbeats of distinct slots, each newer than what was heard of its slot."""
        slots, said = beats.slots, beats.records
        if not len(slots):
            return
        sequence = said["sequence"].astype(np.int64)
        steps = sequence - self._registry.sequence[slots]
        self._quality.hear(beats, sequence, steps, learn=learn)
        self._note(beats, sequence)
        since = self._are_sent_since(slots, steps)
        self._take_schedule(beats, steps, learn=learn)
        timely = self._detector.deadline_ns[slots] > now_ns
        if beats.via == _UDP:
            self._begin_schedule(slots[since & ~timely], now_ns)
            timely |= since
            self._acknowledge(beats)
            self._judge(beats, timely, None, now_ns)
            return
        # It cannot be probed, so its word counts; its schedule is taken anew from here.
        self._begin_schedule(slots[~timely], now_ns)
        everyone = np.ones(len(slots), np.bool_)
        self._judge(beats, everyone, everyone, now_ns)

    def _are_sent_since(self, slots: IntArray, steps: IntArray) -> BoolArray:
        """Tell which suspects (k,) sent these heartbeats after the suspicion began, by the schedule
        known before.

        Seed 101575: the way became 0.6 s longer, and a way there and back longer than the window.
        """
        membership, detector = self._membership, self._detector
        sent: BoolArray = membership.status[slots] == _SUSPECT
        if sent.any():
            mine, ahead = slots[sent], np.minimum(steps[sent] - 1, _AHEAD_MAX)
            due_ns = detector.due_ns(mine) + ahead * detector.interval_ns[mine]
            is_known = detector.deadline_ns[mine] != NEVER
            sent[sent] = is_known & (due_ns > membership.since_ns[mine])
        return sent

    def _begin_schedule(self, slots: IntArray, now_ns: int) -> None:
        """Take schedules anew from here: the old ones are too early."""
        if len(slots):
            self._detector.reanchor(slots)
            self._detector.extend(slots, now_ns + self._detector.timeout_ns(slots))

    def _take_schedule(self, beats: Heartbeats, steps: IntArray, *, learn: bool) -> None:
        """Let the detector learn; who announces a longer interval still beats on the old grid."""
        slots, detector = beats.slots, self._detector
        promised = interval_ns(beats.records)
        slowing = beats.records["flags"] & _SLOWING != 0
        if not slowing.any():
            detector.observe(slots, steps, promised, beats.arrived_ns, learn=learn)
            return
        known = detector.interval_ns[slots]
        on_grid = slowing & (known > 0) & (known < promised)
        grid = np.where(on_grid, known, promised)
        detector.observe(slots, steps, grid, beats.arrived_ns, learn=learn)
        # We have heard only announcements of it so far, and do not know by which grid they come.
        detector.reanchor(slots[slowing & ~on_grid])
        longer, more_ns = slots[on_grid], (promised - grid)[on_grid]
        detector.extend(longer, detector.deadline_ns[longer] + more_ns)

    def _note(self, beats: Heartbeats, sequence: IntArray) -> None:
        registry, slots = self._registry, beats.slots
        self.accepted_count += len(slots)
        registry.note_heard(slots, sequence, beats.records, beats.arrived_ns, beats.via)
        if beats.via == _UDP:
            registry.peers.note(slots, beats.peers)
        else:
            # An HTTP heartbeat has no address for datagrams, so nothing is sent to it.
            registry.peers.clear(slots)
            if self._conflicts.is_watching:
                self._conflicts.place(slots, beats.peers)

    def _acknowledge(self, beats: Heartbeats) -> None:
        asks = beats.records["flags"] & _ACKNOWLEDGE != 0
        if asks.any():
            beats = beats.take(asks)
            self._voice.acknowledge(beats, beats.records["sequence"])

    def _answers(self, slots: IntArray, echo: npt.NDArray[np.uint32], now_ns: int) -> BoolArray:
        """Return which echoes (k,) are the number that their node is asked for now."""
        membership = self._membership
        challenge = membership.challenge[slots]
        right: BoolArray = (challenge != 0) & (echo == challenge)
        in_time: BoolArray = now_ns < membership.answer_by_ns[slots]
        return right & in_time

    def _judge(
        self, beats: Heartbeats, timely: BoolArray, answered: BoolArray | None, now_ns: int
    ) -> None:
        """Let fresh news (k,) of distinct slots change statuses, and probe the dead who speak.

        answered   None: as the echoes say
        """
        slots, membership = beats.slots, self._membership
        status = membership.status[slots]
        well = beats.records["status"] != _ILL
        # To who is alive and well, nothing happens; so it is for nearly everybody nearly always.
        stirred = (status != _ALIVE) | ~well
        if stirred.any():
            if answered is None:
                echo = beats.records["echo"][stirred]
                answers = self._answers(slots[stirred], echo, now_ns)
            else:
                answers = answered[stirred]
            self._stir(slots[stirred], timely[stirred], answers, now_ns)
        membership.watch(slots, self._detector.deadline_ns[slots])

    def _stir(self, slots: IntArray, timely: BoolArray, answered: BoolArray, now_ns: int) -> None:
        membership = self._membership
        status = membership.status[slots]
        gone = _GONE[status]
        self._change(slots[(status == Status.NEW) | (gone & answered)], Cause.HEARD, now_ns)
        refuted = slots[(status == Status.SUSPECT) & timely]
        returning = membership.is_returning(refuted)
        self._change(refuted[returning], Cause.HEARD, now_ns)
        self._change(refuted[~returning], Cause.REFUTED, now_ns)
        silent = slots[gone & ~answered]
        if len(silent):
            self._voice.probe(silent, self._numbers(silent, now_ns))
        steady = slots[(status == Status.RECOVERING) & timely]
        self._change(membership.steady(steady, now_ns), Cause.STEADY, now_ns)
        # Asked again: a node whose very first word is that it is ill is ALIVE only since just now.
        status = membership.status[slots]
        well = self._registry.health[slots] != Health.ILL
        self._change(slots[(status == Status.ALIVE) & ~well], Cause.ILL, now_ns)
        better = slots[(status == Status.FAILING) & well]
        # A job is well again when a run succeeds, and not when the next one begins.
        self._change(better[~self._jobs.among(better)], Cause.WELL, now_ns)

    def _numbers(self, slots: IntArray, now_ns: int) -> IntArray:
        """Return the numbers (k,) to ask those who are gone; ones that can be answered stay.

        The interval may be shorter than the way there and back.
        """
        membership = self._membership
        ended = (membership.challenge[slots] == 0) | (now_ns >= membership.answer_by_ns[slots])
        asked = slots[ended]
        membership.ask(asked, self._voice.challenges(len(asked)), now_ns)
        return membership.challenge[slots].astype(np.int64)

    def _change(self, slots: IntArray, cause: Cause, now_ns: int) -> None:
        if len(slots):
            self._changes.extend(self._membership.apply(slots, cause, now_ns))

    # -- answers to probes -------------------------------------------------------------------

    def _take_replies(self, beats: Heartbeats, now_ns: int) -> None:
        rounds, rest = self._rounds(beats.slots, np.arange(len(beats.slots)))
        for rows in rounds:
            self._take_distinct_replies(beats.at(rows), now_ns)
        self._intake.refuse(Reject.LATE_REPLY, len(rest))

    def _take_distinct_replies(self, replies: Heartbeats, now_ns: int) -> None:
        """Believe answers that echo the number asked of their node now, and no others.

        They are no heartbeats: they say nothing about the schedule, and leave their place in the
        sequence to the heartbeat that may still be under way.
        """
        slots = replies.slots
        answered = self._answers(slots, replies.records["echo"], now_ns)
        believed = _ASKED[self._membership.status[slots]] & answered
        for begun in self._begun:
            believed |= np.isin(slots, begun)
        self._believe_replies(replies, believed, answered, now_ns)

    def _take_other_answers(self, replies: Heartbeats, asked_ns: IntArray, now_ns: int) -> None:
        """Let suspects (k,) refute also by an answer to who speaks at their address, if that was
        asked since the suspicion began.
        """
        membership, slots = self._membership, replies.slots
        since = asked_ns >= membership.since_ns[slots]
        replies = replies.take((membership.status[slots] == Status.SUSPECT) & since)
        if len(replies.slots):
            everyone = np.ones(len(replies.slots), np.bool_)
            # Its own probes are unanswered still: no round trip of theirs is measured.
            self._believe_replies(replies, everyone, ~everyone, now_ns)

    def _believe_replies(
        self, replies: Heartbeats, believed: BoolArray, answered: BoolArray, now_ns: int
    ) -> None:
        registry, slots = self._registry, replies.slots
        sequence = replies.records["sequence"].astype(np.int64)
        believed = believed & (sequence >= registry.sequence[slots])
        self._intake.refuse(Reject.LATE_REPLY, int(len(slots) - believed.sum()))
        replies, sequence, answered = replies.take(believed), sequence[believed], answered[believed]
        slots = replies.slots
        self._membership.clear_challenge(slots[answered])
        # The heartbeat of this very slot may still come, so the reply stands one before it.
        before = registry.sequence[slots]
        heard = np.maximum(sequence - 1, before)
        steps = heard - before
        self._quality.answer(slots, steps, replies.arrived_ns, answered=answered)
        self._note(replies, heard)
        registry.peers.settle(slots[answered])
        self._take_schedule(replies, steps, learn=False)
        self._judge(replies, np.ones(len(slots), np.bool_), answered, now_ns)

    # -- goodbyes ----------------------------------------------------------------------------

    def _take_goodbyes(self, beats: Heartbeats, now_ns: int) -> None:
        rounds, rest = self._rounds(beats.slots, np.arange(len(beats.slots)))
        for rows in rounds:
            self._take_distinct_goodbyes(beats.at(rows), now_ns)
        self._intake.refuse(Reject.REPLAY, len(rest))

    def _take_distinct_goodbyes(self, beats: Heartbeats, now_ns: int) -> None:
        sequence = beats.records["sequence"].astype(np.int64)
        fresh = sequence >= self._registry.sequence[beats.slots]
        self._intake.refuse(Reject.REPLAY, int(len(fresh) - fresh.sum()))
        beats, sequence = beats.take(fresh), sequence[fresh]
        slots = beats.slots
        self.accepted_count += len(slots)
        exited = beats.records["status"] == Farewell.EXITED
        steps, ago_ns = sequence - self._registry.sequence[slots], now_ns - beats.arrived_ns
        self._quality.leave(slots, steps, ago_ns, exited=exited)
        self._registry.note_goodbye(slots, sequence)
        if beats.via == Via.UDP:
            self._acknowledge(beats)
        # Their schedules end here, and what they say later is no place on them.
        self._detector.reanchor(slots)
        # An answer of before the goodbye may still be under way; it must not undo this.
        self._membership.clear_challenge(slots)
        if self._jobs:
            is_job = self._jobs.among(slots)
            self._changes += self._runs.end(beats.take(is_job), now_ns)
            beats, slots, exited = beats.take(~is_job), slots[~is_job], exited[~is_job]
        codes = [exit_code_in(row) for row in beats.records[exited]]
        self._exit_codes.update(zip(slots[exited].tolist(), codes, strict=True))
        self._change(slots[exited], Cause.EXITED, now_ns)
        self._change(slots[~exited], Cause.GOODBYE, now_ns)

    # -- the bare URL ------------------------------------------------------------------------

    def _take_pings(self, beats: Heartbeats, now_ns: int) -> None:
        """Take requests of the bare URL: each is a heartbeat at its arrival.

        It has no life and proves none: a datagram of a life of the same name still has to.
        """
        for row in range(len(beats.slots)):
            one = beats.at(np.array([row]))
            self._note(one, self._registry.sequence[one.slots] + 1)
            if int(one.slots[0]) in self._jobs:
                self._changes += self._runs.ping(one, now_ns)
                continue
            self._detector.observe(
                one.slots, _ONE, interval_ns(one.records), one.arrived_ns, learn=False
            )
            self._judge(one, _YES, _YES, now_ns)
