"""When the kernel received a datagram: SO_TIMESTAMPNS, brought to the monitor's clock.

The kernel stamps with the wall clock (CLOCK_REALTIME), which may be set while a datagram waits;
the monitor counts on a clock that is never set. So the distance of the two clocks is measured at
every drain, and three things must hold before a batch of stamps is believed:

    the measurement was not torn apart by a pause of this thread
    the distance has moved no further since the last drain than a clock being slewed may move it
    no stamp lies before what is known to have arrived earlier, or after the present

Otherwise the batch is stamped with the instant before its read, as without the kernel's help, and
so are the later ones until the socket was found empty, because they may have waited across the
same step. A step that is smaller than the time between two drains and passes all three is held
between the last arrival and the read: it cannot move an arrival further than that.

The kernel begins to stamp a moment after the first socket of the machine has asked for it (it
leaves that to a work queue), and stamps what came before at its reading. At the monitor's start,
when that happens, no node is judged yet.

The cost: receiving takes a quarter longer, a heartbeat through the whole machine a tenth
(benchmarks/doors.py, Linux 6.18; most of it is the kernel's copying of control data).

Source: the `timestamping` page of the kernel's documentation, section 1.1.
"""

import errno
import socket
import struct
from collections.abc import Callable

import numpy as np

from beatward.core.arrays import ByteArray, IntArray
from beatward.core.instants import MICROSECOND, MILLISECOND, SECOND

# asm-generic/socket.h, Linux 5.1: a timespec of two 64-bit numbers on every machine.
_SO_TIMESTAMPNS_NEW = 64
_TIMESPEC_SIZE = 16
_WORD = np.dtype(np.int64)
# A datagram is stamped when the network code takes it up, and queued when that code is through
# with it; on several processors two may change places meanwhile. One round of the kernel's
# receiving lasts 2 ms at most (net.core.netdev_budget_usecs).
DISORDER_NS = 10 * MILLISECOND
# A torn measurement would shift every arrival by half of what tore it apart. A whole one takes
# about a microsecond, ten where nothing is in the caches.
_TORN_NS = 100 * MICROSECOND
_MEASUREMENTS = 3
# NTP slews by at most 500 ppm (adjtimex), the two clocks' readings are some microseconds apart.
_STEP_NS = MILLISECOND
_SLEW = 1000


class Stamps:
    """Reads the kernel's stamps out of control data; they are the first message in it.

    size   of that message, in bytes
    """

    size = socket.CMSG_SPACE(_TIMESPEC_SIZE)

    def __init__(self, listener: socket.socket) -> None:
        """Ask the kernel to stamp each datagram; raises OSError if it cannot."""
        if socket.CMSG_LEN(0) != 2 * _WORD.itemsize:
            raise OSError(errno.ENOTSUP, "control data is read on 64-bit machines only")
        listener.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS_NEW, 1)
        head = struct.pack(
            "@Nii", socket.CMSG_LEN(_TIMESPEC_SIZE), socket.SOL_SOCKET, _SO_TIMESTAMPNS_NEW
        )
        self._head = np.frombuffer(head, _WORD).tolist()

    def read(self, controls: ByteArray) -> IntArray | None:
        """Return nanoseconds since 1970 (n,); None unless every datagram has its stamp.

        controls   (n, size) contiguous, the size a multiple of 8
        """
        # Words, not bytes: comparing 16 bytes of each row takes ten times as long.
        size, kind, seconds, rest = controls.view(_WORD).T[:4]
        if (size != self._head[0]).any() or (kind != self._head[1]).any():
            return None
        stamped: IntArray = seconds * SECOND
        stamped += rest
        return stamped


def stamps_of(listener: socket.socket) -> Stamps | None:
    """Return the stamps of a socket; None where the kernel gives none."""
    try:
        return Stamps(listener)
    except OSError:
        return None


class Timeline:
    """Places stamps on the monitor's clock.

    floor_ns     nothing that has not been handed over yet arrived before this instant
    is_trusted   False: stamps of this drain are not believed, see the module
    """

    def __init__(self, now_ns: Callable[[], int], wall_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._wall_ns = wall_ns
        self._offset_ns: int | None = None
        self._measured_ns = 0
        self.floor_ns = 0
        self.is_trusted = False

    def measure(self) -> None:
        """Measure how far the clocks are apart; call before a drain's first read."""
        for _ in range(_MEASUREMENTS):
            before, wall, after = self._now_ns(), self._wall_ns(), self._now_ns()
            if after - before <= _TORN_NS:
                break
        offset_ns, earlier = (before + after) // 2 - wall, self._offset_ns
        allowed_ns = _STEP_NS + (after - self._measured_ns) // _SLEW
        stepped = earlier is None or abs(offset_ns - earlier) > allowed_ns
        self._offset_ns, self._measured_ns = offset_ns, after
        if stepped or after - before > _TORN_NS:
            self.is_trusted = False

    def place(self, stamped_ns: IntArray | None, before_ns: int) -> IntArray | None:
        """Return when a batch arrived (n,), non-decreasing; None where its stamps are not believed.

        stamped_ns   as the kernel stamped it; None where it did not
        before_ns    the instant before the batch was read
        """
        if not self.is_trusted or stamped_ns is None or self._offset_ns is None:
            self.is_trusted = False
            return None
        arrived_ns: IntArray = stamped_ns + self._offset_ns
        first, last = int(arrived_ns.min()), int(arrived_ns.max())
        if first < self.floor_ns - DISORDER_NS or last > self._now_ns() + DISORDER_NS:
            self.is_trusted = False
            return None
        # In place, and `clip` only where it is needed: this is done for every datagram.
        np.maximum.accumulate(arrived_ns, out=arrived_ns)
        if first < self.floor_ns or last > before_ns:
            np.clip(arrived_ns, self.floor_ns, before_ns, out=arrived_ns)
        self.floor_ns = int(arrived_ns[-1])
        return arrived_ns

    def note_empty(self, before_ns: int) -> None:
        """Note that the socket was found empty: what comes from now on arrived after this."""
        self.floor_ns = before_ns
        self.is_trusted = True
