"""Reading the journal beside the one who writes it: for the API and the event stream.

Connections are opened read-only, so they can neither write nor checkpoint (see `sqlite` for why
that matters), and WAL lets them read while a transaction is being written: they see whole
transactions only. Route: rows -> `core.entry.public`. Not here: any opinion on statuses.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import RowMapping, Select, create_engine, func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import QueuePool

from beatward.core.entry import Event
from beatward.core.instants import SECOND
from beatward.store.faults import explained
from beatward.store.rows import action_object, entry_object
from beatward.store.tables import actions, entries

# A reader meets a lock only while the journal is opened after a crash.
BUSY_NS = 2 * SECOND
# As many as the web's pool of threads keeps busy; each is one open file.
CONNECTIONS_MAX = 8
# What counts as a verdict: the statuses that a silence or a goodbye ends in.
VERDICTS = ("suspect", "dead", "left")

Object = dict[str, Any]


class JournalReader:
    """The journal for reading; every method may block on the disk, and be called in any thread.

    Before the file exists, or has its tables, every answer is empty. Raises TemporaryError or
    PermanentError as `SqliteStore` does.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._engine = create_engine(
            "sqlite+pysqlite://",
            creator=self._open,
            poolclass=QueuePool,
            pool_size=CONNECTIONS_MAX,
            max_overflow=0,
        )

    def events(
        self, *, after: int, limit: int, node: str | None = None, newest_first: bool = False
    ) -> list[Object]:
        """Return at most `limit` events with an id above `after`, the oldest of them first.

        newest_first   the newest instead, and in falling order
        """
        order = entries.c.sequence.desc() if newest_first else entries.c.sequence
        query = select(entries).where(entries.c.sequence > after).order_by(order).limit(limit)
        if node is not None:
            query = query.where(entries.c.node == node)
        return [entry_object(row) for row in self._rows(query)]

    def last_sequence(self) -> int:
        """Return the id of the newest event on disk, 0 when there is none."""
        rows = self._rows(select(func.max(entries.c.sequence).label("last")))
        return (rows[0]["last"] or 0) if rows else 0

    def last_verdict(self, node: str) -> Object | None:
        """Return the node's newest transition to suspect, dead or left; None if it never was."""
        query = (
            select(entries)
            .where(entries.c.node == node)
            .where(entries.c.event == str(Event.TRANSITION))
            .where(entries.c.status.in_(VERDICTS))
            .order_by(entries.c.sequence.desc())
            .limit(1)
        )
        rows = self._rows(query)
        return entry_object(rows[0]) if rows else None

    def was_forgotten(self, node: str) -> bool:
        """Tell whether a node was forgotten by an operator and not enrolled since."""
        query = (
            select(entries.c.event)
            .where(entries.c.node == node)
            .where(entries.c.event.in_((str(Event.JOINED), str(Event.FORGOTTEN))))
            .order_by(entries.c.sequence.desc())
            .limit(1)
        )
        return [row["event"] for row in self._rows(query)] == [str(Event.FORGOTTEN)]

    def actions(
        self, *, limit: int, state: str | None = None, node: str | None = None
    ) -> list[Object]:
        """Return at most `limit` actions, those that changed last first."""
        query = select(actions).order_by(actions.c.sequence.desc()).limit(limit)
        if state is not None:
            query = query.where(actions.c.state == state)
        if node is not None:
            query = query.where(actions.c.node == node)
        return [action_object(row) for row in self._rows(query)]

    def close(self) -> None:
        """Close all connections; calling it twice does nothing."""
        self._engine.dispose()

    def _rows(self, query: Select[Any]) -> Sequence[RowMapping]:
        # One statement is one consistent view; nothing stays open that would keep the write-ahead
        # log from being taken up into the file.
        with explained(self._path):
            try:
                with self._engine.connect() as connection:
                    return connection.execute(query).mappings().all()
            except OperationalError:
                if self._is_empty():
                    return []
                raise

    def _is_empty(self) -> bool:
        if not self._path.exists():
            return True
        with self._engine.connect() as connection:
            found = connection.exec_driver_sql("SELECT 1 FROM sqlite_master WHERE name = 'entries'")
            return found.first() is None

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{self._path.as_uri()}?mode=ro",
            uri=True,
            timeout=BUSY_NS / SECOND,
            isolation_level=None,
            check_same_thread=False,
        )
