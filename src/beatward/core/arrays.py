"""Arrays with a row a slot, and more room for them. Rows that were never written are zeros."""

import math
import mmap
from copy import copy
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
ByteArray = npt.NDArray[np.uint8]
CodeArray = npt.NDArray[np.uint8]
CountArray = npt.NDArray[np.uint16]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
NodeArray = npt.NDArray[np.uint64]

# A column of which one of this many rows is not zero is not looked at as a whole.
_SAMPLE = 4096
# Arrays of at least this many bytes have pages of their own.
_MAPPED_SIZE_MIN = 1 << 20


class Rows:
    """What keeps arrays with a row a slot.

    ROWS     names of all such arrays
    SHARED   those of them that are written seldom: a copy shares them, and a verb that writes one
             calls `own` first; numpy refuses the write otherwise
    TABLES   names of what else changes in place: dicts, lists, anything that has `copy`
    """

    ROWS: ClassVar[tuple[str, ...]] = ()
    SHARED: ClassVar[tuple[str, ...]] = ()
    TABLES: ClassVar[tuple[str, ...]] = ()
    _shared_count = 0

    def grow(self, capacity: int) -> None:
        """Make room for more slots; the old arrays are left to their readers."""
        for name in self.ROWS:
            setattr(self, name, grown(getattr(self, name), capacity))

    def own(self, *names: str) -> None:
        """Let arrays be written: one that a copy shares is left to the copy."""
        for name in names:
            array = getattr(self, name)
            if not array.flags.writeable:
                # No row beyond these was written: none was since the copy was made.
                setattr(self, name, grown(array[: self._shared_count], len(array)))

    def cut(self, count: int, *, without: tuple[str, ...] = ()) -> Self:
        """Return a copy with the first `count` rows, for readers in other threads.

        count     all rows that were ever written
        without   arrays of which the copy has no rows
        """
        twin = copy(self)
        self._shared_count = count
        for name in self.ROWS:
            array = getattr(self, name)
            if name in self.SHARED:
                array.setflags(write=False)
            size = 0 if name in without else count
            setattr(twin, name, array[:size] if name in self.SHARED else _copied(array[:size]))
        for name in self.TABLES:
            setattr(twin, name, getattr(self, name).copy())
        return twin


def _copied(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Return a copy to read; one of zeros only takes no memory."""
    if array[::_SAMPLE].any() or array.any():
        return array.copy()
    return np.broadcast_to(array.dtype.type(0), array.shape)


def grown(array: npt.NDArray[np.generic], capacity: int) -> npt.NDArray[np.generic]:
    """Return a longer copy of an array, new rows zero; the old one is left to its readers."""
    larger = _zeros((capacity, *array.shape[1:]), array.dtype)
    larger[: len(array)] = array
    return larger


def _zeros(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> npt.NDArray[np.generic]:
    """Return zeros; rows of a large array take no memory before they are written.

    `np.zeros` takes up to 32 MB from memory that was used before, writes zeros into all of it, and
    gives none of it back to the system when the array is gone.
    """
    size = math.prod(shape) * dtype.itemsize
    if size < _MAPPED_SIZE_MIN:
        return np.zeros(shape, dtype)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(memory, dtype).reshape(shape)


def newest_of_each(
    slots: npt.NDArray[np.int64], sequence: npt.NDArray[np.integer]
) -> npt.NDArray[np.bool_]:
    """Return which rows (k,) hold the highest sequence of their slot; of equals the first."""
    backwards = -np.arange(len(slots))
    order = np.lexsort((backwards, sequence, slots))
    last = np.ones(len(order), np.bool_)
    last[:-1] = slots[order][1:] != slots[order][:-1]
    newest = np.zeros(len(order), np.bool_)
    newest[order[last]] = True
    return newest
