"""Identity -> slot: a dense index into every array of the monitor, and the life of each node.

A node is a row: identity, name, the secret of its tags, current incarnation and whether it has
proved itself in this session, highest sequence heard, what it said of itself. Slots of forgotten
nodes are used again. Not here: what a status is (`core.membership`) and deadlines (`detect`).

Arrays begin as zeros and are written when a slot is taken, because zeros that were never written
cost no memory: so the room for four million nodes can be kept as soon as a fleet is large, and from
then on the wheel never stops to copy. Until there it doubles, which takes 8 ms at the most.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import overload

import numpy as np
import numpy.typing as npt

from beatward.core.arrays import BoolArray, IntArray, NodeArray, Rows
from beatward.core.index import SlotIndex
from beatward.core.instants import MILLISECOND
from beatward.core.peers import Peers
from beatward.core.protocol.keys import node_id, node_key
from beatward.core.protocol.record import NO_GAUGE
from beatward.core.tags import FASTEST, Tags

_CAPACITY_MIN = 1024
_LEAP = 65_536
_CAPACITY_LARGE = 1 << 22
NO_VIA = 255  # never heard
_NO_EPOCHS: Mapping[int, int] = {}
# How many forgotten nodes are remembered, for at most 16 MB; see `Registry.forget`.
PAST_MAX = 65_536
ZONES_MAX = 65_536

# The words of a record that hold several fields at once, see `core.intake.RECORD`.
_CONDITION = np.dtype([("status", "u1"), ("flags", "u1"), ("cpu", "<u2")])
_GAUGES = np.dtype([("memory", "<u2"), ("load", "<u2")])
_NO_CONDITION = int.from_bytes(bytes(2) + NO_GAUGE.to_bytes(2, "little"), "little")
_YES = np.ones(1, np.bool_)
_YES.setflags(write=False)
_NO_GAUGES = int.from_bytes(2 * NO_GAUGE.to_bytes(2, "little"), "little")


class Registry(Rows):
    """The arrays of identity. Public arrays are read by every room, written only here."""

    ROWS = (
        *("node", "secret", "incarnation", "proven", "sequence", "interval_ms", "heard_ns"),
        *("via", "zone", "condition", "gauges", "wish_ms", "pace_class"),
        *("_scratch", "_text_start", "_text_size"),
    )
    SHARED = ("node", "incarnation", "proven", "zone", "_text_start", "_text_size")
    TABLES = ("labels", "zones", "_zone_numbers", "_index", "_free", "_past")

    def __init__(
        self,
        master: bytes,
        *,
        epochs: Mapping[int, int] = _NO_EPOCHS,
        past_max: int = PAST_MAX,
        tags: Tags = FASTEST,
    ) -> None:
        self._master = master
        self._epochs = dict(epochs)
        self.tags = tags
        self._past_max = past_max
        self.capacity = capacity = _CAPACITY_MIN
        self.count = 0  # slots ever used; free ones lie below it
        self.labels: dict[int, Mapping[str, str]] = {}
        # The label `zone` as a number, because guards count by it; 0 for nodes without one.
        self.zones: list[str] = [""]
        self._zone_numbers: dict[str, int] = {"": 0}
        self._index = SlotIndex()
        self._free: list[int] = []
        self._past: dict[int, tuple[int, int, bool]] = {}
        self.node = np.zeros(capacity, np.uint64)
        self.incarnation = np.zeros(capacity, np.int64)
        self.proven = np.zeros(capacity, np.bool_)
        self.sequence = np.zeros(capacity, np.int64)
        self.interval_ms = np.zeros(capacity, np.uint32)
        self.heard_ns = np.zeros(capacity, np.int64)
        self.via = np.zeros(capacity, np.uint8)
        self.zone = np.zeros(capacity, np.uint16)
        self.condition = np.zeros(capacity, "<u4")
        self.gauges = np.zeros(capacity, "<u4")
        # What `pace` asks of a node and takes it for; zero where it is not asked.
        self.wish_ms = np.zeros(capacity, np.uint32)
        self.pace_class = np.zeros(capacity, np.uint8)
        # What `tags` made of each key; the keys themselves can be derived again and are not kept.
        self.secret = np.zeros((capacity, tags.secret_size), np.uint8)
        self.peers = Peers(capacity)
        self._scratch = np.zeros(capacity, np.uint32)
        # All names one after the other. It is only ever added to, so snapshots may share it.
        self._text = bytearray()
        self._text_start = np.zeros(capacity, np.uint32)
        self._text_size = np.zeros(capacity, np.uint8)

    def freeze(self) -> "Registry":
        """Return a copy for readers in other threads: without keys, and without addresses."""
        twin = self.cut(self.count, without=("secret", "_scratch"))
        twin.peers = Peers(0)
        twin.drop_master()
        return twin

    def drop_master(self) -> None:
        """Let no key be derived from here any more."""
        self._master = b""

    @property
    def names(self) -> "Names":
        """The name in each slot; empty where it is free."""
        return Names(self._text, self._text_start, self._text_size, self.count)

    @property
    def health(self) -> npt.NDArray[np.uint8]:
        """What each node says of itself, `record.Health`."""
        return self.condition.view(_CONDITION)["status"]

    @property
    def cpu(self) -> npt.NDArray[np.uint16]:
        """Hundredths of a percent, or NO_GAUGE."""
        return self.condition.view(_CONDITION)["cpu"]

    @property
    def memory(self) -> npt.NDArray[np.uint16]:
        """Hundredths of a percent, or NO_GAUGE."""
        return self.gauges.view(_GAUGES)["memory"]

    @property
    def load(self) -> npt.NDArray[np.uint16]:
        """Hundredths, or NO_GAUGE."""
        return self.gauges.view(_GAUGES)["load"]

    def interval_ns(self, slots: IntArray) -> IntArray:
        """Return what slots (k,) promised last; 0 where nothing was heard."""
        return self.interval_ms[slots].astype(np.int64) * MILLISECOND

    def grace_ns(self, slots: IntArray, least_ns: int) -> IntArray:
        """Return how long slots (k,) have until their silence counts, when nothing is due yet."""
        # Twice a long interval, or else a node that beats once an hour would never make it.
        return np.maximum(least_ns, 2 * self.interval_ns(slots))

    def __len__(self) -> int:
        return self.count - len(self._free)

    def slot_of(self, name: str) -> int:
        """Return the slot of a name, or -1."""
        slot = self.slot_of_node(node_id(name))
        return slot if slot >= 0 and self.names[slot] == name else -1

    def name(self, slot: int) -> str:
        """Return the name in a slot; empty where the slot is free."""
        return self.names[slot]

    def in_use(self) -> BoolArray:
        """Return which of the slots below `count` hold a node."""
        used: BoolArray = self.node[: self.count] != 0
        return used

    def enrol(self, name: str, labels: Mapping[str, str]) -> tuple[int, bool]:
        """Give a name a slot, or find the one it has; returns (slot, whether it is new).

        Raises ValueError when another name has the same identity (see `keys.node_id`).
        """
        slots, is_new = self.enrol_all([name])
        slot = int(slots[0])
        if slot < 0:
            other = self.names[self.slot_of_node(node_id(name))]
            message = f"{name!r} has the identity of {other!r}; choose another name"
            raise ValueError(message)
        if labels:
            self.label(slot, labels)
        return slot, bool(is_new[0])

    def enrol_all(self, names: Sequence[str]) -> tuple[IntArray, BoolArray]:
        """Give names slots, or find those they have; returns (slots, whether they are new).

        A name said twice is new once. The slot is -1 where another name has the same identity.
        """
        nodes = np.array([node_id(name) for name in names], np.uint64)
        slots = self._index.find(nodes, self.node)
        unknown = np.flatnonzero(slots < 0)
        _, first = np.unique(nodes[unknown], return_index=True)
        fresh = unknown[np.sort(first)]
        if len(fresh):
            self.enrol_new([names[row] for row in fresh.tolist()], nodes[fresh])
            slots = self._index.find(nodes, self.node)
        known = self.names
        other = [known[slot] != name for slot, name in zip(slots.tolist(), names, strict=True)]
        slots[other] = -1
        is_new = np.zeros(len(names), np.bool_)
        is_new[fresh] = True
        return slots, is_new

    def label(self, slot: int, labels: Mapping[str, str]) -> None:
        """Put labels in the place of those that a node has."""
        self.labels[slot] = dict(labels)
        self.pace_class[slot] = 0
        zone = labels.get("zone", "")
        number = self._zone_numbers.get(zone)
        if number is None:
            # Beyond this many, zones are hardly zones: the fleet's guard watches over those nodes.
            number = len(self.zones) if len(self.zones) < ZONES_MAX else 0
            if number:
                self.zones.append(zone)
                self._zone_numbers[zone] = number
        if self.zone[slot] != number:
            self.own("zone")
            self.zone[slot] = number

    def enrol_new(self, names: Sequence[str], nodes: NodeArray) -> IntArray:
        """Give slots (k,) to names that have none, all different, whose identities are `nodes`."""
        slots = self._take_slots(len(names))
        self.own("node", "_text_start", "_text_size")
        self.node[slots] = nodes
        self._index.add(slots, self.node, live_count=len(self))
        for slot, name in zip(slots.tolist(), names, strict=True):
            self._text_start[slot], self._text_size[slot] = len(self._text), len(name)
            self._text += name.encode("ascii")
        keys = b"".join([self.key_of(node) for node in nodes.tolist()])
        made = np.frombuffer(keys, np.uint8).reshape(len(slots), -1)
        self.secret[slots] = self.tags.prepare(made)
        self._clear(slots)
        if self._past:
            self._remember(slots.tolist())
        return slots

    def forget(self, slot: int) -> None:
        """Free a slot; its key opens nothing until the name is enrolled again.

        What its last life had said is remembered: the key will be the same and so is the session's
        number, so a recording of that life could be played again and have it believed.
        """
        node = int(self.node[slot])
        life = int(self.incarnation[slot]), int(self.sequence[slot]), bool(self.proven[slot])
        self._keep_past(node, life)
        self.labels.pop(slot, None)
        self.own("node", "zone", "_text_size")
        if self.zone[slot]:
            self.zone[slot] = 0
        self._text_size[slot] = 0
        self.node[slot] = 0
        self.secret[slot] = 0
        self._clear(np.array([slot]))
        self._free.append(slot)

    def key_of(self, node: int) -> bytes:
        """Return the key that an identity has by this master key, enrolled or not."""
        return node_key(self._master, node, self._epochs.get(node, 0))

    def begin_epoch(self, name: str, epoch: int) -> None:
        """Let a name that is not enrolled have another key from now on.

        Nothing recorded under the old key can be played again, so what its lives said is dropped:
        an impostor may have used numbers up. That the name was forgotten is kept.
        """
        node = node_id(name)
        self._epochs[node] = epoch
        self._keep_past(node, (0, -1, False))

    def slot_of_node(self, node: int) -> int:
        """Return the slot of an identity, or -1."""
        return int(self.slots_of_nodes(np.array([node], np.uint64))[0])

    def slots_of_nodes(self, nodes: NodeArray) -> IntArray:
        """Return the slots (m,) of identities, -1 where unknown; `find` without hints."""
        return self._index.find(nodes, self.node)

    def was_forgotten(self, name: str) -> bool:
        """Tell whether a name was forgotten in this session and not enrolled since."""
        return node_id(name) in self._past

    def find(self, hints: npt.NDArray[np.uint32], nodes: NodeArray) -> IntArray:
        """Return the slots (m,) of identities; -1 where unknown.

        The hint costs 14 ns and is right for every node that was ever acknowledged; the index is
        asked for the rest only.
        """
        slots = hints.astype(np.int64)
        # Beyond `count` every identity is 0, and so is none that counts.
        slots[slots >= self.capacity] = 0
        wrong = (self.node[slots] != nodes) | (nodes == 0)
        if wrong.any():
            rows = wrong.nonzero()[0]
            slots[rows] = self._index.find(nodes[rows], self.node)
            slots[nodes == 0] = -1
        return slots

    def first_of_each(self, slots: IntArray) -> BoolArray:
        """Return which rows (m,) are the first of their slot in a batch.

        Written backwards, the last write to a slot is its first row: two scatters instead of a
        sort, 10 to 12 ns a row against 70 for np.unique.
        """
        if len(slots) == 1:
            return _YES
        order = np.arange(len(slots), dtype=np.uint32)
        self._scratch[slots[::-1]] = order[::-1]
        first: BoolArray = self._scratch[slots] == order
        return first

    def note_heard(
        self,
        slots: IntArray,
        sequence: IntArray,
        records: npt.NDArray[np.void],
        arrived_ns: IntArray,
        via: int,
    ) -> None:
        """Take what heartbeats or answers (k,) of distinct slots say; none is older than before."""
        self.sequence[slots] = sequence
        self.interval_ms[slots] = records["interval_ms"]
        self.heard_ns[slots] = arrived_ns
        self.via[slots] = via
        self.condition[slots] = records["condition"]
        self.gauges[slots] = records["gauges"]

    def note_goodbye(self, slots: IntArray, sequence: IntArray) -> None:
        """Take the sequences (k,) of goodbyes; what is older than they is a replay."""
        self.sequence[slots] = sequence

    def clear_interval(self, slot: int) -> None:
        """Let a slot promise no heartbeats."""
        self.interval_ms[slot] = 0

    def clear_cpu(self, slot: int) -> None:
        """Let nothing be known of a slot's load."""
        self.cpu[slot] = NO_GAUGE

    def classify(self, slot: int, pace_class: int) -> None:
        """Keep what `core.pace` takes a node for."""
        self.pace_class[slot] = pace_class

    def wish(self, slots: IntArray, wish_ms: npt.NDArray[np.uint32]) -> None:
        """Keep the intervals (k,) that nodes are asked for."""
        self.wish_ms[slots] = wish_ms

    def take_up(
        self,
        slots: IntArray,
        *,
        incarnation: IntArray,
        interval_ms: IntArray,
        via: npt.NDArray[np.uint8],
        peers: npt.NDArray[np.uint8],
    ) -> None:
        """Take what the journal knows of slots (k,) that have just been enrolled.

        peers   (k, PEER_SIZE) all zeros where no address is known
        """
        self.own("incarnation")
        self.incarnation[slots] = incarnation
        self.interval_ms[slots] = interval_ms
        self.via[slots] = via
        there = peers.any(axis=1)
        self.peers.note(slots[there], peers[there])

    def begin_lives(self, slots: IntArray, incarnation: IntArray) -> None:
        """Accept lives (k,) that have proved themselves; their sequences begin anew."""
        self.sequence[slots] = -1
        self.condition[slots] = self.condition[slots] & ~np.uint32(0xFF)
        self.own("incarnation", "proven")
        self.incarnation[slots] = incarnation
        self.proven[slots] = True

    def _keep_past(self, node: int, life: tuple[int, int, bool]) -> None:
        self._past[node] = life
        if len(self._past) > self._past_max:
            del self._past[next(iter(self._past))]

    def _remember(self, slots: list[int]) -> None:
        for slot in slots:
            past = self._past.pop(int(self.node[slot]), None)
            if past is not None:
                self.incarnation[slot], self.sequence[slot], self.proven[slot] = past

    def _clear(self, slots: IntArray) -> None:
        self.own("incarnation", "proven")
        self.incarnation[slots] = 0
        self.proven[slots] = False
        self.sequence[slots] = -1
        self.interval_ms[slots] = 0
        self.heard_ns[slots] = 0
        self.via[slots] = NO_VIA
        self.condition[slots] = _NO_CONDITION
        self.gauges[slots] = _NO_GAUGES
        for array in (self.wish_ms, self.pace_class):
            array[slots[array[slots] != 0]] = 0
        self.peers.clear(slots)

    def _take_slots(self, count: int) -> IntArray:
        reused = [self._free.pop() for _ in range(min(count, len(self._free)))]
        fresh = count - len(reused)
        while self.count + fresh > self.capacity:
            self._grow()
        begin, self.count = self.count, self.count + fresh
        return np.array([*reused, *range(begin, self.count)], np.int64)

    def _grow(self) -> None:
        large = _CAPACITY_LARGE if self.capacity == _LEAP else 2 * self.capacity
        self.grow(large)
        self.peers.grow(large)
        self.capacity = large


class Names(Sequence[str]):
    """The names of all slots, read where they lie; as cheap to make as it is to ask."""

    def __init__(
        self,
        text: bytearray,
        start: npt.NDArray[np.uint32],
        size: npt.NDArray[np.uint8],
        count: int,
    ) -> None:
        self._text, self._start, self._size, self._count = text, start, size, count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        """Return one name or several; empty where a slot is free."""
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(self._count))]
        if not -self._count <= index < self._count:
            raise IndexError(index)
        row = index % self._count
        start = int(self._start[row])
        return self._text[start : start + int(self._size[row])].decode("ascii")

    def __iter__(self) -> Iterator[str]:
        text = self._text
        pairs = zip(
            self._start[: self._count].tolist(), self._size[: self._count].tolist(), strict=True
        )
        return (text[start : start + size].decode("ascii") for start, size in pairs)
