"""The journal's thread: receipts, retries, order, and what happens when too much waits."""

import sqlite3
import threading
import time

import pytest

from beatward.core.entry import ActionRecord, Entry, Event, NodeRecord, ServiceRecord
from beatward.store.journal import WriterHealth
from beatward.store.memory import MemoryStore
from beatward.store.sqlite import SqliteStore


@pytest.fixture
def jam(path, store):
    """Hold the write lock on the journal, as another process would; call it to let go."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN IMMEDIATE")
    yield connection.close
    connection.close()


def fact(sequence):
    return Entry(sequence, Event.STARTED, sequence * 1000)


def transition(sequence, name, status="alive"):
    record = NodeRecord(name, 1, status, "heartbeat", sequence)
    return Entry(sequence, Event.TRANSITION, sequence * 1000, node=name, node_record=record)


def deed(sequence, key, state="decided"):
    record = ActionRecord(key, "page", "webhook", "web-1", state, 0)
    return Entry(sequence, Event.ACTION, sequence * 1000, action_record=record)


def sequences(reader):
    return [found["id"] for found in reader.events(after=0, limit=10**6)]


def test_everything_submitted_is_written_in_order_and_receipted(start, until):
    store = MemoryStore()
    journal, receipts = start(store)
    for first in range(1, 1000, 3):
        journal.submit([fact(first), fact(first + 1), fact(first + 2)], wall_offset_ns=0)
    until(lambda: journal.health().written == 999)
    assert [entry.sequence for entry in store.entries] == list(range(1, 1000))
    assert receipts == sorted(set(receipts))
    assert receipts[-1] == 999


def test_a_receipt_means_that_it_is_on_disk(start, until, store, reader):
    journal, receipts = start(store)
    for sequence in range(1, 50):
        journal.submit([fact(sequence)], wall_offset_ns=0)
        until(lambda: receipts[-1:] == [sequence])  # noqa: B023  called at once
        assert reader.last_sequence() == sequence


def test_wall_clock_time_is_what_the_submitter_said(start, until):
    store = MemoryStore()
    journal, _ = start(store)
    journal.submit([fact(1)], wall_offset_ns=10**18)
    journal.submit([fact(2)], wall_offset_ns=2 * 10**18)
    until(lambda: journal.health().written == 2)
    assert [at for _, at in store.history] == [10**18 + 1000, 2 * 10**18 + 2000]


def test_nothing_submitted_is_nothing_written(start, until):
    store = MemoryStore()
    journal, receipts = start(store)
    journal.submit([], wall_offset_ns=0)
    assert journal.close() == 0
    assert receipts == []


def test_health_begins_with_what_the_store_holds(start):
    journal, _ = start(MemoryStore(), written=4711)
    assert journal.health() == WriterHealth(written=4711)


def test_while_the_store_refuses_submitting_does_not_wait(start, until, store, jam):
    journal, receipts = start(store)
    journal.submit([fact(1)], wall_offset_ns=0)
    until(lambda: journal.health().error)
    began = time.monotonic()
    for sequence in range(2, 2002):
        journal.submit([fact(sequence)], wall_offset_ns=0)
    # One attempt waits 250 ms for the lock; two thousand that waited would take minutes.
    assert time.monotonic() - began < 2
    health = journal.health()
    assert (health.written, health.waiting_count, health.failing_since_ns) == (0, 2001, 42)
    assert receipts == []


def test_what_was_held_back_is_written_in_order_once_it_can_be(start, until, store, reader, jam):
    journal, receipts = start(store)
    for sequence in range(1, 501):
        # The offset wanders by nanoseconds, as it does in production.
        journal.submit([fact(sequence)], wall_offset_ns=sequence)
    until(lambda: journal.health().error)
    jam()
    until(lambda: journal.health().written == 500)
    assert sequences(reader) == list(range(1, 501))
    assert journal.health() == WriterHealth(written=500)
    # Joined: one transaction for the first attempt's batch, and one or two for the rest.
    assert len(receipts) <= 3


def test_large_submissions_are_cut_into_transactions(start, until, store, reader, jam):
    journal, receipts = start(store)
    entries = [fact(sequence) for sequence in range(1, 30_001)]
    journal.submit(entries[:1], wall_offset_ns=0)
    until(lambda: journal.health().error)
    journal.submit(entries[1:25_000], wall_offset_ns=0)
    journal.submit(entries[25_000:], wall_offset_ns=0)
    jam()
    until(lambda: journal.health().written == 30_000)
    assert receipts == [1, 10_001, 20_001, 30_000]
    assert sequences(reader) == list(range(1, 30_001))


def test_batches_of_different_wall_time_are_not_joined(start, until, store, reader, jam, offset):
    journal, _ = start(store)
    for sequence, wall_offset_ns in ((1, offset), (2, offset + 10**9), (3, offset + 10**9)):
        journal.submit([fact(sequence)], wall_offset_ns=wall_offset_ns)
    jam()
    until(lambda: journal.health().written == 3)
    assert [found["at"] for found in reader.events(after=0, limit=9)] == [
        "2023-11-14T22:13:20.000Z",
        "2023-11-14T22:13:21.000Z",
        "2023-11-14T22:13:21.000Z",
    ]


def test_the_error_names_the_journal_and_goes_away(start, until, store, path, jam):
    journal, _ = start(store)
    journal.submit([fact(1)], wall_offset_ns=0)
    error = until(lambda: journal.health().error)
    assert error == f"another process holds a lock on the journal {path}"
    jam()
    until(lambda: journal.health() == WriterHealth(written=1))


def test_an_attempt_under_way_is_seen(start, until, store, jam):
    journal, _ = start(store)
    journal.submit([fact(1)], wall_offset_ns=0)
    until(lambda: journal.health().writing_since_ns == 42)


def test_closing_writes_all_that_waits(start, path, entry_for):
    journal, receipts = start(SqliteStore(path))
    entries = [entry_for(sequence) for sequence in range(1, 30_001)]
    journal.submit(entries, wall_offset_ns=0)
    assert journal.close(timeout_ns=60 * 10**9) == 0
    assert receipts[-1] == 30_000
    again = SqliteStore(path)  # the file and its lock were released
    assert again.load(wall_offset_ns=0).sequence == 30_000
    again.close()


def test_closing_gives_up_on_a_store_that_refuses_and_says_how_much_is_left(
    start, until, path, store, jam
):
    journal, receipts = start(store)
    journal.submit([fact(1), fact(2), fact(3)], wall_offset_ns=0)
    until(lambda: journal.health().error)
    began = time.monotonic()
    assert journal.close(timeout_ns=300 * 10**6) == 3
    assert time.monotonic() - began < 5
    assert receipts == []
    jam()
    again = SqliteStore(path)
    assert again.load(wall_offset_ns=0).sequence == 0
    again.close()


def test_closing_tries_once_more_at_once(start, until, store, reader, jam):
    journal, _ = start(store, retry_min_ns=3600 * 10**9)
    journal.submit([fact(1)], wall_offset_ns=0)
    until(lambda: journal.health().error)
    jam()
    assert journal.close() == 0
    assert reader.last_sequence() == 1


def test_closing_does_not_begin_what_it_cannot_finish(start, until, path, entry_for):
    journal, _ = start(SqliteStore(path))
    entries = [entry_for(sequence) for sequence in range(1, 100_001)]
    journal.submit(entries, wall_offset_ns=0)
    left = journal.close(timeout_ns=0)
    again = SqliteStore(path)  # it was closed, between two transactions
    assert again.load(wall_offset_ns=0).sequence == 100_000 - left
    again.close()


def test_a_mistake_of_ours_is_held_back_and_shown(start, until, store, reader):
    journal, receipts = start(store)
    journal.submit([fact(1)], wall_offset_ns=0)
    until(lambda: receipts == [1])
    journal.submit([fact(2)], wall_offset_ns=2**70)
    error = until(lambda: journal.health().error)
    assert error == "OverflowError: Python int too large to convert to SQLite INTEGER"
    assert (journal.health().waiting_count, receipts) == (1, [1])
    assert reader.last_sequence() == 1


# --- too much waits --------------------------------------------------------------------------


def fill(start, until, store):
    """Return a journal that holds its limit of ten entries, 1 to 10, and cannot write."""
    journal, receipts = start(store, waiting_max=10)
    journal.submit([fact(sequence) for sequence in range(1, 11)], wall_offset_ns=0)
    until(lambda: journal.health().error)
    return journal, receipts


def test_when_too_much_waits_only_the_newest_of_each_node_is_kept(start, until, store, reader, jam):
    journal, receipts = fill(start, until, store)
    for sequence in range(11, 111):
        name = f"web-{sequence % 3}"
        journal.submit([transition(sequence, name, f"s{sequence}")], wall_offset_ns=0)
    health = journal.health()
    assert (health.waiting_count, health.left_out_count) == (13, 97)
    jam()
    until(lambda: journal.health().written == 110)
    assert sequences(reader) == [*range(1, 11), 108, 109, 110]
    assert receipts == sorted(receipts)
    assert journal.health() == WriterHealth(written=110, left_out_count=97)


def test_when_too_much_waits_no_row_is_lost(start, until, path, store, jam, entry_for):
    journal, _ = fill(start, until, store)
    model = MemoryStore()
    for sequence in range(11, 2011):
        journal.submit([entry_for(sequence)], wall_offset_ns=0)
        model.append([entry_for(sequence)], wall_offset_ns=0)
    health = journal.health()
    assert health.waiting_count <= 10 + 7 + 40  # nodes and keys of the story
    assert health.waiting_count + health.left_out_count == 2010
    jam()
    until(lambda: journal.health().waiting_count == 0)
    assert journal.close() == 0
    again = SqliteStore(path)
    found, wanted = again.load(wall_offset_ns=0), model.load(wall_offset_ns=0)
    assert (found.nodes, found.actions) == (wanted.nodes, wanted.actions)
    again.close()


def test_a_decision_is_left_out_only_for_a_later_word_on_it(start, until, store, reader, jam):
    journal, _ = fill(start, until, store)
    told = [deed(11, "a"), deed(12, "b"), transition(13, "web-1"), deed(14, "a", "withdrawn")]
    journal.submit(told, wall_offset_ns=0)
    jam()
    until(lambda: journal.health().written == 14)
    assert sequences(reader) == [*range(1, 11), 12, 13, 14]
    assert [(found["key"], found["state"]) for found in reader.actions(limit=9)] == [
        ("a", "withdrawn"),
        ("b", "decided"),
    ]


def test_a_token_is_left_out_only_for_a_later_word_on_its_service(start, until, store, jam):
    # A receipt lets the monitor say the token; one that is on no disk would be given twice.
    journal, _ = fill(start, until, store)
    for number, name, token in [(11, "db", 5), (12, "cache", 1), (13, "db", 6)]:
        row = ServiceRecord(name, token)
        entry = Entry(number, Event.ROLE, number * 1000, service_record=row)
        journal.submit([entry], wall_offset_ns=0)
    jam()
    until(lambda: journal.health().written == 13)
    tokens = {one.name: one.token for one in store.load(wall_offset_ns=0).services}
    assert tokens == {"cache": 1, "db": 6}


def test_order_is_kept_while_a_surplus_waits(start, until, store, reader, jam):
    journal, _ = start(store, waiting_max=10)
    journal.submit([fact(sequence) for sequence in range(1, 9)], wall_offset_ns=0)
    until(lambda: journal.health().error)
    # Three are too many for the two places that are left; but then one of them takes only one.
    journal.submit([transition(sequence, "a") for sequence in (9, 10, 11)], wall_offset_ns=0)
    assert journal.health().waiting_count == 9
    journal.submit([transition(12, "b")], wall_offset_ns=0)
    jam()
    until(lambda: journal.health().written == 12)
    assert sequences(reader) == [*range(1, 9), 11, 12]


def test_a_line_that_changes_no_row_is_left_out_when_too_much_waits(start, until, store, jam):
    journal, _ = fill(start, until, store)
    journal.submit([fact(11), fact(12)], wall_offset_ns=0)
    health = journal.health()
    assert (health.waiting_count, health.left_out_count) == (10, 2)


def test_once_there_is_room_every_line_is_kept_again(start, until, store, reader, jam):
    journal, _ = fill(start, until, store)
    journal.submit([transition(11, "a"), transition(12, "a")], wall_offset_ns=0)
    jam()
    until(lambda: journal.health().written == 12)
    journal.submit([transition(13, "a"), transition(14, "a")], wall_offset_ns=0)
    until(lambda: journal.health().written == 14)
    assert sequences(reader) == [*range(1, 11), 12, 13, 14]
    assert journal.health().left_out_count == 1


def test_a_store_that_is_closed_under_a_writer_waits_for_it(path, entry_for):
    # Without the wait SQLite ended the process: seen once in a test run on a busy machine.
    store = SqliteStore(path)
    begun, errors = threading.Event(), []

    def write():
        for first in range(1, 100_000, 1000):
            batch = [entry_for(sequence) for sequence in range(first, first + 1000)]
            begun.set()
            try:
                store.append(batch, wall_offset_ns=0)
            except AssertionError as error:
                errors.append(str(error))
                return

    writer = threading.Thread(target=write)
    writer.start()
    begun.wait()
    store.close()
    writer.join()
    assert errors == ["a closed store has no business with a file others may have"]
