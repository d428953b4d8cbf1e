"""A batch of datagrams -> authenticated arrays, and rejects counted by reason.

Cheap checks come first (length, magic, version, kind, range), then the slot, then the tag; a bad
record is counted and never raised, and nothing of it is believed. What comes out has been said by
the node it names, but may still be old: replay is judged in `core.registry`, which knows the
sequence. Route: `Datagrams -> Intake.open -> Heartbeats`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from beatward.core.arrays import BoolArray, ByteArray, IntArray
from beatward.core.instants import MILLISECOND
from beatward.core.protocol import record
from beatward.core.registry import Registry
from beatward.core.speakers import Speakers

AnyArray = TypeVar("AnyArray", IntArray, ByteArray)

# Name, format and offset. Some words are there twice: `head`, `condition` and `gauges` are several
# fields at once, because a field costs as much to fetch and to keep as four of them together.
_FIELDS = (
    ("head", "<u4", 0),
    ("magic", "S2", 0),
    ("version", "u1", 2),
    ("kind", "u1", 3),
    ("slot", "<u4", 4),
    ("interval_ms", "<u4", 8),
    ("condition", "<u4", 12),
    ("status", "u1", 12),
    ("flags", "u1", 13),
    ("cpu", "<u2", 14),
    ("node", "<u8", 16),
    ("incarnation", "<u8", 24),
    ("sequence", "<u8", 32),
    ("gauges", "<u4", 40),
    ("memory", "<u2", 40),
    ("load", "<u2", 42),
    ("echo", "<u4", 44),
    ("tag", "V16", 48),
)
# What is said of roles, see `core.protocol.roles`, over the same 64 bytes: head, node, incarnation
# and tag are where `RECORD` has them, and the ranges that are checked here fit the rest too.
_ROLE_FIELDS = (
    ("counter", "<u4", 8),
    ("service", "<u4", 12),
    ("node", "<u8", 16),
    ("incarnation", "<u8", 24),
    ("claim", "<u8", 32),
)


def _layout(*fields: tuple[str, str, int]) -> "np.dtype[np.void]":
    names, formats, offsets = map(list, zip(*fields, strict=True))
    size = record.RECORD_SIZE
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})


RECORD = _layout(*_FIELDS)
ROLE_REPORT = _layout(*_ROLE_FIELDS, ("freshness", "<u8", 40))
GRANT = _layout(*_ROLE_FIELDS, ("lease_ms", "<u4", 40), ("demote_ms", "<u4", 44))


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
    NO_MEMBER = 11  # a standing about a service that the node does not offer


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
    """Authenticated records as arrays, in order of arrival; (m,) each, peers (m, PEER_SIZE).

    source   which datagram of the batches each came in
    """

    slots: IntArray
    records: npt.NDArray[np.void]
    peers: ByteArray
    arrived_ns: IntArray
    source: IntArray
    via: Via

    def take(self, mask: BoolArray) -> "Heartbeats":
        """Return the rows that a mask (m,) selects; if it is all of them, nothing is copied."""
        return self if mask.all() else self.at(mask.nonzero()[0])

    def at(self, index: IntArray) -> "Heartbeats":
        """Return the rows with these numbers."""
        # `take` copies a record as 64 bytes, in 2 ns; `[]` copies it field by field, in 110 ns.
        return Heartbeats(
            self.slots[index],
            self.records.take(index),
            self.peers.take(index, axis=0),
            self.arrived_ns[index],
            self.source[index],
            self.via,
        )


@dataclass(frozen=True, slots=True)
class Replies:
    """Sealed records to send, and where: (k, 64) and (k, PEER_SIZE) uint8.

    begins   (k,) whether a record begins a datagram; it is in that of the one before otherwise
    """

    rows: ByteArray
    peers: ByteArray
    begins: BoolArray


class Intake:
    """Opens batches; owns the counters of what was refused, and `speakers`: who is not known."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.speakers = Speakers(registry)
        self.rejects: IntArray = np.zeros(len(Reject), np.int64)
        self.records_count = 0

    def refuse(self, reason: Reject, count: int) -> None:
        """Count records that a later stage turned away."""
        self.rejects[reason] += count

    def open(self, batches: Sequence[Datagrams]) -> Heartbeats:
        """Check, find and authenticate batches that came in one way; raises nothing.

        All together, for a step over a thousand rows costs hardly more than one over a hundred.
        """
        records, source = self._split(batches)
        self.records_count += len(records)
        kept = self._keep_well_formed(records)
        if not kept.all():
            records, source = records.compress(kept), source[kept]
        slots = self._registry.find(records["slot"], records["node"])
        known = slots >= 0
        if not known.all():
            self._turn_away(Reject.UNKNOWN_NODE, ~known, records, source, batches)
            records, source, slots = records.compress(known), source[known], slots[known]
        # With the extension 80 ns a record; in Python 1.5 us, most of a heartbeat's cost.
        genuine = self._registry.tags.verify(records, slots, self._registry.secret)
        if not genuine.all():
            self._turn_away(Reject.TAG, ~genuine, records, source, batches)
            records, source = records.compress(genuine), source[genuine]
            slots = slots[genuine]
        peers = _joined([batch.peers for batch in batches]).take(source, axis=0)
        arrived_ns = _joined([batch.arrived_ns for batch in batches])[source]
        return Heartbeats(slots, records, peers, arrived_ns, source, batches[0].via)

    def _turn_away(
        self,
        reason: Reject,
        refused: BoolArray,
        records: npt.NDArray[np.void],
        source: IntArray,
        batches: Sequence[Datagrams],
    ) -> None:
        """Count records (m,) that are not from a node that is enrolled, and note who speaks."""
        self.refuse(reason, int(refused.sum()))
        source = source[refused]
        peers = np.concatenate([batch.peers for batch in batches])[source]
        arrived_ns = np.concatenate([batch.arrived_ns for batch in batches])[source]
        self.speakers.hear(records.compress(refused), peers, arrived_ns)

    def _split(self, batches: Sequence[Datagrams]) -> tuple[npt.NDArray[np.void], IntArray]:
        """Return all records (m,) of well-shaped datagrams, and of all the datagrams of all batches
        in a row, which one each came from (m,).
        """
        size = record.RECORD_SIZE
        if all((batch.sizes == size).all() for batch in batches):
            single = np.concatenate([batch.rows[:, :size] for batch in batches])
            return single.view(RECORD).reshape(-1), np.arange(len(single))
        blocks, sources, begin = [], [], 0
        for batch in batches:
            block, source = self._split_one(batch)
            blocks.append(block)
            sources.append(source + begin)
            begin += len(batch.sizes)
        # Joined as bytes: of records with words that lie over each other numpy would make others.
        return np.concatenate(blocks).view(RECORD).reshape(-1), np.concatenate(sources)

    def _split_one(self, datagrams: Datagrams) -> tuple[ByteArray, IntArray]:
        sizes, rows = datagrams.sizes, datagrams.rows
        fits = (sizes > 0) & (sizes <= min(rows.shape[1], record.DATAGRAM_SIZE_MAX))
        shaped = np.flatnonzero(fits & (sizes % record.RECORD_SIZE == 0))
        self.refuse(Reject.LENGTH, len(sizes) - len(shaped))
        counts = sizes[shaped] // record.RECORD_SIZE
        widest = int(counts.max()) if len(counts) else 1
        block = rows[shaped, : widest * record.RECORD_SIZE].reshape(-1, record.RECORD_SIZE)
        present = (np.arange(widest) < counts[:, None]).reshape(-1)
        return block if present.all() else block[present], np.repeat(shaped, counts)

    def _keep_well_formed(self, records: npt.NDArray[np.void]) -> BoolArray:
        head, kind = records["head"], records["kind"]
        in_range = (
            (records["incarnation"] <= record.INCARNATION_MAX)
            & (records["sequence"] <= record.SEQUENCE_MAX)
            # A standing has its counter there, and a last word's is 0.
            & ((records["interval_ms"] > 0) | (kind == _STANDING))
        )
        is_ours = (head & _HEAD_MASK) == _HEAD
        kept: BoolArray = is_ours & _FROM_AGENT[kind] & in_range
        if kept.all():
            return kept
        kept[:] = True
        checks = (
            (Reject.MAGIC, records["magic"] == record.MAGIC),
            (Reject.VERSION, records["version"] == record.VERSION),
            (Reject.KIND, _FROM_AGENT[kind]),
            (Reject.RANGE, in_range),
        )
        for reason, passed in checks:
            self.refuse(reason, int((kept & ~passed).sum()))
            kept &= passed
        return kept


# What a monitor takes in; an acknowledgement or a probe sent to a monitor is a mistake or an
# attempt to turn its own words against it.
_FROM_AGENT = np.zeros(256, np.bool_)
_FROM_AGENT[
    [record.Kind.HEARTBEAT, record.Kind.PROBE_REPLY, record.Kind.GOODBYE, record.Kind.STANDING]
] = True


_STANDING = int(record.Kind.STANDING)

# Magic and version as they stand in the first three bytes of `head`.
_HEAD_MASK = np.uint32(0x00FF_FFFF)
_HEAD = np.uint32(int.from_bytes(record.MAGIC + bytes((record.VERSION,)), "little"))


def _joined(arrays: list[AnyArray]) -> AnyArray:
    """Put arrays one below the other; a turn with few heartbeats has one batch."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def interval_ns(records: npt.NDArray[np.void]) -> IntArray:
    """Return the promised intervals (m,) in nanoseconds."""
    return records["interval_ms"].astype(np.int64) * MILLISECOND
