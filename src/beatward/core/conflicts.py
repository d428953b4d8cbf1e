"""Two processes under one name: found by asking, and never by guessing from addresses alone.

A folder is copied while its agent runs, a virtual machine is cloned, a second machine gets the same
name. The monitor believes one of the two processes, and drops what the other says as an old life or
as a replay. So each record that is dropped for that reason is a hint, and no more: it may be a
late datagram of a process that has ended, or one that was recorded and is played again.

A hint leads to a question. The monitor probes the very life at the very address that the record
came from, with a fresh number. Only a process that runs there now, and holds the node's key, can
answer from there. ANSWERS_MIN answers, ASK_NS apart, are two processes:

    older life        its number is lower than that of the life that is believed
    same life         a cloned machine goes on as the same life, from another address. A node whose
                      address has changed (NAT, roaming) looks like that for a moment. So an answer
                      counts only where the believed address was heard as well since the last one:
                      a single process does not speak from two sockets in turn

An answer of the believed life is a sign of life as well: its node may have got another address. As
questions may lie further apart than a probing window is long, a suspect is probed there too.

MISSES_MAX questions in a row without an answer end it. Nodes over HTTP cannot be asked. There a
heartbeat of an older life counts that carries this session's number and goes on in its sequence; it
ends when none came for a minute, or for three of its intervals.

Everything is bounded: nodes that are watched, questions a turn, hints a turn. Not here: nodes that
report by the bare URL, which has no lives: two scripts behind one URL look like one.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from beatward.core.arrays import ByteArray, IntArray
from beatward.core.entry import Conflict
from beatward.core.instants import MILLISECOND, MINUTE, NEVER, SECOND
from beatward.core.intake import Heartbeats, Via
from beatward.core.protocol.record import Kind
from beatward.core.registry import Registry
from beatward.core.voice import Voice

ANSWERS_MIN = 3
ASK_NS = SECOND
# While it is known, a question now and then is enough to see its end.
KNOWN_ASK_NS = 10 * SECOND
MISSES_MAX = 3
WATCHED_MAX = 256
HINTS_MAX = 8
QUIET_NS = MINUTE


@dataclass(slots=True)
class _Watch:
    """One name; `node` tells whether the slot is still its.

    incarnation, address, via   of the process that is not believed
    number       what it was asked last, 0: nothing is asked
    asked_ns     when that was
    counted_ns   when an answer counted last
    sequence     over HTTP: the highest that counted
    told         since when both are known of
    """

    node: int
    incarnation: int
    address: bytes
    via: Via
    interval_ns: int
    heard_ns: int
    number: int = 0
    asked_ns: int = 0
    ask_due_ns: int = 0
    answers: int = 0
    misses: int = 0
    counted_ns: int = 0
    sequence: int = -1
    believed_address: bytes = b""
    reported: Conflict | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What became of a name; `is_over`: only one process speaks under it again."""

    slot: int
    conflict: Conflict
    is_over: bool


class Conflicts:
    """Watches names under which more than one process may speak.

    known            by slot, those that are told of; replaced when it changes, so any thread may
                     keep it
    overflow_count   hints that found no place
    """

    def __init__(self, registry: Registry, voice: Voice) -> None:
        self._registry = registry
        self._voice = voice
        self._watches: dict[int, _Watch] = {}
        self._found: list[Found] = []
        self.known: Mapping[int, Conflict] = {}
        self.overflow_count = 0

    @property
    def is_watching(self) -> bool:
        """Whether any name is watched; if none is, there is nothing to ask or to take."""
        return bool(self._watches)

    def restore(self, slot: int, conflict: Conflict, now_ns: int) -> None:
        """Take up what was told of in an earlier session."""
        via = Via.UDP if conflict.via == "udp" else Via.HTTP
        self._watches[slot] = _Watch(
            int(self._registry.node[slot]),
            conflict.incarnation,
            conflict.raw_address,
            via,
            interval_ns=int(self._registry.interval_ns(np.array([slot]))[0]),
            heard_ns=now_ns,
            ask_due_ns=now_ns + KNOWN_ASK_NS,
            reported=conflict,
        )
        self._publish()

    # -- what is heard -----------------------------------------------------------------------

    def take_answers(
        self, beats: Heartbeats, now_ns: int
    ) -> tuple[Heartbeats, Heartbeats, IntArray]:
        """Take the answers to our questions out of a batch.

        Return the rest, the answers (k,) of believed lives, one of a slot at most, and when each of
        these was asked: they are signs of life, whatever else they tell.
        """
        rest = np.ones(len(beats.slots), np.bool_)
        believed: list[int] = []
        asked_ns: list[int] = []
        is_reply = (beats.records["kind"] == Kind.PROBE_REPLY) & (beats.via == Via.UDP)
        for row in np.flatnonzero(is_reply).tolist():
            if not self._is_answer(beats, row, int(beats.records["echo"][row])):
                continue
            rest[row], slot = False, int(beats.slots[row])
            watch = self._watches[slot]
            if self._is_same_life(slot, watch) and self._registry.proven[slot]:
                believed.append(row)
                asked_ns.append(watch.asked_ns)
            # From here on the number is used up: the same answer does not count twice.
            self._take_answer(slot, now_ns)
        rows = np.array(believed, np.int64)
        return beats.take(rest), beats.at(rows), np.array(asked_ns, np.int64)

    def hint(self, beats: Heartbeats, now_ns: int) -> None:
        """Look at records (k,) that were dropped as those of an old life, or as replays."""
        if beats.via == Via.UDP:
            # From the believed address itself only one process speaks.
            elsewhere = (beats.peers != self._registry.peers.of(beats.slots)).any(axis=1)
            beats = beats.take(elsewhere)
        for row in range(min(len(beats.slots), HINTS_MAX)):
            slot = int(beats.slots[row])
            incarnation = int(beats.records["incarnation"][row])
            if beats.via == Via.HTTP:
                self._hear_http(beats, row, now_ns)
            elif beats.records["kind"][row] == Kind.HEARTBEAT:
                self._aim(slot, incarnation, beats, row, now_ns)

    def hint_replays(self, beats: Heartbeats, now_ns: int) -> None:
        """Look at heartbeats (k,) of believed lives that are not news: who else sends them?"""
        if beats.via == Via.UDP:
            self.hint(beats, now_ns)

    def place(self, slots: IntArray, peers: ByteArray) -> None:
        """Note from where believed lives (k,) speak over HTTP."""
        for row, slot in enumerate(slots.tolist()):
            watch = self._watches.get(slot)
            if watch is not None:
                watch.believed_address = peers[row].tobytes()

    # -- asking ------------------------------------------------------------------------------

    def turn(self, now_ns: int) -> list[Found]:
        """Ask who is due to be asked; return what has become of names since the last turn."""
        for slot, watch in list(self._watches.items()):
            if int(self._registry.node[slot]) != watch.node:
                del self._watches[slot]  # forgotten; the node that has the slot now is another
                self._publish()
            elif watch.ask_due_ns <= now_ns:
                self._ask(slot, watch, now_ns)
        found, self._found = self._found, []
        return found

    def next_ns(self) -> int:
        """Return when the next question is due, or NEVER."""
        return min((watch.ask_due_ns for watch in self._watches.values()), default=NEVER)

    def probe_elsewhere(self, slots: IntArray, numbers: IntArray) -> None:
        """Probe suspects (k,) also where their life spoke without being believed; numbers (k,).

        Restless world 4: one heartbeat of a node that had moved was lost, and it was found dead.
        """
        for slot, number in zip(slots.tolist(), numbers.tolist(), strict=True):
            watch = self._watches.get(slot)
            if (
                watch is not None
                and watch.via == Via.UDP
                and watch.node == int(self._registry.node[slot])
                and self._is_same_life(slot, watch)
            ):
                self._put(slot, number, watch)

    def _ask(self, slot: int, watch: _Watch, now_ns: int) -> None:
        if watch.via == Via.HTTP:
            if now_ns - watch.heard_ns >= max(QUIET_NS, 3 * watch.interval_ns):
                self._end(slot, watch)
            else:
                watch.ask_due_ns = watch.heard_ns + max(QUIET_NS, 3 * watch.interval_ns)
            return
        if watch.number:
            watch.misses += 1
            watch.answers = 0
        if watch.misses >= MISSES_MAX:
            self._end(slot, watch)
            return
        watch.number, watch.asked_ns = int(self._voice.challenges(1)[0]), now_ns
        spacing_ns = KNOWN_ASK_NS if watch.reported is not None else ASK_NS
        if self._is_same_life(slot, watch):
            spacing_ns = max(spacing_ns, watch.interval_ns)
        watch.ask_due_ns = now_ns + spacing_ns
        self._put(slot, watch.number, watch)

    def _put(self, slot: int, number: int, watch: _Watch) -> None:
        self._voice.probe_lives(
            np.array([slot]),
            np.array([number]),
            np.array([watch.incarnation]),
            np.frombuffer(watch.address, np.uint8).reshape(1, -1),
        )

    def _aim(self, slot: int, incarnation: int, beats: Heartbeats, row: int, now_ns: int) -> None:
        address = beats.peers[row].tobytes()
        interval_ns = int(beats.records["interval_ms"][row]) * MILLISECOND
        watch = self._watches.get(slot)
        if watch is None:
            self._watch(
                slot,
                _Watch(
                    int(self._registry.node[slot]),
                    incarnation,
                    address,
                    Via.UDP,
                    interval_ns=interval_ns,
                    heard_ns=now_ns,
                ),
            )
        elif watch.incarnation == incarnation or watch.misses:
            # The process that is asked has another address by now, or it is another process.
            watch.incarnation, watch.address, watch.via = incarnation, address, Via.UDP
            watch.heard_ns = now_ns

    def _hear_http(self, beats: Heartbeats, row: int, now_ns: int) -> None:
        record, slot = beats.records[row], int(beats.slots[row])
        if int(record["echo"]) != self._voice.session:
            return  # recorded in an earlier session, or it does not know this one yet
        incarnation, sequence = int(record["incarnation"]), int(record["sequence"])
        watch = self._watches.get(slot)
        if watch is None or (watch.incarnation, watch.via) != (incarnation, Via.HTTP):
            if watch is not None and not watch.misses and watch.via == Via.UDP:
                return
            watch = _Watch(
                int(self._registry.node[slot]),
                incarnation,
                b"",
                Via.HTTP,
                interval_ns=int(record["interval_ms"]) * MILLISECOND,
                heard_ns=now_ns,
                ask_due_ns=now_ns + QUIET_NS,
                reported=None if watch is None else watch.reported,
            )
            self._watch(slot, watch)
        if sequence <= watch.sequence:
            return
        watch.sequence, watch.heard_ns = sequence, now_ns
        watch.address = beats.peers[row].tobytes()
        if now_ns - watch.counted_ns >= ASK_NS:
            self._count(slot, watch, now_ns)

    def _watch(self, slot: int, watch: _Watch) -> None:
        if slot not in self._watches and len(self._watches) >= WATCHED_MAX:
            self.overflow_count += 1
            return
        self._watches[slot] = watch

    def _is_same_life(self, slot: int, watch: _Watch) -> bool:
        return watch.incarnation == int(self._registry.incarnation[slot])

    def _is_answer(self, beats: Heartbeats, row: int, echo: int) -> bool:
        watch = self._watches.get(int(beats.slots[row]))
        return (
            watch is not None
            and watch.number == echo != 0
            and int(beats.records["incarnation"][row]) == watch.incarnation
            and beats.peers[row].tobytes() == watch.address
        )

    def _take_answer(self, slot: int, now_ns: int) -> None:
        watch = self._watches[slot]
        watch.number, watch.misses, watch.heard_ns = 0, 0, now_ns
        if self._is_same_life(slot, watch):
            believed = self._registry.peers.of(np.array([slot])).tobytes()
            heard_ns = int(self._registry.heard_ns[slot])
            if believed == watch.address or heard_ns <= watch.counted_ns:
                return  # nothing says that the other address still speaks
        self._count(slot, watch, now_ns)

    def _count(self, slot: int, watch: _Watch, now_ns: int) -> None:
        watch.answers += 1
        watch.counted_ns = now_ns
        if watch.reported is None and watch.answers >= ANSWERS_MIN:
            watch.reported = self._conflict(slot, watch, now_ns)
            watch.ask_due_ns = max(watch.ask_due_ns, now_ns + KNOWN_ASK_NS)
            self._found.append(Found(slot, watch.reported, is_over=False))
            self._publish()

    def _conflict(self, slot: int, watch: _Watch, now_ns: int) -> Conflict:
        believed = self._registry.peers.of(np.array([slot])).tobytes()
        return Conflict(
            since_ns=now_ns,
            incarnation=watch.incarnation,
            raw_address=watch.address,
            via="udp" if watch.via == Via.UDP else "http",
            believed_incarnation=int(self._registry.incarnation[slot]),
            believed_raw_address=believed if any(believed) else watch.believed_address,
        )

    def _end(self, slot: int, watch: _Watch) -> None:
        del self._watches[slot]
        if watch.reported is not None:
            self._found.append(Found(slot, watch.reported, is_over=True))
            self._publish()

    def _publish(self) -> None:
        self.known = {
            slot: watch.reported
            for slot, watch in self._watches.items()
            if watch.reported is not None
        }
