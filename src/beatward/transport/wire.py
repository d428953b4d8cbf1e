"""What a wire is: the way of moving whole batches of datagrams between a socket and numpy rows.

Two exist: `recvmmsg` asks the kernel for a thousand datagrams in one call, `recvfrom` asks for one
at a time and runs everywhere. Both pass the same tests (tests/transport), so no room above this
room needs to know which one is at work.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from beatward.core.arrays import ByteArray, IntArray
from beatward.core.peers import PEER_SIZE
from beatward.core.protocol.record import DATAGRAM_SIZE_MAX, RECORD_SIZE

# recvmmsg takes 1.02 us a datagram when asked for 1024 at a time and 1.15 when asked for 16 (one
# Zen 4 core, Linux 6.18), and the kernel refuses more than 1024 (UIO_MAXIOV).
BATCH_SIZE = 1024
# One record wider than any good datagram, so that a cut one is seen to be too large.
ROW_SIZE = DATAGRAM_SIZE_MAX + RECORD_SIZE


@dataclass(frozen=True, slots=True)
class Filled:
    """What one `fill` did: rows 0 to count - 1 are new; `emptied` if it found nothing more.

    failed   reads that gave an error of the network in place of a datagram
    """

    count: int
    emptied: bool
    failed: int = 0


class Batch(Protocol):
    """Room for BATCH_SIZE datagrams, filled again and again.

    rows   (BATCH_SIZE, ROW_SIZE) uint8; behind a datagram's end lies what was there before
    peers  (BATCH_SIZE, PEER_SIZE) uint8
    """

    rows: ByteArray
    peers: ByteArray

    def fill(self) -> Filled:
        """Take what the socket has, as much as fits, and never wait."""

    def sizes(self, count: int) -> IntArray:
        """Return the sizes (count,) of the first datagrams; above DATAGRAM_SIZE_MAX if cut."""

    def stamped_ns(self, count: int) -> IntArray | None:
        """Return when the kernel received the first datagrams (count,), in nanoseconds since 1970
        by the wall clock as it was then; None where that is not known of all of them.
        """


class Wire(Protocol):
    """One socket's way in and out. Used by one thread at a time; never blocks.

    is_stamped   whether its batches tell when the kernel received what they hold
    """

    is_stamped: bool

    def new_batch(self) -> Batch:
        """Make room for one more batch."""

    def write(self, rows: ByteArray, peers: ByteArray, starts: IntArray) -> int:
        """Send datagrams to their peers and return how many the system took.

        rows    (k, size) uint8, contiguous
        peers   (d, PEER_SIZE) uint8, contiguous
        starts  (d,) rising, from 0: at which row each datagram begins; it ends where the next does
        One that is refused is skipped. When the system's own queue is full the rest is not
        tried, because it would meet the same and the wheel must turn.
        """


def new_rows() -> tuple[ByteArray, ByteArray]:
    """Make the rows and peers of a batch. The system gives the memory when it is first used."""
    return np.zeros((BATCH_SIZE, ROW_SIZE), np.uint8), np.zeros((BATCH_SIZE, PEER_SIZE), np.uint8)
