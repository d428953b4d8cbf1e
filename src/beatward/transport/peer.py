"""Who sent a datagram: raw socket addresses of 28 bytes, and their forms for people and Python.

    offset size  IPv4                            IPv6
    0      2     family 2, the machine's order   family 10, the machine's order
    2      2     port, big-endian                port, big-endian
    4      4     address                         flow label; here a number, see `homes`
    8      16    zeros, and at 16 as beside      address
    24     4     zeros                           scope, the machine's order

This is what Linux writes, so the quick wire hands the kernel's own bytes on untouched. Elsewhere
the slow wire writes the same, so that a journal kept on one system can be read on another. All
zeros means that there is nowhere to answer to.
"""

import socket
import struct
import sys
from typing import Any

import numpy as np

from beatward.core.arrays import ByteArray
from beatward.core.peers import PEER_SIZE

# Linux's numbers on every system, see above.
FAMILY_V4 = 2
FAMILY_V6 = 10
_V4 = struct.Struct("=H2s4s")
_V6 = struct.Struct("=H2s4x16sI")
V4_SIZE = 16  # of the 28, as the kernel counts an IPv4 address
assert _V6.size == PEER_SIZE
# An IPv6 socket that also takes IPv4 shows 1.2.3.4 as ::ffff:1.2.3.4 (RFC 4291, 2.5.5.2).
_MAPPED = b"\0" * 10 + b"\xff\xff"


def pack_peer(address: tuple[Any, ...]) -> bytes:
    """Write an address as Python's sockets give it: (host, port) or (host, port, flow, scope).

    Raises ValueError when the host is not a numeric address; names are looked up elsewhere.
    """
    host, port = str(address[0]), int(address[1])
    bare, _, zone = host.partition("%")
    try:
        port_bytes = port.to_bytes(2, "big")
        if ":" not in bare:
            packed = _V4.pack(FAMILY_V4, port_bytes, socket.inet_pton(socket.AF_INET, bare))
            return packed.ljust(PEER_SIZE, b"\0")
        scope = address[3] if len(address) > 3 else _scope(zone)
        return _V6.pack(FAMILY_V6, port_bytes, socket.inet_pton(socket.AF_INET6, bare), scope)
    except (OSError, OverflowError, struct.error) as error:
        raise ValueError(f"{address!r} is not a numeric address with a port") from error


def peer_row(address: tuple[Any, ...]) -> ByteArray:
    """Return an address as a row (28,) for `Replies.peers`; raises ValueError as `pack_peer`."""
    return np.frombuffer(pack_peer(address), np.uint8)


def unpack_peer(row: ByteArray | bytes) -> tuple[str, int, int] | None:
    """Read (host, port, scope) of a row; None when it holds no address.

    IPv4 that came through an IPv6 socket is given as plain IPv4, because that is what the
    node's owner knows it by.
    """
    raw = bytes(row)
    if len(raw) != PEER_SIZE:
        return None
    family = int.from_bytes(raw[:2], sys.byteorder)
    port = int.from_bytes(raw[2:4], "big")
    if family == FAMILY_V4:
        return socket.inet_ntop(socket.AF_INET, raw[4:8]), port, 0
    if family != FAMILY_V6:
        return None
    host, scope = raw[8:24], int.from_bytes(raw[24:28], sys.byteorder)
    if host.startswith(_MAPPED):
        return socket.inet_ntop(socket.AF_INET, host[12:]), port, 0
    return socket.inet_ntop(socket.AF_INET6, host), port, scope


def peer_text(row: ByteArray | bytes) -> str:
    """Print a row as `1.2.3.4:5678` or `[::1]:5678`; a row without address is the empty string."""
    found = unpack_peer(row)
    if found is None:
        return ""
    host, port, scope = found
    if ":" not in host:
        return f"{host}:{port}"
    return f"[{host}%{scope}]:{port}" if scope else f"[{host}]:{port}"


def socket_address(row: ByteArray | bytes, family: int) -> tuple[Any, ...] | None:
    """Return what `socket.sendto` of a socket of a family wants; None when the row has none.

    family   socket.AF_INET or socket.AF_INET6, as this system numbers them
    """
    found = unpack_peer(row)
    if found is None:
        return None
    host, port, scope = found
    if family == socket.AF_INET6:
        return (host if ":" in host else f"::ffff:{host}", port, 0, scope)
    return (host, port)


def _scope(zone: str) -> int:
    if not zone:
        return 0
    return int(zone) if zone.isdigit() else socket.if_nametoindex(zone)
