"""The record of 64 bytes: 48 authenticated bytes and a tag of 16, protocol version 1.

A datagram holds 1 to 22 records. All integers are little-endian, because every machine we meet
is, and numpy then views a batch of records in place. 48 bytes plus the padding of SHA-256 are
exactly one block after the key's block, so a tag costs two compressions with a prepared key.

    offset size field        meaning
    0      2    magic        0x42 0x57, "BW"
    2      1    version      1
    3      1    kind         see `Kind`
    4      4    slot         the monitor's index for this node, a hint; 0xFFFFFFFF: not known
    8      4    interval_ms  the next heartbeat is promised within this time of this one's due time
    12     1    status       heartbeat, probe reply: `Health`; goodbye: `Farewell`; otherwise 0
    13     1    flags        see `Flag`
    14     2    cpu          hundredths of a percent, 0xFFFF: not measured; goodbye: exit code
    16     8    node         identity of the node, see `keys.node_id`
    24     8    incarnation  one life of the node; larger is newer; below 2^63
    32     8    sequence     index of this heartbeat on the sender's schedule; below 2^62
    40     2    memory       hundredths of a percent, 0xFFFF: not measured
    42     2    load         hundredths of a runnable process, 0xFFFF: not measured
    40     4    exit code    goodbye with the flag WIDE_CODE: its lower 32 bits
    40     4    wish         acknowledgement: see `wish_ms`
    44     4    echo         what the last acknowledgement or probe carried here; 0: none yet
    48     16   tag          HMAC-SHA256 of bytes 0..47 under the node's key, first 16 bytes

A monitor that has restarted, or meets a new life of a node, believes nothing before that life
has echoed a number which the monitor drew for this session: so a heartbeat recorded earlier and
played again changes nothing, although sequence numbers are never written to disk.
"""

import hmac
import struct
from dataclasses import dataclass, replace
from enum import IntEnum, IntFlag

from beatward.errors import MalformedRecord

MAGIC = b"BW"
VERSION = 1
RECORD_SIZE = 64
BODY_SIZE = 48
TAG_SIZE = 16
# 22 records are 1408 bytes: they fit the smallest MTU in common use (1500, less IPv6 and a tunnel).
RECORDS_MAX = 22
DATAGRAM_SIZE_MAX = RECORDS_MAX * RECORD_SIZE

NO_SLOT = 0xFFFFFFFF
NO_GAUGE = 0xFFFF
INCARNATION_MAX = 2**63 - 1
SEQUENCE_MAX = 2**62 - 1
INTERVAL_MS_MAX = 2**32 - 1
# In the place of memory and load: "not measured" of both, as monitors without wishes have it.
NO_WISH = 0xFFFFFFFF
# Sessions have numbers up to here and what suspects are asked for lies above, so that no recorded
# answer to a probe can ever pass for the proof of a life in a later session.
SESSION_MAX = 2**31 - 1
# What a goodbye can carry: codes of POSIX, and those of Windows with a sign or without.
EXIT_CODE_MIN = -(2**31)
EXIT_CODE_MAX = 2**32 - 1
# Minus the number of a signal is at least this; what is less is the exit code of a process.
SIGNAL_MIN = -64

_BODY = struct.Struct("<2sBBIIBBHQQQHHI")
assert _BODY.size == BODY_SIZE


class Kind(IntEnum):
    """What a record is; the kind is under the tag, so a record cannot be turned round."""

    HEARTBEAT = 1
    ACKNOWLEDGEMENT = 2
    PROBE = 3
    PROBE_REPLY = 4
    GOODBYE = 5
    STANDING = 6  # agent to monitor, see `roles`
    GRANT = 7  # monitor to agent, see `roles`


class Health(IntEnum):
    """What a node says of itself in a heartbeat."""

    WELL = 0
    ILL = 1


class Farewell(IntEnum):
    """Why a node says goodbye."""

    LEFT = 0
    EXITED = 1


class Flag(IntFlag):
    """Single wishes; unknown bits are ignored."""

    ACKNOWLEDGE = 1  # agent to monitor: please acknowledge
    MAIL = 2  # monitor to agent: an action waits for you, fetch it over HTTP
    RELAYED = 4  # made for a relay over HTTP; in datagrams it means nothing
    SLOWING = 8  # agent to monitor: what I promise here is longer than what is in force
    STARTED = 16  # a word of the bare URL: a job began a run
    WIDE_CODE = 32  # goodbye: bytes 40 to 43 are the exit code, which 16 bits do not hold


@dataclass(frozen=True, slots=True)
class Record:
    """One record, decoded. Fields as in the table of this module."""

    kind: Kind
    node: int
    incarnation: int
    sequence: int
    interval_ms: int
    slot: int = NO_SLOT
    status: int = 0
    flags: int = 0
    cpu: int = NO_GAUGE
    memory: int = NO_GAUGE
    load: int = NO_GAUGE
    echo: int = 0

    @property
    def wish_ms(self) -> int | None:
        """The interval that the sender of an acknowledgement wishes for; None: no other one."""
        wish = self.memory | self.load << 16
        return None if wish in (0, NO_WISH) else wish


def tag(key: bytes, body: bytes) -> bytes:
    """Return the 16 bytes that authenticate a body of 48 under a node's key."""
    return hmac.digest(key, body, "sha256")[:TAG_SIZE]


def pack(record: Record) -> bytes:
    """Write the 48 bytes that a tag authenticates."""
    return _BODY.pack(
        MAGIC,
        VERSION,
        record.kind,
        record.slot,
        record.interval_ms,
        record.status,
        record.flags,
        record.cpu,
        record.node,
        record.incarnation,
        record.sequence,
        record.memory,
        record.load,
        record.echo,
    )


def seal(record: Record, key: bytes) -> bytes:
    """Write a record and its tag: 64 bytes, ready for the wire."""
    body = pack(record)
    return body + tag(key, body)


def open_record(data: bytes, key: bytes) -> Record:
    """Check and read one record of exactly 64 bytes.

    Raises MalformedRecord when length, magic, version, kind, a range or the tag is not right.
    The monitor never calls this on what arrives: it works on batches (`core.intake`).
    """
    if len(data) != RECORD_SIZE:
        raise MalformedRecord(f"a record has {RECORD_SIZE} bytes, not {len(data)}")
    body = data[:BODY_SIZE]
    magic, version, kind, slot, interval_ms, status, flags, cpu, node, *rest = _BODY.unpack(body)
    if magic != MAGIC:
        raise MalformedRecord("this is not a beatward record")
    if version != VERSION:
        raise MalformedRecord(f"version {version} is spoken here as {VERSION}")
    if not hmac.compare_digest(tag(key, body), data[BODY_SIZE:]):
        raise MalformedRecord("the tag does not fit the node's key")
    incarnation, sequence, memory, load, echo = rest
    if kind not in Kind.__members__.values():
        raise MalformedRecord(f"kind {kind} is not known")
    if incarnation > INCARNATION_MAX or sequence > SEQUENCE_MAX:
        raise MalformedRecord("incarnation or sequence is out of range")
    return Record(
        kind=Kind(kind),
        node=node,
        incarnation=incarnation,
        sequence=sequence,
        interval_ms=interval_ms,
        slot=slot,
        status=status,
        flags=flags,
        cpu=cpu,
        memory=memory,
        load=load,
        echo=echo,
    )


def newer_life(node: int, key: bytes, *, incarnation: int, session: int) -> bytes:
    """Seal what tells a node that a newer life of it is known: it must go on with a higher one.

    incarnation   of the life that is known
    """
    known = Record(Kind.ACKNOWLEDGEMENT, node, incarnation, 0, 0, echo=session)
    return seal(known, key)


def gauge(value: float | None) -> int:
    """Write percent (12.5) or a load average (1.5) as hundredths; what was not measured has none.

    Too much is written as the most that fits, less than nothing as nothing.
    """
    if value is None or value != value:  # noqa: PLR0124  NaN is not equal to itself
        return NO_GAUGE
    # Bounded first: infinity cannot be rounded.
    return round(max(0.0, min(value * 100, float(NO_GAUGE - 1))))


def with_exit_code(record: Record, code: int) -> Record:
    """Return a goodbye that carries a process's exit code, or minus its signal.

    A code beyond 32 bits is written as the nearest that fits.
    """
    code = max(EXIT_CODE_MIN, min(code, EXIT_CODE_MAX))
    field = exit_code_field(code)
    if exit_code_from_field(field) == code:
        return replace(record, cpu=field)
    # The 16 bits keep the nearest that fits, for monitors which read no other, and the sign.
    load, memory = divmod(code & EXIT_CODE_MAX, 2**16)
    flags = record.flags | Flag.WIDE_CODE
    return replace(record, flags=flags, cpu=field, memory=memory, load=load)


def exit_code_of(flags: int, cpu: int, memory: int, load: int) -> int:
    """Read what `with_exit_code` wrote into the fields of a goodbye."""
    near = exit_code_from_field(cpu)
    if not flags & Flag.WIDE_CODE:
        return near
    return (memory | load << 16) - (2**32 if near < 0 else 0)


def exit_code_field(code: int) -> int:
    """Write an exit code, or minus a signal, as the 16-bit field of a goodbye: the nearest."""
    return max(-32768, min(code, 32767)) & 0xFFFF


def exit_code_from_field(field: int) -> int:
    """Read what `exit_code_field` wrote."""
    return field - 0x10000 if field >= 0x8000 else field
