"""The UDP door: datagrams in as numpy rows, replies out, and until when silence is silence.

The watermark is what makes verdicts fair. It is the instant just before the read that found the
socket empty: a datagram that had reached the socket by then has been handed over, in this drain or
an earlier one, so a node that has not been heard by then was silent.

When a drain stops at its limit with datagrams still waiting, no node may be judged by those. Where
the kernel stamps arrivals (`stamps`), the socket is a queue, so what still waits arrived after the
last datagram read, and the watermark moves on to a little before that one's arrival: under a flood
verdicts come late by what the queue holds, and go on coming. Without stamps it stays where it was.

Without stamps, rows bear the instant before the read that fetched them: whatever was waiting had
arrived by then, and what came in during the read (1 ms for a full one) hardly later. With stamps
they bear their own, held between the last arrival and that instant. Either way a drain that
emptied the socket never hands over an arrival from after its watermark.

Route: kernel -> `drain` -> `core.intake.Datagrams`; `core.intake.Replies` -> `send` -> kernel.
Not here: the clock (handed in) and what datagrams mean (`core.intake`).
"""

import contextlib
import errno
import socket
import struct
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np

from beatward.core.intake import Datagrams, Replies
from beatward.errors import ConfigError
from beatward.values import split_address

from .peer import pack_peer, peer_text
from .recvfrom import RecvfromWire
from .recvmmsg import RecvmmsgWire, is_supported
from .stamps import DISORDER_NS, Timeline
from .wire import Batch, Wire

WIRES: Mapping[str, Callable[..., Wire]] = {
    "recvmmsg": RecvmmsgWire,
    "recvfrom": RecvfromWire,
}
# 8192 datagrams take about 8 ms to receive (`beatward bench ingest`, one Zen 4 core): the wheel
# turns in time, and at a tick of 5 ms a backlog still melts at 300,000/s.
BATCHES_MAX = 8
# Replies of one turn may leave in one burst; 768 bytes of kernel memory each, so about 1300.
_SEND_BUFFER = 1024 * 1024
# asm-generic/socket.h; Python has no names for them.
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33
_SO_MEMINFO = 55
_MEMINFO = struct.Struct("=9I")
_MEMINFO_DROPS = 8
_IS_LINUX = sys.platform.startswith("linux")


@dataclass(frozen=True, slots=True)
class Drain:
    """What one drain brought. The arrays are views, valid until the next drain.

    watermark_ns  everything that arrived before this instant is here or was here earlier
    emptied       False: datagrams may still be waiting
    dropped       how many the kernel threw away since the drain before
    """

    batches: tuple[Datagrams, ...]
    watermark_ns: int
    emptied: bool
    dropped: int = 0


class UdpSocket:
    """One UDP socket; `drain` and `send` belong to one thread, counters may be read by any.

    watermark_ns                   until when everything that had arrived was handed over
    datagrams_count, bytes_count   received
    sent_count                     replies that the system took
    refused_count                  replies that it did not take, or that had no address
    errors_count                   reads that gave an error of the network
    """

    def __init__(
        self,
        listener: socket.socket,
        wire: Wire,
        now_ns: Callable[[], int],
        *,
        opened_ns: int,
        wall_ns: Callable[[], int] | None = None,
    ) -> None:
        self._listener = listener
        self._wire = wire
        self._now_ns = now_ns
        self.watermark_ns = opened_ns
        self._timeline = Timeline(now_ns, wall_ns) if wire.is_stamped and wall_ns else None
        self._drops_seen = 0
        self._batches: list[Batch] = []
        self.datagrams_count = 0
        self.bytes_count = 0
        self.sent_count = 0
        self.refused_count = 0
        self.errors_count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def address(self) -> str:
        """Where the door is, as host:port; the port is the real one when 0 was asked for."""
        return peer_text(pack_peer(self._listener.getsockname()))

    @property
    def receive_buffer(self) -> int:
        """How many bytes the kernel really keeps for us, counted as the setting counts them."""
        size = self._listener.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        # Linux doubles what is asked for, to cover its own bookkeeping, and reports the double.
        return size // 2 if _IS_LINUX else size

    @property
    def listener(self) -> socket.socket:
        """The socket, to set an option of it."""
        return self._listener

    @property
    def is_stamped(self) -> bool:
        """Whether the kernel says when datagrams arrived."""
        return self._timeline is not None

    def fileno(self) -> int:
        """Return the socket's descriptor, to wait until it is readable."""
        return self._listener.fileno()

    def close(self) -> None:
        """Give the address back; calling it twice does nothing."""
        self._listener.close()

    def drain(self, batches_max: int = BATCHES_MAX) -> Drain:
        """Take what has arrived, at most `batches_max` of BATCH_SIZE, never waiting for more.

        Raises OSError only when the door is closed.
        """
        assert self.fileno() >= 0, "drain of a closed door"
        assert batches_max > 0
        taken, timeline = [], self._timeline
        if timeline:
            timeline.measure()
        for index in range(batches_max):
            before_ns = self._now_ns()
            batch = self._batch(index)
            filled = batch.fill()
            self.errors_count += filled.failed
            if filled.count:
                taken.append(self._datagrams(batch, filled.count, before_ns))
            if filled.emptied:
                self.watermark_ns = before_ns
                if timeline:
                    timeline.note_empty(before_ns)
                return Drain(tuple(taken), before_ns, emptied=True, dropped=self._dropped())
        if timeline and timeline.is_trusted:
            self.watermark_ns = max(self.watermark_ns, timeline.floor_ns - DISORDER_NS)
        return Drain(tuple(taken), self.watermark_ns, emptied=False, dropped=self._dropped())

    def send(self, replies: Replies) -> None:
        """Send each datagram that has an address; what the system refuses is counted and lost.

        A lost acknowledgement is asked for again and a lost probe is one of several, so nothing
        here is worth waiting for.
        """
        # All records of one datagram go to one peer, so none of them begins in another's.
        has_address = replies.peers.any(axis=1)
        starts = np.flatnonzero(replies.begins[has_address])
        count = len(starts)
        if count == 0:
            return
        rows = np.ascontiguousarray(replies.rows[has_address])
        peers = np.ascontiguousarray(replies.peers[has_address][starts])
        sent = self._wire.write(rows, peers, starts)
        self.sent_count += sent
        self.refused_count += count - sent

    def drops(self) -> int | None:
        """Return how many datagrams the kernel threw away since the door opened, mostly because
        the receive buffer was full; None where the system does not tell. Any thread may ask.

        The kernel counts in 32 bits and begins again after 4 billion. So does what we say:
        to remember how often that happened, two threads that ask would have to wait in line.
        """
        if not _IS_LINUX:
            return None
        try:
            packed = self._listener.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
            raw = _MEMINFO.unpack(packed)[_MEMINFO_DROPS]
        except (OSError, struct.error):
            return None  # Linux before 4.12
        return int(raw)

    def _dropped(self) -> int:
        # Asked after the last read: too much may be seen at a watermark, and never too little.
        before, self._drops_seen = self._drops_seen, self.drops() or 0
        return (self._drops_seen - before) % 2**32

    def _batch(self, index: int) -> Batch:
        # The later batches are for backlogs only, so they are made when the first one comes.
        if index == len(self._batches):
            self._batches.append(self._wire.new_batch())
        return self._batches[index]

    def _datagrams(self, batch: Batch, count: int, before_ns: int) -> Datagrams:
        sizes = batch.sizes(count)
        self.datagrams_count += count
        self.bytes_count += int(sizes.sum())
        arrived_ns = None
        if self._timeline:
            arrived_ns = self._timeline.place(batch.stamped_ns(count), before_ns)
        if arrived_ns is None:
            arrived_ns = np.full(count, before_ns, np.int64)
        return Datagrams(batch.rows[:count], sizes, batch.peers[:count], arrived_ns)


def open_door(
    address: str,
    receive_buffer: int,
    now_ns: Callable[[], int],
    *,
    wall_ns: Callable[[], int] | None = None,
    wire: str | None = None,
    prepare: Callable[[socket.socket], None] | None = None,
    file: str = "settings",
) -> UdpSocket:
    """Bind a UDP socket at `host:port` or `[v6]:port` and return its door.

    receive_buffer  bytes wanted; what the kernel grants is `UdpSocket.receive_buffer`
    now_ns          the monitor's clock
    wall_ns         the kernel's wall clock: its stamps are wanted as arrivals, where it gives them
    wire            a key of WIRES; by default the quickest that this system has
    prepare         done to the socket before it is bound
    file            the settings file, for the message
    Port 0 takes a free one. `[::]` takes IPv4 too. On a host with several addresses a wildcard
    answers from the address that was asked, as agents expect, on the wire `recvmmsg` only
    (`homes`). Raises ConfigError when the address cannot be had.
    """
    opened_ns = now_ns()
    listener = _bind(address, prepare, file)
    listener.settimeout(0)
    _grow(listener, socket.SO_RCVBUF, _SO_RCVBUFFORCE, receive_buffer)
    _grow(listener, socket.SO_SNDBUF, _SO_SNDBUFFORCE, _SEND_BUFFER)
    chosen = wire or ("recvmmsg" if is_supported(listener) else "recvfrom")
    made = WIRES[chosen](listener, stamped=wall_ns is not None)
    return UdpSocket(listener, made, now_ns, opened_ns=opened_ns, wall_ns=wall_ns)


def _bind(
    address: str, prepare: Callable[[socket.socket], None] | None, file: str
) -> socket.socket:
    try:
        host, port = split_address(address)
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, place = found[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, ValueError) as error:
        raise ConfigError(file, "monitor.udp", address, _remedy(error)) from error
    try:
        if prepare:
            prepare(listener)
        # No SO_REUSEADDR: for UDP it lets a second monitor bind the same port and take its nodes.
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        if family == socket.AF_INET6:
            with contextlib.suppress(OSError):  # OpenBSD keeps the two apart whatever one asks
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(place)
    except OSError as error:
        listener.close()
        raise ConfigError(file, "monitor.udp", address, _remedy(error)) from error
    return listener


def _remedy(error: Exception) -> str:
    number = error.errno if isinstance(error, OSError) else None
    remedies = {
        errno.EADDRINUSE: "a free port: another program has it (`ss -ulpn` names it), stop that "
        "one or choose another",
        errno.EADDRNOTAVAIL: "an address of this machine (`ip address` lists them)",
        errno.EACCES: "a port above 1023, or the right to open one below (CAP_NET_BIND_SERVICE)",
    }
    return remedies.get(number or 0, f"an address that can be bound: {error}")


def _grow(listener: socket.socket, option: int, forced: int, size: int) -> None:
    """Ask for a buffer beyond the system's limit, and if we may not, for what the limit gives."""
    if _IS_LINUX:
        with contextlib.suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, forced, size)
            return
    with contextlib.suppress(OSError):  # macOS refuses instead of giving what it has
        listener.setsockopt(socket.SOL_SOCKET, option, size)
