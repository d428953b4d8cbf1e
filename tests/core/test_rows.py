"""Arrays with a row a slot: each is named, so it grows and is cut with the others."""

import numpy as np
import pytest

from beatward.core.detect import DETECTORS, DetectorSettings
from beatward.core.entry import Recovered
from beatward.core.monitor import CoreSettings, Monitor
from beatward.core.peers import Peers

CAPACITY = 3


def rooms():
    """Return everything that keeps arrays with a row a slot, and how many rows each has."""
    monitor = Monitor(CoreSettings(), master=bytes(32), session=1)
    monitor.restore(Recovered(), 0)
    state = monitor.state
    detectors = [kind(DetectorSettings(name), CAPACITY) for name, kind in DETECTORS.items()]
    large = [state.registry, state.membership, state.quality]
    return [
        *((room, state.registry.capacity) for room in large),
        *((room, CAPACITY) for room in (Peers(CAPACITY), *detectors)),
    ]


@pytest.mark.parametrize(("room", "capacity"), rooms(), ids=lambda it: type(it).__name__)
def test_every_array_with_a_row_a_slot_is_named(room, capacity):
    arrays = {name: it for name, it in vars(room).items() if isinstance(it, np.ndarray)}
    assert set(room.ROWS) == {name for name, it in arrays.items() if len(it) == capacity}
    assert len(set(room.ROWS)) == len(room.ROWS)


@pytest.mark.parametrize(("room", "capacity"), rooms(), ids=lambda it: type(it).__name__)
def test_nothing_that_is_written_later_is_seen_in_a_copy_for_readers(room, capacity):
    twin = room.cut(2)
    for name in room.ROWS:
        assert len(getattr(twin, name)) == 2
        if name in room.SHARED:
            with pytest.raises(ValueError, match="read-only"):
                getattr(room, name)[0] = 0
            room.own(name)
            getattr(room, name)[:2] = 1
            assert not getattr(twin, name).any()
        assert not np.shares_memory(getattr(twin, name), getattr(room, name))
    assert len(getattr(room, room.ROWS[0])) == capacity
    assert all(getattr(twin, name) is not getattr(room, name) for name in room.TABLES)
