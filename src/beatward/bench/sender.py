"""The fleet's heartbeats, from a process of its own: on schedule, sealed, up to millions a second.

Node p of n is due at (k + p / n) intervals, so a fleet's heartbeats are spread evenly. Positions
are a shuffle of the nodes: neighbours in time are no neighbours in the monitor's arrays, as in
life. Each pulse of a millisecond seals what has become due and hands it to the kernel by sendmmsg,
several datagrams a message where the kernel can cut them (UDP_SEGMENT).

The fleet proves its life as nodes do: one node speaks without an echo and learns the session's
number from the probe that answers it. The number is the same for all, so one question is enough.
Probes of nodes that still live are answered. A schedule that was missed by a quarter of a second
is skipped, as an agent skips what it slept through, and counted.
"""

import multiprocessing
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from beatward.bench.fleet import INCARNATION, Fleet
from beatward.bench.report import BenchFailed
from beatward.core.arrays import ByteArray, IntArray
from beatward.core.intake import RECORD
from beatward.core.protocol import record
from beatward.core.protocol.record import BODY_SIZE, RECORD_SIZE, Flag, Kind
from beatward.core.tags import FASTEST
from beatward.transport.peer import pack_peer
from beatward.transport.recvmmsg import RecvmmsgWire

# Datagrams in one message. More loads a receiver further than a network could: prototypes took 8.
_SEGMENTS = 8
_UDP_SEGMENT = 103  # linux/udp.h
_PULSE_NS = 1_000_000
_PATIENCE_NS = 250_000_000
_ANSWER_SECONDS = 10.0
# Enough that the probes of a thousand suspects of one turn fit.
_BUFFER_SIZE = 4 * 1024 * 1024
_SPAWN = multiprocessing.get_context("spawn")
SHUFFLE_SEED = 4711


@dataclass(frozen=True, slots=True)
class SendPace:
    """How a fleet is to beat.

    rate          heartbeats a second, of all nodes together
    interval_ms   what each heartbeat promises
    per_datagram  records in one datagram, 1 to 22
    rounds        heartbeats a node, then silence; None: until the next order
    asks_every    a node asks in one of this many heartbeats for an acknowledgement; 0: never
    stops         (n,) seconds after the start at which each node falls silent, or None
    """

    rate: float
    interval_ms: int
    per_datagram: int = 1
    rounds: int | None = None
    asks_every: int = 0
    stops: np.ndarray[tuple[int], np.dtype[np.float64]] | None = None


@dataclass(slots=True)
class Sent:
    """What has left since the process began; `late_max_ns` is of the present pace only.

    begun_wall_ns   when the present pace began, nanoseconds since 1970
    """

    records: int = 0
    datagrams: int = 0
    refused: int = 0
    skipped: int = 0
    answered: int = 0
    late_max_ns: int = 0
    begun_wall_ns: int = 0


def pace_of(nodes: int, rate: float, *, per_datagram: int = 1, ask_ns: int = 0) -> SendPace:
    """Return the pace nearest to a rate at which the promised interval is whole milliseconds.

    ask_ns   how often each node asks for an acknowledgement; 0: never
    """
    interval_ms = max(1, round(nodes * 1000 / rate))
    asks_every = max(1, round(ask_ns / 1e6 / interval_ms)) if ask_ns else 0
    return SendPace(nodes * 1000 / interval_ms, interval_ms, per_datagram, asks_every=asks_every)


class SenderProcess:
    """The parent's hand on the process. Orders are obeyed at the next pulse."""

    def __init__(self, pipe: "Connection[Any, Any]", process_id: int) -> None:
        self._pipe = pipe
        self.process_id = process_id

    def aim(self, to: tuple[str, int], *, proving: bool) -> None:
        """Send to an address from now on; `proving`: learn its monitor's session first."""
        self._ask("aim", to, proving)

    def begin(self, pace: SendPace) -> Sent:
        """Beat at this pace from now on; the sequence goes on from the one before."""
        sent: Sent = self._ask("begin", pace)
        return sent

    def look(self) -> Sent:
        """Return what has left so far."""
        sent: Sent = self._ask("look")
        return sent

    def end(self) -> Sent:
        """Fall silent."""
        sent: Sent = self._ask("end")
        return sent

    def wait_silent(self, seconds: float) -> Sent:
        """Wait until the rounds of the present pace are over."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            sent, is_over = self._ask("over")
            if is_over:
                found: Sent = sent
                return found
            time.sleep(0.02)
        raise BenchFailed(f"the sender was not done within {seconds:.0f} s")

    def _ask(self, *order: Any) -> Any:
        try:
            self._pipe.send(order)
            answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise BenchFailed("the sender's process has ended; what it said is above") from error
        if isinstance(answer, str):
            raise BenchFailed(answer)
        return answer


@contextmanager
def running(fleet: Path) -> Iterator[SenderProcess]:
    """Run a sender for the fleet that `Fleet.save` wrote; it ends with the context."""
    here, there = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_obey, args=(there, fleet), daemon=True)
    process.start()
    there.close()
    assert process.pid is not None
    try:
        yield SenderProcess(here, process.pid)
    finally:
        here.close()  # it ends by itself, and needs no signal
        process.join(5)
        if process.is_alive():
            process.kill()
            process.join()


# --- in the process ------------------------------------------------------------------------------


class Cannon:
    """A socket that sends rows of records, and hands over what the monitor answers."""

    def __init__(self, to: tuple[str, int]) -> None:
        family = socket.AF_INET6 if ":" in to[0] else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind(("::1" if ":" in to[0] else "127.0.0.1", 0))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_SIZE)
        self._peer = np.frombuffer(pack_peer(to), np.uint8)
        self._wire = RecvmmsgWire(self.socket)
        self._heard = self._wire.new_batch()
        self.segments = 1
        self.load(1)

    def close(self) -> None:
        """Give the port back."""
        self.socket.close()

    def load(self, per_datagram: int) -> None:
        """Put a number of records into each datagram from now on."""
        self.per_datagram = per_datagram
        try:
            size = per_datagram * RECORD_SIZE
            self.socket.setsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT, size)
            self.segments = _SEGMENTS
        except OSError:  # Linux before 4.18
            self.segments = 1

    def fire(self, records: ByteArray) -> int:
        """Send records (m, 64), contiguous; return how many the system did not take."""
        width = self.per_datagram * self.segments
        whole = len(records) // width * width
        rest = records[whole:]
        refused = self._write(records[:whole].reshape(-1, width * RECORD_SIZE), width)
        return refused + self._write(rest.reshape(1, -1), len(rest))

    def _write(self, rows: ByteArray, width: int) -> int:
        if not rows.size:
            return 0
        peers = np.broadcast_to(self._peer, (len(rows), len(self._peer)))
        sent = self._wire.write(rows, np.ascontiguousarray(peers), np.arange(len(rows)))
        return (len(rows) - sent) * width

    def hear(self) -> "np.ndarray[tuple[int], np.dtype[np.void]]":
        """Return the records (k,) that have come, at most a batch, never waiting."""
        count = self._heard.fill().count
        rows = np.ascontiguousarray(self._heard.rows[:count, :RECORD_SIZE])
        return rows.view(RECORD).reshape(-1)


@dataclass(slots=True)
class _Flight:
    """A pace under way: `done` heartbeats of the endless list of all rounds have been sent."""

    pace: SendPace
    begun_ns: int
    done: int = 0
    is_over: bool = False


@dataclass(slots=True)
class Battery:
    """The fleet with its cannon: what is due is sealed and sent, what is asked is answered."""

    fleet: Fleet
    cannon: Cannon | None = None
    session: int = 0
    sent: Sent = field(default_factory=Sent)
    sequence: int = 0
    flight: _Flight | None = None
    order: IntArray = field(init=False)
    position: IntArray = field(init=False)
    secret: ByteArray = field(init=False)
    records: "np.ndarray[tuple[int], np.dtype[np.void]]" = field(init=False)
    rows: ByteArray = field(init=False)
    slots: IntArray = field(init=False)

    def __post_init__(self) -> None:
        count = len(self.fleet.node)
        self.order = np.random.default_rng(SHUFFLE_SEED).permutation(count)
        self.position = np.argsort(self.order)
        self.secret = np.ascontiguousarray(self.fleet.secret[self.order])
        self.slots = np.arange(count)
        self.records = np.zeros(count, RECORD)
        self.records["magic"] = record.MAGIC
        self.records["version"] = record.VERSION
        self.records["kind"] = Kind.HEARTBEAT
        self.records["slot"] = self.order
        self.records["node"] = self.fleet.node[self.order]
        self.records["incarnation"] = INCARNATION
        for gauge in ("cpu", "memory", "load"):
            self.records[gauge] = record.NO_GAUGE
        self.rows = self.records.view(np.uint8).reshape(count, RECORD_SIZE)

    def close(self) -> None:
        """Give the port back."""
        if self.cannon is not None:
            self.cannon.close()

    # -- orders ------------------------------------------------------------------------------

    def aim(self, to: tuple[str, int], *, proving: bool) -> str | None:
        """Turn to another receiver; returns what went wrong."""
        self.close()
        self.cannon = Cannon(to)
        self.session = 0
        if proving:
            hello = self.records[:1].copy()
            hello["interval_ms"] = 60_000
            self._fire(_sealed(hello, self.slots[:1], self.secret))
            until = time.monotonic() + _ANSWER_SECONDS
            while not self.session:
                if time.monotonic() > until:
                    return f"no probe came from the monitor within {_ANSWER_SECONDS:.0f} s"
                heard = self.cannon.hear()
                asked = heard[(heard["kind"] == Kind.PROBE) & (heard["node"] == hello["node"][0])]
                if len(asked):
                    self.session = int(asked["echo"][0])
                time.sleep(0.001)
        self.records["echo"] = self.session
        return None

    def begin(self, pace: SendPace) -> None:
        """Take up a pace; the one before is over."""
        assert self.cannon is not None
        if self.flight is not None:
            self.sequence += -(-self.flight.done // len(self.records))
        self.cannon.load(pace.per_datagram)
        self.records["interval_ms"] = pace.interval_ms
        self.sent.late_max_ns = 0
        self.sent.begun_wall_ns = time.time_ns()
        self.flight = _Flight(pace, time.monotonic_ns())

    # -- one pulse ---------------------------------------------------------------------------

    def pulse(self) -> None:
        """Send what has become due and answer what was asked."""
        flight = self.flight
        if flight is not None and not flight.is_over:
            pace, count = flight.pace, len(self.records)
            behind_ns = time.monotonic_ns() - flight.begun_ns
            due = int(behind_ns * pace.rate / 1e9) + 1  # the first one at once
            if pace.rounds is not None and due >= pace.rounds * count:
                due, flight.is_over = pace.rounds * count, True
            else:
                due -= (due - flight.done) % pace.per_datagram
            self._skip(flight, due)
            self._send_until(flight, due)
        self._answer()

    def _skip(self, flight: _Flight, due: int) -> None:
        late_ns = int((due - flight.done) / flight.pace.rate * 1e9)
        self.sent.late_max_ns = max(self.sent.late_max_ns, late_ns)
        if late_ns > _PATIENCE_NS and flight.pace.rounds is None:
            self.sent.skipped += due - flight.done
            flight.done = due

    def _send_until(self, flight: _Flight, due: int) -> None:
        count = len(self.records)
        while flight.done < due:
            start = flight.done % count
            stop = min(count, start + due - flight.done)
            self._send(flight, start, stop, self.sequence + 1 + flight.done // count)
            flight.done += stop - start

    def _send(self, flight: _Flight, start: int, stop: int, sequence: int) -> None:
        pace, part = flight.pace, self.records[start:stop]
        part["sequence"] = sequence
        if pace.asks_every:
            asks = (self.slots[start:stop] + sequence) % pace.asks_every == 0
            part["flags"] = np.where(asks, int(Flag.ACKNOWLEDGE), 0)
        slots = self.slots[start:stop]
        bodies = np.ascontiguousarray(self.rows[start:stop, :BODY_SIZE])
        self.rows[start:stop, BODY_SIZE:] = FASTEST.seal(bodies, slots, self.secret)
        rows = self.rows[start:stop]
        if pace.stops is not None:
            rounds = flight.done // len(self.records)
            due_s = (rounds * len(self.records) + slots) / pace.rate
            rows = rows[pace.stops[start:stop] > due_s]
        self._fire(rows)

    def _fire(self, rows: ByteArray) -> None:
        assert self.cannon is not None
        refused = self.cannon.fire(rows)
        self.sent.refused += refused
        self.sent.records += len(rows) - refused
        self.sent.datagrams += -(-(len(rows) - refused) // self.cannon.per_datagram)

    def _answer(self) -> None:
        """Answer the probes of nodes that still live; acknowledgements change nothing here."""
        if self.cannon is None or self.flight is None or self.flight.is_over:
            return
        heard = self.cannon.hear()
        heard = heard[(heard["kind"] == Kind.PROBE) & (heard["slot"] < len(self.records))]
        position = self.position[heard["slot"]]
        lives = heard["node"] == self.records["node"][position]
        if self.flight.pace.stops is not None:
            now_s = (time.monotonic_ns() - self.flight.begun_ns) / 1e9
            lives &= self.flight.pace.stops[position] > now_s
        position = position[lives]
        if not len(position):
            return
        replies = self.records[position]
        replies["kind"] = Kind.PROBE_REPLY
        replies["echo"] = heard["echo"][lives]
        replies["flags"] = 0
        count = len(self.records)
        rounds = (self.flight.done - position + count - 1) // count
        replies["sequence"] = self.sequence + rounds
        for each in _sealed(replies, position, self.secret):
            self._fire(each.reshape(1, -1))
        self.sent.answered += len(replies)


def _sealed(
    records: "np.ndarray[tuple[int], np.dtype[np.void]]", slots: IntArray, secret: ByteArray
) -> ByteArray:
    rows = np.ascontiguousarray(records).view(np.uint8).reshape(-1, RECORD_SIZE)
    bodies = np.ascontiguousarray(rows[:, :BODY_SIZE])
    rows[:, BODY_SIZE:] = FASTEST.seal(bodies, slots, secret)
    return rows


def _obey(pipe: "Connection[Any, Any]", path: Path) -> None:
    """Run in the sender's process until the parent hangs up."""
    battery = Battery(Fleet.load(path))
    due_ns = time.monotonic_ns()
    while True:
        try:
            while pipe.poll():
                pipe.send(_answer_to(battery, *pipe.recv()))
        except (EOFError, OSError):
            return
        battery.pulse()
        due_ns = max(due_ns + _PULSE_NS, time.monotonic_ns())
        time.sleep(max(due_ns - time.monotonic_ns(), 0) / 1e9)


def _answer_to(battery: Battery, word: str, *rest: Any) -> Any:
    match word:
        case "aim":
            return battery.aim(rest[0], proving=rest[1])
        case "begin":
            battery.begin(rest[0])
        case "end" if battery.flight is not None:
            battery.flight.is_over = True
        case "over":
            return battery.sent, battery.flight is None or battery.flight.is_over
    return battery.sent
