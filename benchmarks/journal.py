"""How fast the journal writes, beside bare sqlite3 in the same run: python benchmarks/journal.py

Both write the same 100,000 transitions of 10,000 nodes in transactions of 1,000, WAL with
synchronous=FULL, and take turns; ratios are medians over rounds. The bare one writes ready-made
tuples, with and without the index by node; ours makes rows of entries, writes the nodes' rows as
well, and asks in each transaction what is already there.
"""

import argparse
import gc
import sqlite3
import statistics
import tempfile
import threading
import time
import tracemalloc
from pathlib import Path

from beatward.core.entry import Entry, Event, NodeRecord
from beatward.store.journal import JournalWriter
from beatward.store.memory import MemoryStore
from beatward.store.reader import JournalReader
from beatward.store.rows import entry_row
from beatward.store.sqlite import PRAGMAS, SqliteStore

OFFSET = 1_700_000_000_000_000_000
NODES = 10_000
TRANSACTION = 1_000


def transition(sequence):
    # A stride that is prime to the count: neighbours in time are no neighbours in the index.
    node = f"node-{sequence * 7919 % NODES:05}"
    silent_ns = 2_310_000_000 + sequence
    return Entry(
        sequence,
        Event.TRANSITION,
        sequence * 1_000,
        node=node,
        status="suspect",
        cause="silence",
        explanation=f"{node} suspected: silent {silent_ns / 1e9:.2f} s; heartbeat {sequence} was "
        "due 1.02 s ago with margin 0.21 s (99.9 % of the last 1,000 were earlier)",
        detail={"before": "alive", "silent_ns": silent_ns, "margin_ns": 210_000_000},
        node_record=NodeRecord(
            node, sequence, "suspect", "silence", sequence * 1_000, 1, 10**9, bytes(28), "udp"
        ),
    )


def bare(folder, rows, *, index):
    connection = sqlite3.connect(folder / "bare.sqlite3", isolation_level=None)
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    names = ", ".join(rows[0])
    connection.execute(
        f"CREATE TABLE entries ({names.replace('sequence', 'sequence INTEGER PRIMARY KEY')})"
    )
    if index:
        connection.execute("CREATE INDEX by_node ON entries (node, sequence)")
    tuples = [tuple(row.values()) for row in rows]
    statement = f"INSERT INTO entries ({names}) VALUES ({', '.join('?' * len(rows[0]))})"
    began = time.perf_counter()
    for start in range(0, len(tuples), TRANSACTION):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(statement, tuples[start : start + TRANSACTION])
        connection.execute("COMMIT")
    took = time.perf_counter() - began
    connection.close()
    return took


def ours(folder, entries):
    store = SqliteStore(folder / "ours.sqlite3")
    began = time.perf_counter()
    for start in range(0, len(entries), TRANSACTION):
        store.append(entries[start : start + TRANSACTION], wall_offset_ns=OFFSET)
    took = time.perf_counter() - began
    store.close()
    return took


def threaded(folder, entries):
    """Hand all over in turns of fifty, as the wheel does, and wait for the last receipt."""
    done = threading.Event()
    store = SqliteStore(folder / "threaded.sqlite3")
    last = entries[-1].sequence
    journal = JournalWriter(
        store, lambda written: done.set() if written == last else None, now_ns=time.monotonic_ns
    )
    began = time.perf_counter()
    for start in range(0, len(entries), 50):
        journal.submit(entries[start : start + 50], wall_offset_ns=OFFSET)
    submitted = time.perf_counter() - began
    assert done.wait(120)
    took = time.perf_counter() - began
    journal.close()
    return took, submitted


def receipts(folder, count=2_000):
    """Return the times from submitting one entry to its receipt, in milliseconds, sorted."""
    arrived = threading.Event()
    store = SqliteStore(folder / "receipts.sqlite3")
    journal = JournalWriter(store, lambda _: arrived.set(), now_ns=time.monotonic_ns)
    times = []
    for sequence in range(1, count + 1):
        entry = transition(sequence)
        began = time.perf_counter()
        journal.submit([entry], wall_offset_ns=OFFSET)
        assert arrived.wait(60)
        times.append((time.perf_counter() - began) * 1e3)
        arrived.clear()
    journal.close()
    return sorted(times)


def waiting_bytes(count=20_000):
    tracemalloc.start()
    entries = [transition(sequence) for sequence in range(1, count + 1)]
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(entries) == count
    return size / count


def measure(folder, entries, rows, rounds):
    ratios, found = {"plain": [], "indexed": [], "threaded": []}, {}
    for number in range(rounds):
        here = folder / str(number)
        here.mkdir()
        times = {
            "bare sqlite3": bare(here, rows, index=False),
            "SqliteStore": ours(here, entries),
        }
        (here / "bare.sqlite3").unlink()
        times["bare sqlite3 with index"] = bare(here, rows, index=True)
        times["JournalWriter"], times["of that, submitting"] = threaded(here, entries)
        for name, took in times.items():
            found.setdefault(name, []).append(took)
        ratios["plain"].append(times["bare sqlite3"] / times["SqliteStore"])
        ratios["indexed"].append(times["bare sqlite3 with index"] / times["SqliteStore"])
        ratios["threaded"].append(times["bare sqlite3 with index"] / times["JournalWriter"])
    return found, ratios


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to write; default: a temporary folder")
    options = parser.parse_args()
    entries = [transition(sequence) for sequence in range(1, options.entries + 1)]
    rows = [entry_row(entry, OFFSET) for entry in entries]
    gc.freeze()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        found, ratios = measure(folder, entries, rows, options.rounds)
        print(
            f"SQLite {sqlite3.sqlite_version}, {options.entries} entries, {options.rounds} rounds"
        )
        for what, times in found.items():
            rate = options.entries / statistics.median(times)
            print(f"{what:26}{rate:10,.0f} entries/s   {statistics.median(times):6.2f} s")
        print(f"SqliteStore  / bare            {statistics.median(ratios['plain']):5.2f}")
        print(f"SqliteStore  / bare with index {statistics.median(ratios['indexed']):5.2f}")
        print(f"JournalWriter/ bare with index {statistics.median(ratios['threaded']):5.2f}")
        times = receipts(folder)
        middle, late = times[len(times) // 2], times[len(times) * 99 // 100]
        print(f"one entry to its receipt: p50 {middle:.2f} ms, p99 {late:.2f} ms")
        began = time.perf_counter()
        store = SqliteStore(folder / "0" / "ours.sqlite3")
        opened = time.perf_counter()
        nodes = len(store.load(wall_offset_ns=OFFSET).nodes)
        print(f"open {(opened - began) * 1e3:.1f} ms, ", end="")
        print(f"load {nodes} nodes {(time.perf_counter() - opened) * 1e3:.0f} ms")
        store.close()
        reader = JournalReader(folder / "0" / "ours.sqlite3")
        began = time.perf_counter()
        for sequence in range(1, 501):
            assert reader.last_verdict(entries[sequence].node)
        print(f"last verdict on a node: {(time.perf_counter() - began) / 500 * 1e3:.2f} ms")
        reader.close()
    memory = MemoryStore()
    began = time.perf_counter()
    memory.append(entries, wall_offset_ns=OFFSET)
    print(f"MemoryStore: {options.entries / (time.perf_counter() - began):,.0f} entries/s")
    print(f"a waiting entry: {waiting_bytes():,.0f} bytes")


if __name__ == "__main__":
    main()
