"""Identity -> slot for a million nodes: a hash table in one array, asked and filled by batches.

Open addressing with linear probing; identities are hashes already, so their lowest bits choose the
first cell. A cell holds a slot plus one, 0 is free, and the identity itself is looked up in the
array `node` of the registry: 8 bytes a node, where a dictionary of numbers takes 150.

The table doubles without a wait: each slot that comes in moves eight cells of the
old one. Cells of forgotten nodes stay and match nothing, because the slot bears another identity
or none; the next doubling leaves them behind.
"""

import numpy as np
import numpy.typing as npt

from beatward.core.arrays import IntArray, NodeArray

_SIZE_MIN = 2048
# At most half of the cells are taken, so a search meets 1.5 of them on average (Knuth, 6.4).
# The old table, half full, is gone after an eighth of its cells came in: long before the new one,
# at least twice as large, is half full itself.
_MOVED_EACH = 8


class SlotIndex:
    """The table. `node` is handed in with every call, because the registry's arrays grow."""

    def __init__(self) -> None:
        self._table = np.zeros(_SIZE_MIN, np.uint32)
        self._taken_count = 0
        self._old = np.zeros(0, np.uint32)
        self._moved_count = 0

    def copy(self) -> "SlotIndex":
        """Return a twin that stays as it is; the table is shared until one comes in."""
        twin = SlotIndex()
        self._table.setflags(write=False)
        twin._table, twin._old = self._table, self._old
        return twin

    def find(self, wanted: NodeArray, node: NodeArray) -> IntArray:
        """Return the slots (m,) of identities (m,); -1 where unknown.

        node   (n,) the identity in each slot, 0 where it is free
        """
        found = _look_up(self._table, wanted, node)
        if len(self._old):
            missing = np.flatnonzero(found < 0)
            found[missing] = _look_up(self._old, wanted[missing], node)
        return found

    def add(self, slots: IntArray, node: NodeArray, *, live_count: int) -> None:
        """Take in slots (k,) whose identities are in `node` and not in the table yet.

        live_count   how many nodes there are, these among them
        """
        while len(slots):
            room = len(self._table) // 2 - self._taken_count
            if room <= 0:
                self._enlarge(node, live_count)
                continue
            self._insert(slots[:room], node)
            self._move(_MOVED_EACH * len(slots[:room]), node)
            slots = slots[room:]

    def _enlarge(self, node: NodeArray, live_count: int) -> None:
        self._move(len(self._old), node)
        size = _SIZE_MIN
        while size < 4 * live_count:
            size *= 2
        self._old, self._moved_count = self._table, 0
        self._table, self._taken_count = np.zeros(size, np.uint32), 0

    def _move(self, count: int, node: NodeArray) -> None:
        if not len(self._old):
            return
        cells = self._old[self._moved_count : self._moved_count + count].astype(np.int64)
        slots = cells[cells > 0] - 1
        slots = slots[node[slots] != 0]
        # A slot used again after `forget` may be in several cells, and in the new table already.
        slots = np.unique(slots[_look_up(self._table, node[slots], node) < 0])
        self._insert(slots, node)
        self._moved_count += count
        if self._moved_count >= len(self._old):
            self._old = self._old[:0]

    def _insert(self, slots: IntArray, node: NodeArray) -> None:
        if not self._table.flags.writeable:
            self._table = self._table.copy()
        table, mask = self._table, np.uint64(len(self._table) - 1)
        self._taken_count += len(slots)
        marks = (slots + 1).astype(np.uint32)
        cells = node[slots] & mask
        while len(marks):
            free = table[cells] == 0
            # Of several that want one cell the last to write has it; the others go on.
            table[cells[free]] = marks[free]
            waits = table[cells] != marks
            marks, cells = marks[waits], (cells[waits] + np.uint64(1)) & mask


def _look_up(table: npt.NDArray[np.uint32], wanted: NodeArray, node: NodeArray) -> IntArray:
    found = np.full(len(wanted), -1, np.int64)
    if not len(node):
        return found
    mask = np.uint64(len(table) - 1)
    rows, cells = np.arange(len(wanted)), wanted & mask
    while len(rows):
        slots = table[cells].astype(np.int64) - 1
        hit = (slots >= 0) & (node[slots] == wanted[rows])
        found[rows[hit]] = slots[hit]
        goes_on = (slots >= 0) & ~hit
        rows, cells = rows[goes_on], (cells[goes_on] + np.uint64(1)) & mask
    return found
