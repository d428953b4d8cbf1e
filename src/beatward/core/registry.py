"""Identity -> slot: a dense index into every array of the monitor, and the life of each node.

A node is a row: identity, the secret of its tags, current incarnation and whether it has proved
itself in this session, highest sequence heard, last address. Slots of forgotten nodes are used
again. Arrays double when they are full. Not here: what a status is (`core.membership`) and
deadlines (`detect`).
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from beatward.core.protocol.keys import node_id, node_key
from beatward.core.protocol.record import NO_GAUGE
from beatward.core.tags import FASTEST, Tags

_PEER_SIZE = 28
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

# Numpy allocates these lazily; below a thousand nodes the size is of no account.
_CAPACITY_MIN = 1024
NO_VIA = 255  # never heard
# How many forgotten nodes are remembered, for at most 16 MB; see `Registry.forget`.
PAST_MAX = 65_536


class Registry:
    """The arrays of identity. Public arrays are read by every room, written only here."""

    def __init__(self, master: bytes, *, past_max: int = PAST_MAX, tags: Tags = FASTEST) -> None:
        self._master = master
        self.tags = tags
        self._past_max = past_max
        self.capacity = _CAPACITY_MIN
        self.count = 0  # slots ever used; free ones lie below it
        self.names: list[str] = []
        self.labels: dict[int, Mapping[str, str]] = {}
        self._slots: dict[int, int] = {}
        self._free: list[int] = []
        self._past: dict[int, tuple[int, int, bool]] = {}
        self.node = np.zeros(self.capacity, np.uint64)
        self.incarnation = np.zeros(self.capacity, np.int64)
        self.proven = np.zeros(self.capacity, np.bool_)
        self.sequence = np.full(self.capacity, -1, np.int64)
        self.interval_ns = np.zeros(self.capacity, np.int64)
        self.heard_ns = np.zeros(self.capacity, np.int64)
        self.health = np.zeros(self.capacity, np.uint8)
        self.via = np.full(self.capacity, NO_VIA, np.uint8)
        self.cpu = np.full(self.capacity, NO_GAUGE, np.uint16)
        self.memory = np.full(self.capacity, NO_GAUGE, np.uint16)
        self.load = np.full(self.capacity, NO_GAUGE, np.uint16)
        # What `tags` made of each key; the keys themselves can be derived again and are not kept.
        self.secret = np.zeros((self.capacity, tags.secret_size), np.uint8)
        self.peer = np.zeros((self.capacity, _PEER_SIZE), np.uint8)
        self.peer_before = np.zeros((self.capacity, _PEER_SIZE), np.uint8)

    def __len__(self) -> int:
        return len(self._slots)

    def slot_of(self, name: str) -> int:
        """Return the slot of a name, or -1."""
        slot = self._slots.get(node_id(name), -1)
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
        node = node_id(name)
        slot = self._slots.get(node)
        if slot is not None:
            if self.names[slot] != name:
                message = f"{name!r} has the identity of {self.names[slot]!r}; choose another name"
                raise ValueError(message)
            if labels:
                self.labels[slot] = dict(labels)
            return slot, False
        slot = self._take_slot(name)
        self._slots[node] = slot
        if labels:
            self.labels[slot] = dict(labels)
        self.node[slot] = node
        key = np.frombuffer(node_key(self._master, node), np.uint8)
        self.secret[slot] = self.tags.prepare(key.reshape(1, -1))[0]
        self._clear_life(slot)
        if node in self._past:
            past = self._past.pop(node)
            self.incarnation[slot], self.sequence[slot], self.proven[slot] = past
        return slot, True

    def forget(self, slot: int) -> None:
        """Free a slot; its key opens nothing until the name is enrolled again.

        What its last life had said is remembered: the key will be the same and so is the session's
        number, so whoever recorded that life could play it again and have it believed.
        """
        node = int(self.node[slot])
        del self._slots[node]
        self._past[node] = (
            int(self.incarnation[slot]),
            int(self.sequence[slot]),
            bool(self.proven[slot]),
        )
        if len(self._past) > self._past_max:
            del self._past[next(iter(self._past))]
        self.labels.pop(slot, None)
        self.names[slot] = ""
        self.node[slot] = 0
        self.secret[slot] = 0
        self._clear_life(slot)
        self._free.append(slot)

    def note_peers(self, slots: IntArray, peers: npt.NDArray[np.uint8]) -> None:
        """Take the addresses (k, 28) that slots spoke from, and remember another before it.

        Somebody may record a heartbeat that the network lost and say it from his own address; the
        true one is then the one before, and probes go to both (seed 49).
        """
        moved = (self.peer[slots] != peers).any(axis=1)
        self.peer_before[slots[moved]] = self.peer[slots[moved]]
        self.peer[slots] = peers

    def settle_peer(self, slot: int) -> None:
        """Forget the address before: the node has just answered from the one it has now."""
        self.peer_before[slot] = 0

    def forget_peers(self, slots: IntArray) -> None:
        """Forget where slots can be reached."""
        self.peer[slots] = 0
        self.peer_before[slots] = 0

    def find(self, hints: npt.NDArray[np.uint32], nodes: npt.NDArray[np.uint64]) -> IntArray:
        """Return the slots (m,) of identities; -1 where unknown.

        The hint costs 14 ns and is right for every node that was ever acknowledged; the
        dictionary is asked for the rest only.
        """
        slots = hints.astype(np.int64)
        slots[slots >= self.count] = -1
        guessed = np.maximum(slots, 0)
        slots[(self.node[guessed] != nodes) | (nodes == 0)] = -1
        for i in np.flatnonzero(slots < 0):
            slots[i] = self._slots.get(int(nodes[i]), -1)
        return slots

    def begin_life(self, slot: int, incarnation: int) -> None:
        """Accept a life that has proved itself; its sequence begins anew."""
        self._clear_life(slot)
        self.incarnation[slot] = incarnation
        self.proven[slot] = True

    def _clear_life(self, slot: int) -> None:
        self.incarnation[slot] = 0
        self.proven[slot] = False
        self.sequence[slot] = -1
        self.health[slot] = 0

    def _take_slot(self, name: str) -> int:
        if self._free:
            slot = self._free.pop()
            self.names[slot] = name
            self.heard_ns[slot] = 0
            self.interval_ns[slot] = 0
            self.via[slot] = NO_VIA
            self.peer[slot] = 0
            self.peer_before[slot] = 0
            self.cpu[slot] = self.memory[slot] = self.load[slot] = NO_GAUGE
            return slot
        if self.count == self.capacity:
            self._grow()
        slot = self.count
        self.count += 1
        self.names.append(name)
        return slot

    def _grow(self) -> None:
        for name in _ARRAYS:
            setattr(self, name, grown(getattr(self, name), 2 * self.capacity, _FILLS.get(name, 0)))
        self.capacity *= 2


_ARRAYS = (
    "node",
    "incarnation",
    "proven",
    "sequence",
    "interval_ns",
    "heard_ns",
    "health",
    "via",
    "cpu",
    "memory",
    "load",
    "secret",
    "peer",
    "peer_before",
)
_FILLS = {"sequence": -1, "via": NO_VIA, "cpu": NO_GAUGE, "memory": NO_GAUGE, "load": NO_GAUGE}


def grown(array: npt.NDArray[np.generic], capacity: int, fill: int = 0) -> npt.NDArray[np.generic]:
    """Return a longer copy of an array, new rows filled; the old one is left to its readers."""
    larger = np.full((capacity, *array.shape[1:]), fill, array.dtype)
    larger[: len(array)] = array
    return larger


def first_of_each(slots: IntArray, scratch: IntArray) -> BoolArray:
    """Return which rows (m,) are the first of their slot in a batch.

    scratch  (capacity,) is overwritten. Written backwards, the last write to a slot is its first
    row: two scatters instead of a sort, 10 to 12 ns a row against 70 for np.unique.
    """
    order = np.arange(len(slots))
    scratch[slots[::-1]] = order[::-1]
    first: BoolArray = scratch[slots] == order
    return first
