"""Which of our own addresses a datagram was sent to, so that the answer leaves from the same one.

A door at 0.0.0.0 or [::] hears all addresses of its host, but the kernel would let answers leave
from the one it likes best. An agent that sent to another (a virtual address, a second network)
has a connected socket, never hears them, and so can never prove its life. Therefore such a door
asks the kernel for each datagram's destination (IP_PKTINFO, RFC 3542 section 6.1) and keeps it as
a number in four bytes of the peer's row that have no other use:

    IPv4   bytes 16 to 19, behind what the kernel reads        IPv6   bytes 4 to 7, the flow label

Number 0 lets the kernel choose. Numbers are a matter of one process: one from an older journal at
worst picks another of our addresses, until the node is heard again.
"""

import socket
import struct

import numpy as np
import numpy.typing as npt

from beatward.core.arrays import ByteArray

from .peer import FAMILY_V6

# Further addresses of one host would get 0. More than this is no host we know of.
HOMES_MAX = 1024
# bits/in.h of Linux; Python has names for IPv6 only.
_IP_PKTINFO = 8
_V4_NUMBER = slice(16, 20)
_V6_NUMBER = slice(4, 8)


class LocalAddresses:
    """Our addresses as they are met, for one socket.

    size   of the control data of one datagram, in bytes
    """

    def __init__(self, listener: socket.socket) -> None:
        """Ask the kernel to tell each datagram's destination; raises OSError if it cannot."""
        is_v6 = listener.family == socket.AF_INET6
        if is_v6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            kind = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO)
        else:
            listener.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            kind = (socket.IPPROTO_IP, _IP_PKTINFO)
        # struct in6_pktinfo: address, interface. struct in_pktinfo: interface, our address, the
        # address in the datagram's header.
        data_size, offset, width = (20, 0, 16) if is_v6 else (12, 4, 4)
        self.size = socket.CMSG_SPACE(data_size)
        start = socket.CMSG_LEN(0) + offset
        self._place = slice(start, start + width)
        head = struct.pack("@Nii", socket.CMSG_LEN(data_size), *kind)
        self._blank = np.frombuffer(head.ljust(self.size, b"\0"), np.uint8)
        self._numbers: dict[bytes, int] = {}
        self._controls: ByteArray = np.zeros((1, self.size), np.uint8)
        self._column = _V6_NUMBER if is_v6 else _V4_NUMBER

    def note(self, controls: ByteArray, peers: ByteArray) -> None:
        """Write the number of each datagram's destination into its peer's row.

        controls   (n, size) as the kernel filled them
        peers      (n, PEER_SIZE), changed in place
        """
        found = np.ascontiguousarray(controls[:, self._place])
        if (found == found[0]).all():  # nearly every host, nearly always
            numbers = np.full(len(found), self._number(found[0].tobytes()), np.uint32)
        else:
            each = [self._number(row.tobytes()) for row in found]
            numbers = np.array(each, np.uint32)
        peers[:, self._column] = numbers[:, None].view(np.uint8)

    def controls(self, peers: ByteArray) -> tuple[ByteArray, npt.NDArray[np.uint64]]:
        """Return control data (k, size) that sends from the noted addresses, and its sizes (k,).

        The size is 0 where the kernel shall choose.
        """
        is_v6 = peers[:, :2].copy().view(np.uint16) == FAMILY_V6
        raw = np.where(is_v6, peers[:, _V6_NUMBER], peers[:, _V4_NUMBER])
        numbers = np.ascontiguousarray(raw).view(np.uint32)[:, 0]
        numbers = np.where(numbers < len(self._controls), numbers, 0)
        sizes = np.where(numbers > 0, self.size, 0).astype(np.uint64)
        return self._controls[numbers], sizes

    def _number(self, address: bytes) -> int:
        number = self._numbers.get(address)
        if number is None:
            if len(self._numbers) == HOMES_MAX:
                return 0
            number = self._numbers[address] = len(self._numbers) + 1
            control = self._blank.copy()
            control[self._place] = np.frombuffer(address, np.uint8)
            self._controls = np.concatenate((self._controls, control[None]))
        return number


def homes_of(listener: socket.socket) -> LocalAddresses | None:
    """Return the homes of a socket that hears several addresses; None for one bound to one."""
    if listener.getsockname()[0] not in {"0.0.0.0", "::"}:  # noqa: S104  compared, not bound
        return None
    return LocalAddresses(listener)
