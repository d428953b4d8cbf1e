"""What is heard: authenticated records -> lives, sequences, deadlines and changes of status.

Three questions in this order. Which life speaks? A life of which this session knows nothing has
to echo the session's number first, so nothing recorded earlier is believed. Is it news? A
sequence at or below the highest one heard is a replay or a duplicate. Is it in time? A heartbeat
whose own deadline has passed teaches the detector and refutes nothing: freshness hangs on the
sender's schedule.

Who was found dead, or left, comes back by an answer only. Its heartbeat, and even the proof of a
new life, may be one that somebody held back until now; it leads to a probe with a fresh number, and
who echoes that number speaks now. A number may be answered for one probing window beyond its own.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from beatward.core.detect import Detector
from beatward.core.intake import BoolArray, Heartbeats, Intake, IntArray, Reject, Via, interval_ns
from beatward.core.membership import Cause, Change, Membership, Status
from beatward.core.protocol.record import Farewell, Flag, Health, Kind
from beatward.core.registry import Registry, first_of_each
from beatward.core.voice import Voice

# One node may put many heartbeats into one batch (a queue that was flushed); beyond so many
# rounds only its newest is taken, so that nobody can make a turn quadratic.
ROUNDS_MAX = 4
_YES = np.ones(1, np.bool_)
_ONE = np.ones(1, np.int64)


@dataclass(frozen=True, slots=True)
class Heard:
    """What a batch led to. `lives` are slots whose node has begun a new life; `exit_fields` holds
    the exit code of a goodbye, as on the wire, by slot.
    """

    changes: tuple[Change, ...]
    lives: tuple[int, ...]
    exit_fields: dict[int, int]


class Hearing:
    """Takes batches; holds nothing of its own but scratch space and what it found in a batch."""

    def __init__(
        self,
        registry: Registry,
        detector: Detector,
        membership: Membership,
        *,
        intake: Intake,
        voice: Voice,
    ) -> None:
        self._registry = registry
        self._detector = detector
        self._membership = membership
        self._intake = intake
        self._voice = voice
        self.accepted_count = 0
        self._changes: list[Change] = []
        self._lives: list[int] = []
        self._exit_fields: dict[int, int] = {}
        # Slots whose life has proved itself in this batch: they have just echoed the session.
        self._begun: list[int] = []

    def take(self, beats: Heartbeats, now_ns: int, *, stale: bool) -> Heard:
        """Take one authenticated batch.

        stale  the batch was stamped late by our own pause: believe it, learn nothing from it
        """
        self._changes, self._lives, self._exit_fields, self._begun = [], [], {}, []
        if len(beats.slots):
            if beats.via == Via.PING:
                self._take_pings(beats, now_ns)
            else:
                self._take_records(beats, now_ns, stale=stale)
        return Heard(tuple(self._changes), tuple(self._lives), self._exit_fields)

    def _take_records(self, beats: Heartbeats, now_ns: int, *, stale: bool) -> None:
        beats = beats.take(self._believed(beats, now_ns))
        kind = beats.records["kind"]
        self._take_heartbeats(beats.take(kind == Kind.HEARTBEAT), now_ns, stale=stale)
        self._take_replies(beats.take(kind == Kind.PROBE_REPLY), now_ns)
        self._take_goodbyes(beats.take(kind == Kind.GOODBYE), now_ns)

    # -- which life speaks -------------------------------------------------------------------

    def _believed(self, beats: Heartbeats, now_ns: int) -> BoolArray:
        """Return which rows come from a life that has proved itself; new lives may do so here."""
        registry = self._registry
        incarnation = beats.records["incarnation"].astype(np.int64)
        believed = registry.proven[beats.slots] & (incarnation == registry.incarnation[beats.slots])
        for i in np.flatnonzero(~believed):
            believed[i] = self._meets_life(beats, int(i), int(incarnation[i]), now_ns)
        # A life that proved itself in this batch ends the one before it, also for earlier rows.
        current = incarnation == registry.incarnation[beats.slots]
        self._intake.refuse(Reject.OLD_LIFE, int((believed & ~current).sum()))
        both: BoolArray = believed & current
        return both

    def _meets_life(self, beats: Heartbeats, row: int, incarnation: int, now_ns: int) -> bool:
        registry = self._registry
        slot = int(beats.slots[row])
        said = beats.records[row]
        known = int(registry.incarnation[slot])
        if incarnation < known:
            self._intake.refuse(Reject.OLD_LIFE, 1)
            if int(said["flags"]) & Flag.ACKNOWLEDGE and beats.via == Via.UDP:
                # Tells an agent whose clock is behind which incarnation it has to exceed.
                self._voice.acknowledge(slot, 0, beats.peers[row].tobytes())
            return False
        # A life that proved itself a row before proves no other row of this batch: its sequence is
        # not known yet, so a heartbeat recorded long ago would pass for news (seed 47).
        proves = int(said["echo"]) == self._voice.session
        if not proves and not self._answers(beats.slots[[row]], said["echo"], now_ns)[0]:
            self._intake.refuse(Reject.UNPROVEN, 1)
            if beats.via == Via.UDP:
                self._challenge_life(beats, row, incarnation, now_ns)
            return False
        if incarnation == known and registry.proven[slot]:
            return True
        registry.begin_life(slot, incarnation)
        self._detector.forget(np.array([slot]))
        self._begun.append(slot)
        if incarnation > known:
            self._lives.append(slot)
        return True

    def _challenge_life(self, beats: Heartbeats, row: int, incarnation: int, now_ns: int) -> None:
        # The probe has to name the life it asks; the registry still holds the one before.
        slot = int(beats.slots[row])
        known = self._registry.incarnation[slot]
        gone = self._membership.status[slot] in (Status.DEAD, Status.LEFT)
        number = self._number(slot, now_ns) if gone else self._voice.session
        self._registry.incarnation[slot] = incarnation
        self._voice.probe(slot, number, peer=beats.peers[row].tobytes())
        self._registry.incarnation[slot] = known

    # -- heartbeats --------------------------------------------------------------------------

    def _take_heartbeats(self, beats: Heartbeats, now_ns: int, *, stale: bool) -> None:
        rounds = 0
        while len(beats.slots):
            sequence = beats.records["sequence"].astype(np.int64)
            fresh = sequence > self._registry.sequence[beats.slots]
            self._intake.refuse(Reject.REPLAY, int(len(fresh) - fresh.sum()))
            beats = beats.take(fresh)
            if rounds == ROUNDS_MAX:
                newest = _newest_of_each(beats)
                self._intake.refuse(Reject.REPLAY, int(len(newest) - newest.sum()))
                beats = beats.take(newest)
            scratch = np.empty(self._registry.count, np.int64)
            first = first_of_each(beats.slots, scratch)
            self._observe(beats.take(first), now_ns, learn=not stale)
            beats = beats.take(~first)
            rounds += 1

    def _observe(self, beats: Heartbeats, now_ns: int, *, learn: bool) -> None:
        """Take heartbeats of distinct slots, each newer than what was heard of its slot."""
        slots, said = beats.slots, beats.records
        if not len(slots):
            return
        sequence = said["sequence"].astype(np.int64)
        steps = sequence - self._registry.sequence[slots]
        self._note(beats, sequence)
        self._note_gauges(beats)
        self._detector.observe(slots, steps, interval_ns(said), beats.arrived_ns, learn=learn)
        self._acknowledge(beats)
        timely = self._detector.deadline_ns[slots] > now_ns
        answered = self._answers(slots, said["echo"], now_ns)
        if beats.via != Via.UDP:
            # It cannot be probed, so its word counts; its schedule is taken anew from here.
            late = slots[~timely]
            self._detector.reanchor(late)
            self._detector.extend(late, now_ns + self._detector.timeout_ns(late))
            timely[:] = answered[:] = True
        self._judge(slots, timely, answered, now_ns)

    def _note(self, beats: Heartbeats, sequence: IntArray) -> None:
        registry, slots, said = self._registry, beats.slots, beats.records
        self.accepted_count += len(slots)
        registry.sequence[slots] = sequence
        registry.interval_ns[slots] = interval_ns(said)
        registry.heard_ns[slots] = beats.arrived_ns
        registry.via[slots] = beats.via
        if beats.via == Via.UDP:
            registry.note_peers(slots, beats.peers)
        else:
            # An HTTP heartbeat has no address for datagrams, so nothing is sent to it.
            registry.forget_peers(slots)

    def _note_gauges(self, beats: Heartbeats) -> None:
        registry, slots, said = self._registry, beats.slots, beats.records
        registry.health[slots] = said["status"]
        registry.cpu[slots] = said["cpu"]
        registry.memory[slots] = said["memory"]
        registry.load[slots] = said["load"]

    def _acknowledge(self, beats: Heartbeats) -> None:
        if beats.via != Via.UDP:
            return
        for i in np.flatnonzero(beats.records["flags"] & Flag.ACKNOWLEDGE):
            sequence = int(beats.records["sequence"][i])
            self._voice.acknowledge(int(beats.slots[i]), sequence, beats.peers[i].tobytes())

    def _answers(self, slots: IntArray, echo: npt.NDArray[np.uint32], now_ns: int) -> BoolArray:
        """Return which echoes (k,) are the number that their node is asked for now."""
        membership = self._membership
        challenge = membership.challenge[slots]
        right: BoolArray = (challenge != 0) & (echo == challenge)
        in_time: BoolArray = now_ns < membership.answer_by_ns[slots]
        return right & in_time

    def _judge(self, slots: IntArray, timely: BoolArray, answered: BoolArray, now_ns: int) -> None:
        """Let fresh news change statuses, and probe the dead who seem to speak."""
        membership = self._membership
        status = membership.status[slots]
        gone = (status == Status.DEAD) | (status == Status.LEFT)
        self._change(slots[(status == Status.NEW) | (gone & answered)], Cause.HEARD, now_ns)
        self._change(slots[(status == Status.SUSPECT) & timely], Cause.REFUTED, now_ns)
        for slot in slots[gone & ~answered]:
            self._voice.probe(int(slot), self._number(int(slot), now_ns))
        steady = slots[(status == Status.RECOVERING) & timely]
        self._change(membership.steady(steady), Cause.STEADY, now_ns)
        # Asked again: a node whose very first word is that it is ill is ALIVE only since just now.
        status = membership.status[slots]
        well = self._registry.health[slots] != Health.ILL
        self._change(slots[(status == Status.ALIVE) & ~well], Cause.ILL, now_ns)
        self._change(slots[(status == Status.FAILING) & well], Cause.WELL, now_ns)
        membership.watch(slots, self._detector.deadline_ns[slots])

    def _number(self, slot: int, now_ns: int) -> int:
        """Return the number to ask one who is gone; one that can still be answered stays.

        The interval may be shorter than the way there and back.
        """
        membership = self._membership
        if membership.challenge[slot] == 0 or now_ns >= membership.answer_by_ns[slot]:
            membership.ask(np.array([slot]), np.array([self._voice.challenge()]), now_ns)
        return int(membership.challenge[slot])

    def _change(self, slots: IntArray, cause: Cause, now_ns: int) -> None:
        if len(slots):
            self._changes.extend(self._membership.apply(slots, cause, now_ns))

    # -- answers to probes -------------------------------------------------------------------

    def _take_replies(self, beats: Heartbeats, now_ns: int) -> None:
        for i in range(len(beats.slots)):
            slot = int(beats.slots[i])
            self._take_reply(slot, beats.take(np.array([i])), now_ns)

    def _take_reply(self, slot: int, reply: Heartbeats, now_ns: int) -> None:
        """Believe an answer that echoes the number asked of this node now, and no other.

        It is not a heartbeat: it says nothing about the schedule, and leaves its place in the
        sequence to the heartbeat that may still be under way.
        """
        registry, membership = self._registry, self._membership
        status = Status(membership.status[slot])
        sequence = int(reply.records["sequence"][0])
        slots = np.array([slot])
        answered = self._answers(slots, reply.records["echo"], now_ns)
        asked = status in (Status.SUSPECT, Status.DEAD, Status.LEFT) and answered[0]
        proves_life = slot in self._begun
        if not (asked or proves_life) or sequence < registry.sequence[slot]:
            self._intake.refuse(Reject.LATE_REPLY, 1)
            return
        if answered[0]:
            membership.challenge[slot] = 0
        # The heartbeat of this very slot may still come, so the reply stands one before it.
        heard = np.array([max(sequence - 1, int(registry.sequence[slot]))], np.int64)
        steps = heard - registry.sequence[slots]
        self._note(reply, heard)
        self._note_gauges(reply)
        if answered[0]:
            registry.settle_peer(slot)
        self._detector.observe(
            slots, steps, interval_ns(reply.records), reply.arrived_ns, learn=False
        )
        self._judge(slots, _YES, answered, now_ns)

    # -- goodbyes ----------------------------------------------------------------------------

    def _take_goodbyes(self, beats: Heartbeats, now_ns: int) -> None:
        for i in range(len(beats.slots)):
            slot, said = int(beats.slots[i]), beats.records[i]
            if int(said["sequence"]) < self._registry.sequence[slot]:
                self._intake.refuse(Reject.REPLAY, 1)
                continue
            self.accepted_count += 1
            self._registry.sequence[slot] = int(said["sequence"])
            if beats.via == Via.UDP and int(said["flags"]) & Flag.ACKNOWLEDGE:
                peer = beats.peers[i].tobytes()
                self._voice.acknowledge(slot, int(said["sequence"]), peer)
            exited = int(said["status"]) == Farewell.EXITED
            if exited:
                self._exit_fields[slot] = int(said["cpu"])
            # Its schedule ends here, and what it says later is no place on it.
            self._detector.reanchor(np.array([slot]))
            # An answer of before the goodbye may still be under way; it must not undo this.
            self._membership.challenge[slot] = 0
            cause = Cause.EXITED if exited else Cause.GOODBYE
            self._change(np.array([slot]), cause, now_ns)

    # -- the bare URL ------------------------------------------------------------------------

    def _take_pings(self, beats: Heartbeats, now_ns: int) -> None:
        """Take requests of the bare URL: each is a heartbeat at its arrival.

        It has no life and proves none: a datagram of a life of the same name still has to.
        """
        for i in range(len(beats.slots)):
            one = beats.take(np.array([i]))
            sequence = self._registry.sequence[one.slots] + 1
            self._note(one, sequence)
            self._note_gauges(one)
            self._detector.observe(
                one.slots, _ONE, interval_ns(one.records), one.arrived_ns, learn=False
            )
            self._judge(one.slots, _YES, _YES, now_ns)


def _newest_of_each(beats: Heartbeats) -> BoolArray:
    """Return which rows hold the highest sequence of their slot; of equals the first."""
    backwards = -np.arange(len(beats.slots))
    order = np.lexsort((backwards, beats.records["sequence"], beats.slots))
    last = np.ones(len(order), np.bool_)
    last[:-1] = beats.slots[order][1:] != beats.slots[order][:-1]
    newest = np.zeros(len(order), np.bool_)
    newest[order[last]] = True
    return newest
