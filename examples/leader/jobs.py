"""What only one may write to: a table of jobs in SQLite that knows the newest token it has seen.

This is the half of the safety that no lease can give. A leader that was paused between looking at
its lease and writing does not know that it is one no more; whoever it writes to does, because
somebody else has written under a higher token.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self


class OldToken(Exception):
    """Somebody writes who was the leader once."""


class Jobs:
    """The table; one connection a process."""

    def __init__(self, path: Path) -> None:
        # Transactions are begun by hand, because the check and the write have to be one.
        self._base = sqlite3.connect(path, timeout=5, isolation_level=None)
        self._base.execute(
            "CREATE TABLE IF NOT EXISTS jobs (id INTEGER PRIMARY KEY, token INTEGER NOT NULL,"
            " author TEXT NOT NULL, at REAL NOT NULL, done_by TEXT)"
        )
        self._base.execute(
            "CREATE TABLE IF NOT EXISTS refused (token INTEGER, author TEXT, at REAL)"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._base.close()

    def add(self, token: int, author: str, at: float) -> None:
        """Add a job. Raises OldToken when a newer leader has added one; both are written down."""
        self._base.execute("BEGIN IMMEDIATE")
        ((newest,),) = self._base.execute("SELECT coalesce(max(token), 0) FROM jobs")
        if token < newest:
            self._base.execute("INSERT INTO refused VALUES (?, ?, ?)", (token, author, at))
            self._base.execute("COMMIT")
            raise OldToken(f"{author} writes under token {token}, and the newest is {newest}")
        self._base.execute(
            "INSERT INTO jobs (token, author, at) VALUES (?, ?, ?)", (token, author, at)
        )
        self._base.execute("COMMIT")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let no other process be in the middle of a write."""
        self._base.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            self._base.execute("ROLLBACK")

    def take(self, worker: str) -> int | None:
        """Take the oldest job that nobody has done; returns its id, or None when there is none."""
        found = self._base.execute(
            "UPDATE jobs SET done_by = ? WHERE id ="
            " (SELECT min(id) FROM jobs WHERE done_by IS NULL) RETURNING id",
            (worker,),
        ).fetchone()
        return None if found is None else int(found[0])

    def written(self) -> list[tuple[int, str, float]]:
        """Return token, author and instant of every job in the order of their ids."""
        return list(self._base.execute("SELECT token, author, at FROM jobs ORDER BY id"))

    def refused(self) -> list[tuple[int, str, float]]:
        """Return token, author and instant of every write that came too late."""
        return list(self._base.execute("SELECT token, author, at FROM refused ORDER BY at"))
