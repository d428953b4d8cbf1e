"""The nodes of a measurement: their identities, their keys, and the journal that knows them.

A fleet is written into a scratch journal as one that an earlier session knew, alive and in its
first life, and the monitor is started on that: enrolling a million nodes by HTTP would take longer
than any measurement. They still have to prove their life before a heartbeat of theirs is believed.
"""

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from beatward.core.arrays import ByteArray
from beatward.core.entry import NodeRecord
from beatward.core.protocol import keys
from beatward.core.tags import FASTEST
from beatward.store.rows import node_row
from beatward.store.sqlite import SqliteStore
from beatward.store.tables import nodes as NODES  # noqa: N812  a constant there and here

INCARNATION = 1
JOURNAL_FILE = "journal.sqlite3"
MASTER_FILE = "master.key"
_FILE = "fleet.npz"


def name_of(index: int) -> str:
    """Return a node's name. In order, so that its slot is its number: nodes are loaded by name."""
    return f"node-{index:07}"


@dataclass(frozen=True, slots=True)
class Fleet:
    """node (n,) uint64 identities, and what `tags.FASTEST` made of their keys (n, ...)."""

    node: np.ndarray[tuple[int], np.dtype[np.uint64]]
    secret: ByteArray

    @classmethod
    def of(cls, master: bytes, count: int) -> Self:
        """Derive a number of nodes from a master key, at 4 us each."""
        ids = [keys.node_id(name_of(index)) for index in range(count)]
        joined = b"".join([keys.node_key(master, node) for node in ids])
        secret = FASTEST.prepare(np.frombuffer(joined, np.uint8).reshape(count, keys.KEY_SIZE))
        return cls(np.array(ids, np.uint64), secret)

    def save(self, folder: Path) -> Path:
        """Write it for the sender's process and return the file, which holds secrets."""
        path = folder / _FILE
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            np.savez(file, node=self.node, secret=self.secret)
        return path

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        with np.load(path) as arrays:
            return cls(arrays["node"], arrays["secret"])


def settle(data: Path, count: int) -> Fleet:
    """Make a data folder whose monitor knows a number of nodes, and return these."""
    data.mkdir(mode=0o700, parents=True)
    master = os.urandom(keys.KEY_SIZE)
    path = data / MASTER_FILE
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(master)
    fleet = Fleet.of(master, count)
    SqliteStore(data / JOURNAL_FILE).close()  # the tables
    rows = (
        tuple(node_row(_known(index, int(node)), 0, 0).values())
        for index, node in enumerate(fleet.node)
    )
    columns = NODES.columns.keys()
    places = ", ".join("?" * len(columns))
    connection = sqlite3.connect(data / JOURNAL_FILE)
    with connection:
        connection.executemany(f"INSERT INTO nodes VALUES ({places})", rows)  # noqa: S608  `?` only
    connection.close()
    return fleet


def _known(index: int, node: int) -> NodeRecord:
    return NodeRecord(
        name_of(index), node, "alive", "heard", since_ns=0, incarnation=INCARNATION, via="udp"
    )
