"""Be in the way of a journal: python lock_child.py JOURNAL monitor|lock, until told otherwise."""

import json
import os
import sqlite3
import sys
from pathlib import Path

path, way = Path(sys.argv[1]), sys.argv[2]
if way == "monitor":
    from beatward.store.sqlite import SqliteStore

    holder = SqliteStore(path)
else:
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
print(json.dumps(os.getpid()), flush=True)
sys.stdin.readline()
holder.close()
print(json.dumps("free"), flush=True)
sys.stdin.readline()
