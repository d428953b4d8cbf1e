"""The quick wire: `recvmmsg` and `sendmmsg` of Linux, called through ctypes on numpy arrays.

The kernel reads and writes arrays of `struct mmsghdr`, each of which points at an address and at
a buffer. We build them once, as numpy arrays over the batch's rows; a call then costs 1 to 2 us
for up to 1024 datagrams, and receiving runs at 87 to 101 % of a loop written in C (one Zen 4 core,
Linux 6.18), so there is no compiled extension here. ctypes lets go of the
interpreter's lock during the call.

Not here: other systems (`recvfrom`); FreeBSD's recvmmsg has structures of another shape.
"""

import ctypes
import errno
import os
import socket
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from beatward.core.arrays import ByteArray, IntArray
from beatward.core.peers import PEER_SIZE

from .local_addresses import LocalAddresses, homes_of
from .peer import FAMILY_V6, V4_SIZE
from .stamps import Stamps, stamps_of
from .wire import BATCH_SIZE, ROW_SIZE, Filled, new_rows

# Linux: MSG_DONTWAIT never blocks, MSG_TRUNC gives the size a datagram had before it was cut.
_RECEIVE_FLAGS = 0x40 | 0x20
_SEND_FLAGS = 0x40
# The system's own queue is full; whatever comes next would meet the same.
_FULL = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS})


class _Vector(ctypes.Structure):
    """`struct iovec`."""

    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """`struct msghdr`: where one datagram and its address go, or come from."""

    _fields_ = (
        ("peer", ctypes.c_void_p),
        ("peer_size", ctypes.c_uint32),
        ("vector", ctypes.c_void_p),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """`struct mmsghdr`: a header, and the size of what came."""

    _fields_ = (("header", _Header), ("size", ctypes.c_uint))


# ctypes knows this machine's sizes and padding; numpy writes a thousand of them at once.
_VECTOR = np.dtype(
    {
        "names": ["base", "size"],
        "formats": [np.uintp, np.uintp],
        "offsets": [_Vector.base.offset, _Vector.size.offset],
        "itemsize": ctypes.sizeof(_Vector),
    }
)
_MESSAGE = np.dtype(
    {
        "names": [
            *("peer", "peer_size", "vector", "vector_count", "control", "control_size", "size"),
        ],
        "formats": [np.uintp, np.uint32, *[np.uintp] * 4, np.uint32],
        "offsets": [
            _Header.peer.offset,
            _Header.peer_size.offset,
            _Header.vector.offset,
            _Header.vector_count.offset,
            _Header.control.offset,
            _Header.control_size.offset,
            _Message.size.offset,
        ],
        "itemsize": ctypes.sizeof(_Message),
    }
)


def _address(array: npt.NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


def _places(array: npt.NDArray[Any]) -> npt.NDArray[np.uintp]:
    """Return the addresses (n,) in memory of the rows of an array."""
    offsets = np.arange(len(array), dtype=np.uintp) * np.uintp(array.strides[0])
    return np.uintp(_address(array)) + offsets


def _linked(vectors: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    messages = np.zeros(len(vectors), _MESSAGE)
    messages["vector"] = _places(vectors)
    messages["vector_count"] = 1
    return messages


def is_supported(listener: socket.socket) -> bool:
    """Tell whether this system has recvmmsg and lets us call it; takes nothing off the socket."""
    if not sys.platform.startswith("linux"):
        return False
    receive = getattr(ctypes.CDLL(None, use_errno=True), "recvmmsg", None)
    # A sandbox may know the name and refuse the call; zero messages are always all right.
    return receive is not None and receive(listener.fileno(), None, 0, _RECEIVE_FLAGS, None) == 0


class RecvmmsgBatch:
    """1024 rows and the kernel's description of them; see `wire.Batch`."""

    def __init__(
        self, descriptor: int, receive: Any, homes: LocalAddresses | None, stamps: Stamps | None
    ) -> None:
        self.rows, self.peers = new_rows()
        self._descriptor = descriptor
        self._receive = receive
        self._vectors = np.zeros(BATCH_SIZE, _VECTOR)
        self._vectors["base"] = _places(self.rows)
        self._vectors["size"] = ROW_SIZE
        self._messages = _linked(self._vectors)
        self._messages["peer"] = _places(self.peers)
        # The kernel writes the size of each address over this. One socket has addresses of one
        # size only, so what it wrote last time is enough room the next time.
        self._messages["peer_size"] = PEER_SIZE
        self._start = _address(self._messages)
        self._homes = homes
        self._stamps = stamps
        # The kernel writes the stamp first.
        self._homes_start = stamps.size if stamps else 0
        self._controls_size = self._homes_start + (homes.size if homes else 0)
        self._controls = np.zeros((BATCH_SIZE, self._controls_size), np.uint8)
        self._messages["control_size"] = self._controls_size
        self._filled_count = 0
        if self._controls_size:
            self._messages["control"] = _places(self._controls)

    def fill(self) -> Filled:
        """Take what the socket has, as much as fits, and never wait.

        The kernel stops before the last row only when it finds the queue empty or an error
        pending, and none can be pending: a socket that is not connected and has no IP_RECVERR is
        told of no error that others answer. So a short read is a read that found it empty.
        """
        # The kernel has written over those it filled last time; the others are not touched again.
        self._messages["control_size"][: self._filled_count] = self._controls_size
        count = self._receive(self._descriptor, self._start, BATCH_SIZE, _RECEIVE_FLAGS, None)
        self._filled_count = max(count, 0)
        if count < 0:
            return _refused(ctypes.get_errno())
        if self._homes and count:
            self._homes.note(self._controls[:count, self._homes_start :], self.peers[:count])
        return Filled(count, count < BATCH_SIZE)

    def stamped_ns(self, count: int) -> IntArray | None:
        """Return when the kernel received the first datagrams (count,), by the wall clock."""
        return self._stamps.read(self._controls[:count]) if self._stamps else None

    def sizes(self, count: int) -> IntArray:
        """Return the sizes (count,) of the first datagrams; above DATAGRAM_SIZE_MAX if cut."""
        return self._messages["size"][:count].astype(np.int64)


def _refused(number: int) -> Filled:
    if number in _FULL:
        return Filled(0, emptied=True)
    if number == errno.EBADF:
        # The door was closed under us: our own mistake, and trying again will not help.
        raise OSError(number, os.strerror(number))
    return Filled(0, emptied=False, failed=1)


class RecvmmsgWire:
    """One socket's way in and out by whole batches; see `wire.Wire`."""

    def __init__(self, listener: socket.socket, *, stamped: bool = False) -> None:
        library = ctypes.CDLL(None, use_errno=True)
        pointer, count, number = ctypes.c_void_p, ctypes.c_uint, ctypes.c_int
        self._receive = library.recvmmsg
        self._receive.argtypes = (number, pointer, count, number, pointer)
        self._send = library.sendmmsg
        self._send.argtypes = (number, pointer, count, number)
        self._descriptor = listener.fileno()
        self._homes = homes_of(listener)
        self._stamps = stamps_of(listener) if stamped else None
        self.is_stamped = self._stamps is not None
        self._vectors = np.zeros(BATCH_SIZE, _VECTOR)
        self._messages = _linked(self._vectors)
        self._start = _address(self._messages)

    def new_batch(self) -> RecvmmsgBatch:
        """Make room for one more batch."""
        return RecvmmsgBatch(self._descriptor, self._receive, self._homes, self._stamps)

    def write(self, rows: ByteArray, peers: ByteArray, starts: IntArray) -> int:
        """Send datagrams to their peers and return how many were taken; see `wire.Wire`."""
        places, taken = _places(rows)[starts], 0
        sizes = np.diff(starts, append=len(rows)) * rows.shape[1]
        for start in range(0, len(starts), BATCH_SIZE):
            some = slice(start, start + BATCH_SIZE)
            done, is_full = self._write_some(places[some], sizes[some], peers[some])
            taken += done
            if is_full:
                break
        return taken

    def _write_some(
        self, places: npt.NDArray[np.uintp], sizes: IntArray, peers: ByteArray
    ) -> tuple[int, bool]:
        count = len(places)
        family = peers[:, :2].copy().view(np.uint16)[:, 0]
        self._vectors["base"][:count] = places
        self._vectors["size"][:count] = sizes
        self._messages["peer"][:count] = _places(peers)
        self._messages["peer_size"][:count] = np.where(family == FAMILY_V6, PEER_SIZE, V4_SIZE)
        if self._homes is None:
            return self._send_messages(count)
        controls, control_sizes = self._homes.controls(peers)
        self._messages["control"][:count] = _places(controls)
        self._messages["control_size"][:count] = control_sizes
        # `controls` must live until the kernel has read it, so it is sent from here.
        return self._send_messages(count)

    def _send_messages(self, count: int) -> tuple[int, bool]:
        taken = index = 0
        while index < count:
            place = self._start + index * _MESSAGE.itemsize
            done = self._send(self._descriptor, place, count - index, _SEND_FLAGS)
            if done > 0:
                taken += done
                index += done
            elif ctypes.get_errno() in _FULL:
                return taken, True
            else:
                index += 1  # this one is refused (no route, a bad address); the next may go
        return taken, False
