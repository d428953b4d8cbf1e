"""What the world does to a journal: kill -9, a full disk, a lock, a second monitor, rm."""

import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import time

import pytest

from beatward.core.entry import Entry, Event, NodeRecord
from beatward.errors import PermanentError, TemporaryError
from beatward.store.journal import WriterHealth
from beatward.store.memory import MemoryStore
from beatward.store.sqlite import SqliteStore

KILLS = 20


def fact(sequence):
    return Entry(sequence, Event.STARTED, sequence * 1000)


@pytest.mark.real
def test_kill_9_leaves_a_gapless_prefix_and_its_rows(
    path, tmp_path, child, entry_for, reader, until
):
    parent = child("crash_child.py", path, tmp_path / "receipts")
    chance = random.Random(4711)
    replay, lengths = MemoryStore(), []
    receipts = tmp_path / "receipts"
    for life in range(KILLS):
        before = receipts.read_bytes() if life else b""
        pid = parent.ask("go")["pid"]
        # Every second life may be over before the file is open; the others have written.
        if life % 2:
            until(lambda: receipts.read_bytes() != before)  # noqa: B023  called at once
        # The instant of the kill is what we test.
        time.sleep(chance.uniform(0.0, 0.2))
        os.kill(pid, signal.SIGKILL)
        assert parent.hear() == {"killed": True}
        store = SqliteStore(path)
        found = store.load(wall_offset_ns=0)
        store.close()
        receipt = int.from_bytes(receipts.read_bytes(), "little")
        assert found.sequence >= receipt
        known = replay.load(wall_offset_ns=0).sequence
        replay.append(
            [entry_for(i) for i in range(known + 1, found.sequence + 1)], wall_offset_ns=0
        )
        assert found == replay.load(wall_offset_ns=0)
        lengths.append(found.sequence)
    ids = [row["id"] for row in reader.events(after=0, limit=10**7)]
    assert ids == list(range(1, lengths[-1] + 1))
    assert len(set(lengths)) >= KILLS // 2


def test_a_transaction_that_fails_in_the_middle_leaves_nothing(store, reader):
    store.append([fact(1)], wall_offset_ns=0)
    record = NodeRecord("web-1", 1, "alive", "heartbeat", since_ns=2**70)  # no row can hold it
    bad = Entry(3, Event.TRANSITION, 3000, node="web-1", node_record=record)
    with pytest.raises(OverflowError):
        store.append([fact(2), bad, fact(4)], wall_offset_ns=0)
    assert reader.last_sequence() == 1
    store.append([fact(2), fact(3)], wall_offset_ns=0)
    assert reader.last_sequence() == 3


@pytest.mark.real
def test_a_lock_of_another_process_is_waited_out(path, start, until, child, reader):
    journal, receipts = start(SqliteStore(path))
    journal.submit([fact(1)], wall_offset_ns=0)
    until(lambda: receipts == [1])
    holder = child("lock_child.py", path, "lock")
    holder.hear()
    for sequence in range(2, 300):
        journal.submit([fact(sequence)], wall_offset_ns=0)
    error = until(lambda: journal.health().error)
    assert error == f"another process holds a lock on the journal {path}"
    assert journal.health().waiting_count == 298
    assert holder.ask("let go") == "free"
    until(lambda: journal.health() == WriterHealth(written=299))
    assert [row["id"] for row in reader.events(after=0, limit=999)] == list(range(1, 300))


@pytest.mark.real
@pytest.mark.parametrize(
    ("way", "message"),
    [
        ("limit", r"the disk refuses to read or write the journal .* \(SQLITE_IOERR_WRITE\)"),
        ("mount", r"no space is left for the journal .*: free some"),
    ],
)
def test_a_full_disk_holds_entries_back_until_there_is_space(
    way, message, tmp_path, child, entry_for
):
    prefix = ()
    if way == "mount":
        prefix = ("unshare", "--mount", "--propagation", "private")
        if os.geteuid() != 0 or shutil.which("unshare") is None:
            pytest.skip("only root may mount, and needs unshare; the way `limit` is tested")
        if subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode:
            pytest.skip("no mount namespaces in here; the way `limit` is tested")
    path = tmp_path / "journal.sqlite3"
    writer = child("disk_child.py", path, way, prefix=prefix)
    full = writer.hear()
    if full == "no mount":
        pytest.skip("mounting a tmpfs is not permitted in here; the way `limit` is tested")
    assert full["failing_since_ns"] > 0
    assert re.match(message, full["error"])
    assert str(path) in full["error"]
    assert full["written"] == full["receipt"] > 0
    assert full["waiting_count"] == full["submitted"] - full["written"] >= 100
    healed = writer.ask("free")
    assert healed == {
        "written": full["submitted"],
        "waiting_count": 0,
        "left_out_count": 0,
        "error": None,
        "failing_since_ns": None,
        "writing_since_ns": None,
    }
    end = writer.hear()
    assert end["left"] == 0
    assert end["found"] == list(range(1, full["submitted"] + 1))
    model = MemoryStore()
    model.append([entry_for(sequence) for sequence in end["found"]], wall_offset_ns=0)
    assert end["nodes"] == [record.name for record in model.load(wall_offset_ns=0).nodes]


@pytest.mark.real
def test_a_second_monitor_on_the_same_folder_is_refused(path, child):
    first = child("lock_child.py", path, "monitor")
    pid = first.hear()
    with pytest.raises(PermanentError) as refusal:
        SqliteStore(path)
    assert str(refusal.value) == (
        f"another monitor (process {pid}) already uses the data folder {path.parent}: stop it "
        "first, or give this one a folder of its own (data = ... in [monitor])"
    )
    assert first.ask("let go") == "free"
    SqliteStore(path).close()


@pytest.mark.real
def test_the_folder_is_free_when_its_monitor_was_killed(path, child):
    first = child("lock_child.py", path, "monitor")
    first.hear()
    first.end()
    SqliteStore(path).close()


def test_a_second_store_in_the_same_process_is_refused_too(path, store):
    with pytest.raises(PermanentError, match=rf"process {os.getpid()}\)"):
        SqliteStore(path)
    store.append([fact(1)], wall_offset_ns=0)  # and does no harm to the first


@pytest.mark.parametrize("replaced", [False, True])
def test_a_journal_that_was_removed_takes_no_more_entries(path, store, replaced):
    store.append([fact(1)], wall_offset_ns=0)
    hidden = path.with_name("hidden")
    path.rename(hidden)
    if replaced:
        path.write_bytes(b"")
    with pytest.raises(PermanentError, match=r"journal\.sqlite3 was removed or replaced"):
        store.append([fact(2)], wall_offset_ns=0)
    with pytest.raises(PermanentError, match="was removed or replaced"):
        store.append([fact(2)], wall_offset_ns=0)
    hidden.rename(path)
    store.append([fact(2)], wall_offset_ns=0)
    assert store.load(wall_offset_ns=0).sequence == 2


def test_a_removed_journal_that_is_put_back_goes_on(path, start, until, reader):
    journal, receipts = start(SqliteStore(path))
    journal.submit([fact(1)], wall_offset_ns=0)
    until(lambda: receipts == [1])
    aside = {found: found.with_name("aside" + found.name) for found in path.parent.iterdir()}
    for found, hidden in aside.items():
        found.rename(hidden)
    journal.submit([fact(2)], wall_offset_ns=0)
    until(lambda: journal.health().error)
    for found, hidden in aside.items():
        hidden.rename(found)
    until(lambda: journal.health() == WriterHealth(written=2))
    assert reader.last_sequence() == 2


def test_only_a_disk_that_refuses_is_met_with_a_new_connection(path, store):
    first = store._connection
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(TemporaryError, match="holds a lock"):
        store.append([fact(1)], wall_offset_ns=0)
    holder.close()
    assert store._connection is first
    first.exec_driver_sql("PRAGMA query_only=ON")
    first.rollback()
    with pytest.raises(TemporaryError, match=r"cannot be opened for writing .*permissions"):
        store.append([fact(1)], wall_offset_ns=0)
    store.append([fact(1)], wall_offset_ns=0)
    assert store.load(wall_offset_ns=0).sequence == 1


def test_a_closed_store_does_not_open_a_file_that_others_may_have(path, store):
    store.close()
    other = SqliteStore(path)
    with pytest.raises(AssertionError, match="closed store"):
        store.append([fact(1)], wall_offset_ns=0)
    assert other.load(wall_offset_ns=0).sequence == 0
    other.close()
