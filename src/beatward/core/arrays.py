"""Arrays with a row a slot, and more room for them. Rows that nobody has written are zeros."""

import numpy as np
import numpy.typing as npt


def grow(holder: object, capacity: int) -> None:
    """Give every array among an object's attributes so many rows."""
    for name, value in vars(holder).items():
        if isinstance(value, np.ndarray):
            setattr(holder, name, grown(value, capacity))


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
