"""Live through a full disk: python disk_child.py JOURNAL limit|mount.

limit   the process may write no file longer than 200,000 bytes (works everywhere)
mount   the folder becomes a file system of one megabyte (needs a mount namespace of its own)

Tells in lines of JSON how the journal is; at the word `free` there is space again.
"""

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from beatward.store.journal import JournalWriter
from beatward.store.sqlite import SqliteStore

sys.path.insert(0, str(Path(__file__).parent))
from story import entry_for

UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"not true within {seconds} s")
        # The journal's thread changes it; nothing would wake us.
        time.sleep(0.005)


def fill(folder, way):
    """Leave so little space that the story soon meets its end."""
    if way == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
        return
    with (folder / "filler").open("wb") as filler:
        filler.write(bytes(700_000))


def free(folder, way):
    if way == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, UNLIMITED)
        return
    (folder / "filler").unlink()


def main():
    path, way = Path(sys.argv[1]), sys.argv[2]
    if way == "mount":
        # "private" in the namespace: nobody else sees it, and it is gone with the process.
        command = ["mount", "-t", "tmpfs", "-o", "size=1m", "beatward-test", str(path.parent)]
        if subprocess.run(command, check=False, capture_output=True).returncode:
            print(json.dumps("no mount"), flush=True)
            return
    store = SqliteStore(path)
    receipts = []
    journal = JournalWriter(store, receipts.append, now_ns=time.monotonic_ns)
    fill(path.parent, way)
    sequence = 0
    while journal.health().error is None:
        journal.submit([entry_for(sequence := sequence + 1)], wall_offset_ns=0)
        wait_until(lambda: journal.health().waiting_count < 50 or journal.health().error)
    journal.submit([entry_for(sequence := sequence + 1) for _ in range(100)], wall_offset_ns=0)
    told = {"submitted": sequence, "receipt": receipts[-1]}
    print(json.dumps({**told, **asdict(journal.health())}), flush=True)
    sys.stdin.readline()
    free(path.parent, way)
    wait_until(lambda: journal.health().written == sequence)
    print(json.dumps(asdict(journal.health())), flush=True)
    left = journal.close()
    again = SqliteStore(path)
    rows = again._connection.exec_driver_sql("SELECT sequence FROM entries ORDER BY sequence")
    found = rows.scalars().all()
    again._connection.rollback()
    nodes = [record.name for record in again.load(wall_offset_ns=0).nodes]
    again.close()
    print(json.dumps({"left": left, "found": found, "nodes": nodes}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
