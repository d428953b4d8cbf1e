"""The slow wire: one datagram a call, with nothing but Python's sockets, so it runs everywhere.

It takes about 2.4 us a datagram where `recvmmsg` takes 1.0 (one Zen 4 core, Linux 6.18), plus the
writing of the address.
"""

import errno
import socket

import numpy as np

from beatward.core.arrays import ByteArray, IntArray

from .peer import pack_peer, socket_address
from .wire import BATCH_SIZE, Filled, new_rows

# The system's own queue is full; whatever comes next would meet the same.
_FULL = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS})


class RecvfromBatch:
    """1024 rows, each with a memoryview to receive into; see `wire.Batch`."""

    def __init__(self, listener: socket.socket) -> None:
        self.rows, self.peers = new_rows()
        self._sizes = np.zeros(BATCH_SIZE, np.int64)
        self._listener = listener
        self._row_views = [memoryview(row) for row in self.rows]
        self._peer_views = [memoryview(peer) for peer in self.peers]

    def fill(self) -> Filled:
        """Take what the socket has, as much as fits, and never wait."""
        count = 0
        for tried in range(BATCH_SIZE):
            try:
                size, address = self._listener.recvfrom_into(self._row_views[count])
            except BlockingIOError:
                return Filled(count, emptied=True, failed=tried - count)
            except OSError as error:
                if error.errno == errno.EBADF:
                    raise  # The door was closed under us; trying again will not help.
                # Windows hands us the errors that others answered to what we sent earlier, and
                # drops a datagram that does not fit: there, an oversize one is counted here.
                continue
            self._sizes[count] = size
            self._peer_views[count][:] = pack_peer(address)
            count += 1
        return Filled(count, emptied=False, failed=BATCH_SIZE - count)

    def sizes(self, count: int) -> IntArray:
        """Return the sizes (count,) of the first datagrams; above DATAGRAM_SIZE_MAX if cut."""
        return self._sizes[:count].copy()

    def stamped_ns(self, count: int) -> IntArray | None:  # noqa: ARG002
        """Return None: `recvmsg` could tell, and would make the slow wire slower by half."""
        return None


class RecvfromWire:
    """One socket's way in and out, one datagram at a time; see `wire.Wire`."""

    is_stamped = False

    def __init__(self, listener: socket.socket, *, stamped: bool = False) -> None:  # noqa: ARG002
        self._listener = listener

    def new_batch(self) -> RecvfromBatch:
        """Make room for one more batch."""
        return RecvfromBatch(self._listener)

    def write(self, rows: ByteArray, peers: ByteArray, starts: IntArray) -> int:
        """Send datagrams to their peers and return how many were taken; see `wire.Wire`."""
        taken = 0
        stops = [*starts[1:].tolist(), len(rows)]
        for start, stop, peer in zip(starts.tolist(), stops, peers, strict=True):
            address = socket_address(peer, self._listener.family)
            if address is None:
                continue
            try:
                self._listener.sendto(rows[start:stop].tobytes(), address)
            except OSError as error:
                if error.errno in _FULL:
                    break
                continue
            taken += 1
        return taken
