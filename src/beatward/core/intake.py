"""A batch of datagrams -> authenticated arrays, and rejects counted by reason.

Cheap checks come first (length, magic, version, kind, range), then the slot, then the tag; a bad
record is counted and never raised, and nothing of it is believed. What comes out has been said by
the node it names, but may still be old: replay is judged in `core.registry`, which knows the
sequence. Route: `Datagrams -> Intake.open -> Heartbeats`.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from beatward.core.instants import MILLISECOND
from beatward.core.protocol import record
from beatward.core.registry import Registry

IntArray = npt.NDArray[np.int64]
ByteArray = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]

# A raw socket address as the kernel writes it: sockaddr_in6 is the largest we meet, 28 bytes.
PEER_SIZE = 28

RECORD = np.dtype(
    [
        ("magic", "S2"),
        ("version", "u1"),
        ("kind", "u1"),
        ("slot", "<u4"),
        ("interval_ms", "<u4"),
        ("status", "u1"),
        ("flags", "u1"),
        ("cpu", "<u2"),
        ("node", "<u8"),
        ("incarnation", "<u8"),
        ("sequence", "<u8"),
        ("memory", "<u2"),
        ("load", "<u2"),
        ("echo", "<u4"),
        ("tag", "V16"),
    ]
)
assert RECORD.itemsize == record.RECORD_SIZE


class Via(IntEnum):
    """How a batch came in; it decides which replies are possible and what a sequence means."""

    UDP = 0
    HTTP = 1  # a JSON heartbeat; the caller packed and sealed it, replies go back as JSON
    PING = 2  # the bare URL: no sequence of its own, each request is a heartbeat


class Reject(IntEnum):
    """Why a record changed nothing. The names are the labels in /metrics."""

    LENGTH = 0
    MAGIC = 1
    VERSION = 2
    KIND = 3
    RANGE = 4
    UNKNOWN_NODE = 5
    TAG = 6
    OLD_LIFE = 7
    UNPROVEN = 8
    REPLAY = 9
    LATE_REPLY = 10


@dataclass(frozen=True, slots=True)
class Datagrams:
    """One drain of one door. The arrays are views, valid until the door's next drain.

    rows        (n, width) uint8, one datagram a row, width a multiple of 64
    sizes       (n,) length of each; larger than the width where it was cut
    peers       (n, PEER_SIZE) raw socket addresses, zeros where there is none
    arrived_ns  (n,) on the monitor's clock, non-decreasing
    """

    rows: ByteArray
    sizes: IntArray
    peers: ByteArray
    arrived_ns: IntArray
    via: Via = Via.UDP


@dataclass(frozen=True, slots=True)
class Heartbeats:
    """Authenticated records as arrays, in order of arrival; (m,) each, peers (m, PEER_SIZE)."""

    slots: IntArray
    records: npt.NDArray[np.void]
    peers: ByteArray
    arrived_ns: IntArray
    via: Via

    def take(self, index: IntArray | BoolArray) -> "Heartbeats":
        """Return the rows an index or a mask selects."""
        return Heartbeats(
            self.slots[index],
            self.records[index],
            self.peers[index],
            self.arrived_ns[index],
            self.via,
        )


@dataclass(frozen=True, slots=True)
class Replies:
    """Sealed records to send, one datagram each, and where: (k, 64) and (k, PEER_SIZE) uint8."""

    rows: ByteArray
    peers: ByteArray


class Intake:
    """Opens batches; owns the counters of what was refused."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.rejects: IntArray = np.zeros(len(Reject), np.int64)
        self.records_count = 0

    def refuse(self, reason: Reject, count: int) -> None:
        """Count records that a later stage turned away."""
        self.rejects[reason] += count

    def open(self, datagrams: Datagrams) -> Heartbeats:
        """Check, find and authenticate a batch; raises nothing."""
        records, source = _split(datagrams)
        self.refuse(Reject.LENGTH, _misshapen(datagrams))
        self.records_count += len(records)
        kept = self._keep_well_formed(records)
        records, source = records[kept], source[kept]
        slots = self._registry.find(records["slot"], records["node"])
        known = slots >= 0
        self.refuse(Reject.UNKNOWN_NODE, int(len(slots) - known.sum()))
        records, source, slots = records[known], source[known], slots[known]
        # With the extension 80 ns a record; in Python 1.5 us, most of a heartbeat's cost.
        genuine = self._registry.tags.verify(records, slots, self._registry.secret)
        self.refuse(Reject.TAG, int(len(slots) - genuine.sum()))
        source = source[genuine]
        return Heartbeats(
            slots[genuine],
            records[genuine],
            datagrams.peers[source],
            datagrams.arrived_ns[source],
            datagrams.via,
        )

    def _keep_well_formed(self, records: npt.NDArray[np.void]) -> BoolArray:
        kept = np.ones(len(records), np.bool_)
        checks = (
            (Reject.MAGIC, records["magic"] == record.MAGIC),
            (Reject.VERSION, records["version"] == record.VERSION),
            (Reject.KIND, _FROM_AGENT[records["kind"]]),
            (
                Reject.RANGE,
                (records["incarnation"] <= record.INCARNATION_MAX)
                & (records["sequence"] <= record.SEQUENCE_MAX)
                & (records["interval_ms"] > 0),
            ),
        )
        for reason, passed in checks:
            self.refuse(reason, int((kept & ~passed).sum()))
            kept &= passed
        return kept


# What a monitor takes in; an acknowledgement or a probe sent to a monitor is a mistake or an
# attempt to turn its own words against it.
_FROM_AGENT = np.zeros(256, np.bool_)
_FROM_AGENT[[record.Kind.HEARTBEAT, record.Kind.PROBE_REPLY, record.Kind.GOODBYE]] = True


def _shaped(datagrams: Datagrams) -> BoolArray:
    sizes = datagrams.sizes
    fits = (sizes > 0) & (sizes <= min(datagrams.rows.shape[1], record.DATAGRAM_SIZE_MAX))
    shaped: BoolArray = fits & (sizes % record.RECORD_SIZE == 0)
    return shaped


def _misshapen(datagrams: Datagrams) -> int:
    return int(len(datagrams.sizes) - _shaped(datagrams).sum())


def _split(datagrams: Datagrams) -> tuple[npt.NDArray[np.void], IntArray]:
    """Return all records (m,) of well-shaped datagrams and the row each came from (m,)."""
    shaped = np.flatnonzero(_shaped(datagrams))
    counts = datagrams.sizes[shaped] // record.RECORD_SIZE
    widest = int(counts.max()) if len(counts) else 1
    width = widest * record.RECORD_SIZE
    block = np.ascontiguousarray(datagrams.rows[shaped, :width])
    grid = block.reshape(len(shaped), widest, record.RECORD_SIZE)
    present = np.arange(widest) < counts[:, None]
    records = np.ascontiguousarray(grid[present]).view(RECORD).reshape(-1)
    return records, np.repeat(shaped, counts)


def interval_ns(records: npt.NDArray[np.void]) -> IntArray:
    """Return the promised intervals (m,) in nanoseconds."""
    return records["interval_ms"].astype(np.int64) * MILLISECOND
