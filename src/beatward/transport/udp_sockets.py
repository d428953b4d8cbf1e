"""The monitor's door to the wheel: one or several sockets at one address, and a sink for junk.

One socket is the rule. Several share the address; the kernel gives all of a node's datagrams to
the same one, and one thread drains them one after the other. They bring more room (the limit on a
receive buffer is one for each socket) and less waiting of several receiving processors for one
queue, and no more than that: two threads that drained two sockets were no quicker than one
(benchmarks/doors.py), because a drain mostly waits for memory and for the interpreter's lock.

The sink is a socket that is never read, to which the kernel gives junk while there is a flood of it
(`steering`): junk then costs the monitor nothing and takes no room in its buffer. It is there from
the start, so what the kernel refuses is known at the start; then the monitor does without, and
says so in `shortcomings`.

Two monitors never meet here: the first socket is bound as its address's only one, and shares
afterwards.
"""

import contextlib
import errno
import socket
import sys
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Literal, Self

from beatward.core.intake import Replies
from beatward.errors import ConfigError

from .steering import (
    NOTHING,
    Flood,
    attach_filter,
    attach_steering,
    by_node,
    is_junk,
    without_junk,
)
from .udp import BATCHES_MAX, Drain, UdpSocket, open_door

Prefilter = Literal["auto", "on", "off"]
# The sink keeps nothing; the kernel's least is more than enough.
_SINK_BUFFER = 4096


class UdpSockets:
    """UdpSockets at one address, drained as one. Used as `UdpSocket` is.

    shortcomings        what was asked for and could not be had, for people
    is_filtering        whether junk goes to the sink at present
    """

    def __init__(
        self,
        doors: tuple[UdpSocket, ...],
        sink: UdpSocket | None,
        now_ns: Callable[[], int],
        *,
        prefilter: Prefilter,
        shortcomings: tuple[str, ...] = (),
    ) -> None:
        self._doors = doors
        self._sink = sink
        self._now_ns = now_ns
        self._prefilter = prefilter if sink else "off"
        self._flood = Flood(now_ns())
        self._filtered_seen = 0
        self.shortcomings = shortcomings
        self.is_filtering = sink is not None and prefilter == "on"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._doors)

    @property
    def address(self) -> str:
        """Where the doors are, as host:port."""
        return self._doors[0].address

    def filenos(self) -> tuple[int, ...]:
        """Return the sockets' descriptors, to wait until one is readable; the sink never is."""
        return tuple(door.fileno() for door in self._doors)

    @property
    def receive_buffer(self) -> int:
        """How many bytes the kernel keeps for each door, at least."""
        return min(door.receive_buffer for door in self._doors)

    @property
    def is_stamped(self) -> bool:
        """Whether the kernel says when datagrams arrived."""
        return all(door.is_stamped for door in self._doors)

    @property
    def watermark_ns(self) -> int:
        """Until when everything that had arrived was handed over. Any thread may ask."""
        return min(door.watermark_ns for door in self._doors)

    @property
    def datagrams_count(self) -> int:
        """How many datagrams were received."""
        return sum(door.datagrams_count for door in self._doors)

    @property
    def bytes_count(self) -> int:
        """How many bytes they had."""
        return sum(door.bytes_count for door in self._doors)

    @property
    def sent_count(self) -> int:
        """How many replies the system took."""
        return self._doors[0].sent_count

    @property
    def refused_count(self) -> int:
        """How many replies it did not take, or had no address."""
        return self._doors[0].refused_count

    @property
    def errors_count(self) -> int:
        """How many reads gave an error of the network."""
        return sum(door.errors_count for door in self._doors)

    def close(self) -> None:
        """Give the address back; calling it twice does nothing."""
        for door in (*self._doors, *([self._sink] if self._sink else [])):
            door.close()

    def drain(self) -> Drain:
        """Drain one door after the other; see `UdpSocket.drain`."""
        batches_max = max(BATCHES_MAX // len(self._doors), 1)
        drains = [door.drain(batches_max) for door in self._doors]
        drained = Drain(
            batches=tuple(batch for drain in drains for batch in drain.batches),
            watermark_ns=self.watermark_ns,
            emptied=all(drain.emptied for drain in drains),
            dropped=sum(drain.dropped for drain in drains),
        )
        if self._prefilter == "auto":
            self._watch_for_floods(drained)
        return drained

    def send(self, replies: Replies) -> None:
        """Send each reply that has an address; see `UdpSocket.send`."""
        self._doors[0].send(replies)

    def drops(self) -> int | None:
        """Return how many datagrams the kernel threw away for want of room; see `UdpSocket.drops`.

        Junk that went to the sink is not among them.
        """
        counts = [count for door in self._doors if (count := door.drops()) is not None]
        return sum(counts) if counts else None

    def filtered(self) -> int:
        """Return how many datagrams went to the sink; begins again after 4 billion."""
        return (self._sink.drops() or 0) if self._sink else 0

    def _watch_for_floods(self, drained: Drain) -> None:
        junk_count = sum(int(is_junk(batch).sum()) for batch in drained.batches)
        if self.is_filtering:
            before, self._filtered_seen = self._filtered_seen, self.filtered()
            junk_count += (self._filtered_seen - before) % 2**32
        is_flood = self._flood.note(junk_count, self._now_ns())
        if is_flood != self.is_filtering:
            self._steer(filtering=is_flood)

    def _steer(self, *, filtering: bool) -> None:
        self.is_filtering = filtering
        program = without_junk if filtering else by_node
        attach_steering(self._doors[0].listener, program(len(self._doors)))


def open_doors(
    address: str,
    receive_buffer: int,
    now_ns: Callable[[], int],
    *,
    wall_ns: Callable[[], int] | None = None,
    count: int = 1,
    prefilter: Prefilter = "auto",
    wire: str | None = None,
    file: str = "settings",
) -> UdpSockets:
    """Open a number of doors at one address and, unless `prefilter` is off, the sink.

    What the kernel refuses beyond the first door is done without, see `UdpSockets.shortcomings`.
    Otherwise as `open_door`; raises ConfigError when the address cannot be had.
    """
    assert count > 0
    make = partial(
        open_door,
        receive_buffer=receive_buffer,
        now_ns=now_ns,
        wall_ns=wall_ns,
        wire=wire,
        file=file,
    )
    first = make(address)
    doors, sink, shortcomings = [first], None, []
    try:
        if count > 1 or prefilter != "off":
            _share(first.listener)
        while len(doors) < count:
            doors.append(make(first.address, prepare=_share))
        # Where this is refused the kernel spreads by the senders' addresses, which does as well.
        with contextlib.suppress(OSError):
            attach_steering(first.listener, by_node(len(doors)))
    except (OSError, ConfigError) as error:
        shortcomings.append(f"{len(doors)} of {count} doors are open: {error}")
    try:
        if prefilter != "off":
            sink = _open_sink(first, now_ns)
            program = without_junk if prefilter == "on" else by_node
            attach_steering(first.listener, program(len(doors)))
    except (OSError, ConfigError) as error:
        # Without the program the kernel would hand honest datagrams to the sink.
        if sink:
            sink.close()
            sink = None
        if prefilter == "on":
            shortcomings.append(f"junk is not kept out by the kernel: {error}")
    return UdpSockets(
        tuple(doors), sink, now_ns, prefilter=prefilter, shortcomings=tuple(shortcomings)
    )


def _open_sink(door: UdpSocket, now_ns: Callable[[], int]) -> UdpSocket:
    return open_door(door.address, _SINK_BUFFER, now_ns, prepare=_make_sink)


def _make_sink(listener: socket.socket) -> None:
    attach_filter(listener, NOTHING)  # read as "keep 0 bytes"
    _share(listener)


def _share(listener: socket.socket) -> None:
    if not sys.platform.startswith("linux"):
        # Elsewhere the option has other meanings, and no program chooses.
        raise OSError(errno.ENOTSUP, "Linux only")
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
