"""Where each node speaks from: its address, and the one it had before.

An adversary may record a heartbeat that the network lost and send it from its own address; the true
one is then the one before, and probes go to both (seed 49).

An address is the raw bytes the kernel gives. The first eight say all of an IPv4 address, so only
they are compared and kept for most fleets: rows that are never written take no memory.
"""

import ipaddress

import numpy as np
import numpy.typing as npt

from beatward.core.arrays import ByteArray, IntArray, Rows

# A raw socket address as the kernel writes it: sockaddr_in6 is the largest we meet, 28 bytes.
PEER_SIZE = 28
# Linux's numbers on every system, see `transport.peer`; the other of the two bytes is zero.
_FAMILY_V4, _FAMILY_V6 = 2, 10
_HEAD_SIZE = 8
_MAPPED = bytes(10) + b"\xff\xff"


class Peers(Rows):
    """Two addresses a slot; all zeros is none."""

    ROWS = ("_head", "_tail", "_head_before", "_tail_before")

    def __init__(self, capacity: int) -> None:
        self._head = np.zeros(capacity, np.uint64)
        self._tail = np.zeros((capacity, PEER_SIZE - _HEAD_SIZE), np.uint8)
        self._head_before = np.zeros(capacity, np.uint64)
        self._tail_before = np.zeros((capacity, PEER_SIZE - _HEAD_SIZE), np.uint8)
        self._has_tails = False

    def of(self, slots: IntArray) -> ByteArray:
        """Return the addresses (k, PEER_SIZE) that slots spoke from last."""
        return _joined(self._head[slots], self._tail[slots])

    def before(self, slots: IntArray) -> ByteArray:
        """Return the addresses (k, PEER_SIZE) before those."""
        return _joined(self._head_before[slots], self._tail_before[slots])

    def note(self, slots: IntArray, peers: ByteArray) -> None:
        """Take the addresses (k, PEER_SIZE) that slots spoke from."""
        head = np.ascontiguousarray(peers[:, :_HEAD_SIZE]).view(np.uint64)[:, 0]
        tail = peers[:, _HEAD_SIZE:]
        self._has_tails = self._has_tails or bool(tail.any())
        moved = self._head[slots] != head
        if self._has_tails:
            moved |= (self._tail[slots] != tail).any(axis=1)
        if not moved.any():
            return
        changed = slots[moved]
        was_known = self._head[changed] != 0
        known = changed[was_known]
        self._head_before[known] = self._head[known]
        self._head[changed] = head[moved]
        if self._has_tails:
            self._tail_before[known] = self._tail[known]
            self._tail[changed] = tail[moved]

    def settle(self, slots: IntArray) -> None:
        """Forget the addresses before: these nodes have just answered from those they have now."""
        held = slots[self._head_before[slots] != 0]
        self._head_before[held] = 0
        self._tail_before[held] = 0

    def clear(self, slots: IntArray) -> None:
        """Forget where slots can be reached."""
        held = slots[self._head[slots] != 0]
        self._head[held] = 0
        self._tail[held] = 0
        self.settle(slots)


def _joined(head: npt.NDArray[np.uint64], tail: ByteArray) -> ByteArray:
    return np.hstack((head.reshape(-1, 1).view(np.uint8), tail))


def host_of(raw: bytes) -> bytes:
    """Return the machine's part of a raw socket address; empty: it holds none.

    That is 4 bytes for IPv4, whichever kind of socket it came through, and address and scope for
    IPv6. Neither the port is in it nor the number of our own address (`transport.homes`), which is
    another one after a restart of the monitor and on another of its sockets.
    """
    family = max(raw[:2], default=0)
    if family == _FAMILY_V4:
        return raw[4:8]
    if family != _FAMILY_V6:
        return b""
    return raw[20:24] if raw[8:20] == _MAPPED else raw[8:28]


def shown_address(raw: bytes) -> str:
    """Print a raw socket address as `1.2.3.4:5678` or `[::1]:5678`; "" where it holds none."""
    family, port = max(raw[:2], default=0), int.from_bytes(raw[2:4], "big")
    if len(raw) != PEER_SIZE or family not in (_FAMILY_V4, _FAMILY_V6):
        return ""
    if family == _FAMILY_V4:
        return f"{ipaddress.IPv4Address(raw[4:8])}:{port}"
    host = ipaddress.IPv6Address(raw[8:24])
    # IPv4 that came through an IPv6 socket is known by its owner as IPv4.
    return f"{host.ipv4_mapped}:{port}" if host.ipv4_mapped else f"[{host}]:{port}"
