"""Arrays with a row a slot, and more room for them. Rows that were never written are zeros."""

from copy import copy
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt


class Rows:
    """What keeps arrays with a row a slot.

    ROWS     names of all such arrays
    TABLES   names of what else changes in place: dicts, lists, anything that has `copy`
    """

    ROWS: ClassVar[tuple[str, ...]] = ()
    TABLES: ClassVar[tuple[str, ...]] = ()

    def grow(self, capacity: int) -> None:
        """Make room for more slots; the old arrays are left to their readers."""
        for name in self.ROWS:
            setattr(self, name, grown(getattr(self, name), capacity))

    def cut(self, count: int, *, without: tuple[str, ...] = ()) -> Self:
        """Return a copy with the first `count` rows, for readers in other threads.

        without   arrays of which the copy has no rows
        """
        twin = copy(self)
        for name in self.ROWS:
            size = 0 if name in without else count
            setattr(twin, name, getattr(self, name)[:size].copy())
        for name in self.TABLES:
            setattr(twin, name, getattr(self, name).copy())
        return twin


def grown(array: npt.NDArray[np.generic], capacity: int) -> npt.NDArray[np.generic]:
    """Return a longer copy of an array, new rows zero; the old one is left to its readers."""
    larger = np.zeros((capacity, *array.shape[1:]), array.dtype)
    larger[: len(array)] = array
    return larger


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
