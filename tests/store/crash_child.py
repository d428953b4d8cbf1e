"""Append the story to a journal until killed: python crash_child.py JOURNAL RECEIPTS.

The parent asks `go`; a forked process opens the journal and appends from where it ends. Forked,
because it is killed twenty times and imports take a second. The number of the last entry that was
promised to be on disk stands in the first eight bytes of RECEIPTS.
"""

import json
import os
import random
import signal
import sys
from pathlib import Path

from beatward.store.sqlite import SqliteStore

sys.path.insert(0, str(Path(__file__).parent))
from story import entry_for


def append_for_ever(path, receipts):
    store = SqliteStore(path)
    sequence = store.load(wall_offset_ns=0).sequence
    chance = random.Random(sequence)
    while True:
        count = chance.choice((1, 3, 50, 400))
        batch = [entry_for(sequence + 1 + i) for i in range(count)]
        store.append(batch, wall_offset_ns=0)
        sequence += count
        os.pwrite(receipts, sequence.to_bytes(8, "little"), 0)


def main():
    path = Path(sys.argv[1])
    receipts = os.open(sys.argv[2], os.O_RDWR | os.O_CREAT)
    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            append_for_ever(path, receipts)
        print(json.dumps({"pid": pid}), flush=True)
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"killed": os.WTERMSIG(status) == signal.SIGKILL}), flush=True)


if __name__ == "__main__":
    main()
