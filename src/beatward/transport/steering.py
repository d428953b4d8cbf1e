"""Classic BPF: which of several sockets at one address the kernel gives a datagram to.

Sockets that share an address (SO_REUSEPORT) form a group, and a program of the old, small kind of
BPF, which needs no privilege, chooses the socket by the datagram itself:

    junk      -> the last socket, the sink; a filter throws away whatever reaches it
    the rest  -> the door whose number is the low half of the node's identity, modulo the doors

Junk is what the intake would count as LENGTH, MAGIC or VERSION: too short or no multiple of a
record, or a first record that does not begin as ours do. Only "too long" is left to the intake: on
the way from a sender that segments (UDP_SEGMENT, or GRO in a network card) the program meets many
datagrams in one piece, and their sum may be longer than one may be.

Why a sink and not a filter on the door itself: the kernel counts what a filter throws away in the
same number as what found the buffer full (tried on Linux 6.18: ten datagrams filtered, ten drops),
so a flood of junk would look as if honest heartbeats had been lost, and the guard would doubt
every silence. With a sink, its number is the junk and the doors' numbers are the losses.
"""

import ctypes
import socket
import struct

from beatward.core.arrays import BoolArray
from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.intake import Datagrams
from beatward.core.protocol.record import MAGIC, RECORD_SIZE, VERSION

# asm-generic/socket.h
_SO_ATTACH_FILTER = 26
_SO_ATTACH_REUSEPORT_CBPF = 51
# linux/bpf_common.h: what each step of a program does.
_LOAD_SIZE, _LOAD_WORD, _LOAD_HALF, _LOAD_BYTE = 0x80, 0x20, 0x28, 0x30
_AND, _MODULO = 0x54, 0x94
_IF_EQUAL, _IF_AT_LEAST = 0x15, 0x35
_RETURN, _RETURN_RESULT = 0x06, 0x16
# Where the identity lies in a record; BPF reads big-endian, which is as good for this.
_NODE_PLACE = 16
_HEAD = int.from_bytes(MAGIC + bytes([VERSION]), "little")

Program = tuple[tuple[int, int, int, int], ...]
NOTHING: Program = ((_RETURN, 0, 0, 0),)


def by_node(doors_count: int) -> Program:
    """Return the program that gives all of a node's datagrams to one of a number of doors."""
    if doors_count == 1:
        return NOTHING  # read as "socket 0"
    return (
        (_LOAD_WORD, 0, 0, _NODE_PLACE),
        (_MODULO, 0, 0, doors_count),
        (_RETURN_RESULT, 0, 0, 0),
    )


def without_junk(doors_count: int) -> Program:
    """Return the program that gives junk to the socket behind the doors, and the rest to them."""
    # Each step: code, steps to leap over if true, if false, number. Steps 2 to 9 judge.
    return (
        (_LOAD_SIZE, 0, 0, 0),
        (_IF_AT_LEAST, 0, 6, RECORD_SIZE),
        (_AND, 0, 0, RECORD_SIZE - 1),
        (_IF_EQUAL, 0, 4, 0),
        (_LOAD_HALF, 0, 0, 0),
        (_IF_EQUAL, 0, 2, int.from_bytes(MAGIC, "big")),
        (_LOAD_BYTE, 0, 0, len(MAGIC)),
        (_IF_EQUAL, 1, 0, VERSION),
        (_RETURN, 0, 0, doors_count),
        *by_node(doors_count),
    )


def attach_filter(listener: socket.socket, program: Program) -> None:
    """Let a program say of each datagram for a socket how much of it is kept; raises OSError."""
    _attach(listener, _SO_ATTACH_FILTER, program)


def attach_steering(listener: socket.socket, program: Program) -> None:
    """Let a program choose among all sockets that share a socket's address; raises OSError.

    The kernel numbers them in the order in which they joined. A later program takes the place of
    an earlier one at once, and no datagram falls between them.
    """
    _attach(listener, _SO_ATTACH_REUSEPORT_CBPF, program)


def _attach(listener: socket.socket, option: int, program: Program) -> None:
    steps = b"".join(struct.pack("=HBBI", *step) for step in program)
    memory = ctypes.create_string_buffer(steps, len(steps))
    value = struct.pack("@HP", len(program), ctypes.addressof(memory))
    listener.setsockopt(socket.SOL_SOCKET, option, value)


def is_junk(datagrams: Datagrams) -> BoolArray:
    """Return which datagrams (n,) the program would give to the sink."""
    sizes = datagrams.sizes
    head = datagrams.rows[:, :4].view("<u4")[:, 0]
    junk: BoolArray = (head & 0xFFFFFF) != _HEAD
    junk |= (sizes & (RECORD_SIZE - 1)) != 0
    junk |= sizes < RECORD_SIZE
    return junk


class Flood:
    """Tells by counts of junk whether it comes in floods.

    Up to BEGINS_PER_S it costs us at most a hundredth of a core, and to count it by its reason is
    worth that. A flood is over when less than ENDS_PER_S came for CALM_NS: well below the other
    bound and well after, so that the program is not put in and taken out all the time.
    """

    BEGINS_PER_S = 10_000
    ENDS_PER_S = 1_000
    CALM_NS = 10 * SECOND
    WINDOW_NS = 100 * MILLISECOND

    def __init__(self, now_ns: int) -> None:
        self.is_on = False
        self._count = 0
        self._begun_ns = self._high_ns = now_ns

    def note(self, junk_count: int, now_ns: int) -> bool:
        """Count the junk of one drain; return whether there is a flood."""
        self._count += junk_count
        lasted_ns = now_ns - self._begun_ns
        if lasted_ns < self.WINDOW_NS:
            return self.is_on
        rate = self._count * SECOND / lasted_ns
        self._count, self._begun_ns = 0, now_ns
        if rate >= (self.ENDS_PER_S if self.is_on else self.BEGINS_PER_S):
            self.is_on, self._high_ns = True, now_ns
        elif now_ns - self._high_ns >= self.CALM_NS:
            self.is_on = False
        return self.is_on
