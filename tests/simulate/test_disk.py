"""The simulated disk: refusals, and what a killed writer leaves.

That it keeps every promise of a store is tested with the other engines, in tests/store.
"""

import pytest
from tests.store.test_conformance import WEB_1, transition

from beatward.core.instants import MILLISECOND, SECOND
from beatward.errors import TemporaryError
from beatward.simulate.chance import split
from beatward.simulate.disk import FlakyStore, Writer
from beatward.simulate.event_queue import EventQueue


class Desk:
    """A store, a writer, and what it told."""

    def __init__(self, seed=1):
        self.event_queue, self.store = EventQueue(), FlakyStore()
        self.receipts, self.written = [], []
        self.writer = Writer(
            self.store,
            self.event_queue,
            split(seed, "disk"),
            latency_ns=10 * MILLISECOND,
            receipt=self.receipts.append,
            written=lambda entries: self.written.extend(entry.sequence for entry in entries),
        )

    def submit(self, *sequences, wall_offset_ns=0):
        entries = [transition(sequence, WEB_1) for sequence in sequences]
        self.writer.submit(entries, wall_offset_ns=wall_offset_ns)

    @property
    def held(self):
        return [entry.sequence for entry in self.store.memory.entries]


def test_a_store_that_refuses_leaves_everything_as_it_was():
    store = FlakyStore()
    store.append([transition(1, WEB_1)], wall_offset_ns=0)
    store.refuses = True
    with pytest.raises(TemporaryError):
        store.append([transition(2, WEB_1)], wall_offset_ns=0)
    assert store.load(wall_offset_ns=0).sequence == 1
    assert store.refused_count == 1


def test_nothing_is_written_at_once_and_all_is_written_in_order():
    desk = Desk()
    desk.submit(1, 2)
    desk.submit(3)
    assert (desk.held, desk.receipts) == ([], [])
    desk.submit(4, wall_offset_ns=SECOND)
    desk.event_queue.run_until(10 * SECOND)
    assert desk.held == desk.written == [1, 2, 3, 4]
    assert desk.receipts == [2, 4]


def test_a_refusal_holds_entries_back_and_keeps_their_order():
    desk = Desk()
    desk.store.refuses = True
    desk.submit(1)
    desk.event_queue.run_until(5 * SECOND)
    desk.submit(2)
    assert (desk.held, desk.receipts) == ([], [])
    desk.store.refuses = False
    desk.event_queue.run_until(20 * SECOND)
    assert desk.held == [1, 2]
    assert desk.receipts[-1] == 2


def test_a_killed_writer_has_written_all_of_a_batch_or_nothing_and_says_no_more():
    left = set()
    for seed in range(20):
        desk = Desk(seed)
        desk.submit(1, 2)
        desk.submit(3)  # not yet part of any write
        desk.writer.die()
        desk.event_queue.run_until(10 * SECOND)
        assert desk.receipts == []
        left.add(tuple(desk.held))
    assert left == {(), (1, 2)}


def test_a_backup_holds_what_the_disk_held_then():
    desk = Desk()
    desk.submit(1, 2, wall_offset_ns=SECOND)
    desk.submit(3, wall_offset_ns=5 * SECOND)
    desk.event_queue.run_until(10 * SECOND)
    backup = desk.store.earlier(2)
    assert backup.load(wall_offset_ns=0) == desk.store.earlier(2).load(wall_offset_ns=0)
    assert backup.memory.history == desk.store.memory.history[:2]
    assert desk.store.earlier(0).load(wall_offset_ns=0).sequence == 0
    assert desk.held == [1, 2, 3]
