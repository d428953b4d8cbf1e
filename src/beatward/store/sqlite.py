"""The journal in one SQLite file, through exactly one connection that writes.

SQLite before 3.51.3 can corrupt a WAL database when two connections write or checkpoint it, and
Debian 12 has 3.40: so there is one, used by one thread at a time (in production the journal's
thread), behind a lock that keeps a second monitor out. `JournalReader` reads beside it.

WAL with synchronous=FULL: a transaction is on the disk when `append` returns. FULL costs nothing
at the size of our batches, one sync for a thousand entries.
"""

import sqlite3
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sqlalchemy import (
    Connection,
    Table,
    bindparam,
    create_engine,
    delete,
    event,
    func,
    insert,
    select,
)
from sqlalchemy.dialects.sqlite.pysqlite import dialect as sqlite_dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from beatward.core.entry import FAILED, SUCCEEDED, ActionState, Entry, Recovered
from beatward.core.instants import MILLISECOND, SECOND
from beatward.errors import BeatwardError, PermanentError
from beatward.store import schema, tables
from beatward.store.faults import PASSING, code, explained
from beatward.store.lock import FolderLock
from beatward.store.projection import OUTCOMES_LOOKED_AT, Changes, last_failures, project
from beatward.store.rows import (
    NODE_COLUMNS,
    Row,
    action_record,
    action_row,
    entry_row,
    node_columns,
    node_row,
    outcome_of,
    service_of,
    service_row,
    silence_of,
    silence_row,
)

# How long one attempt waits for another process's lock; the journal tries again anyway.
BUSY_NS = 250 * MILLISECOND
# A transaction of the largest size takes 0.3 s; what takes longer than this hangs.
CLOSE_NS = 3 * SECOND
# After a burst the write-ahead log is cut back to 64 MiB, instead of keeping its largest size.
PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", f"journal_size_limit={64 * 1024 * 1024}")

_LAST = select(func.coalesce(func.max(tables.entries.c.sequence), 0))
_KNOWN = str(select(*(tables.nodes.c[name] for name in NODE_COLUMNS)).order_by(tables.nodes.c.name))
_SILENCES = select(tables.silences.c.said).order_by(tables.silences.c.id)
_SERVICES = select(tables.services.c.said).order_by(tables.services.c.name)
_DECIDED = (
    select(tables.actions)
    .where(tables.actions.c.state == ActionState.DECIDED)
    .order_by(tables.actions.c.sequence)
)


# Of the newest entries, the outcomes of attempts, oldest first.
_OUTCOMES = (
    select(
        tables.entries.c.action,
        tables.entries.c.outcome,
        tables.entries.c.at,
        tables.entries.c.detail,
    )
    .where(tables.entries.c.sequence > bindparam("after"))
    .where(tables.entries.c.event == "outcome")
    .where(tables.entries.c.outcome.in_((*SUCCEEDED, *FAILED)))
    .order_by(tables.entries.c.sequence)
)


class SqliteStore:
    """`ports.Store` in a file. Calls may come from any thread; one waits for the other.

    Two threads inside one connection of SQLite end the process by a segmentation fault, so that is
    not left to the callers: at the end the journal's thread may still be writing.
    """

    def __init__(self, path: Path) -> None:
        """Lock the folder; open the journal, make it, or bring it to our version.

        Raises PermanentError when another monitor has it, a newer program wrote it, or it is
        damaged; TemporaryError when the disk, a lock or a permission is in the way.
        """
        self._path = path.absolute()
        self._connection: Connection | None = None
        self._identity = (0, 0)
        self._inside = threading.Lock()
        self._lock = FolderLock(self._path.with_name(self._path.name + ".lock"))
        try:
            self._connect("rwc")
        except BaseException:
            self.close()
            raise

    def load(self, *, wall_offset_ns: int) -> Recovered:
        """Return the last sequence, all nodes by name, undecided actions in order of change."""
        with self._inside, explained(self._path), self._connected().begin():
            connection = self._connected()
            # Past SQLAlchemy, whose rows cost as much again.
            cursor = connection.connection.cursor()
            known = cursor.execute(_KNOWN)
            decided = connection.execute(_DECIDED).mappings()
            last = connection.execute(_LAST).scalar_one()
            outcomes = connection.execute(_OUTCOMES, {"after": last - OUTCOMES_LOOKED_AT})
            return Recovered(
                sequence=last,
                failures=last_failures(outcome_of(row, wall_offset_ns) for row in outcomes),
                nodes=node_columns(known, wall_offset_ns),
                actions=tuple(action_record(row) for row in decided),
                silences=tuple(
                    silence_of(text, wall_offset_ns)
                    for text in connection.execute(_SILENCES).scalars()
                ),
                services=tuple(
                    service_of(text, wall_offset_ns)
                    for text in connection.execute(_SERVICES).scalars()
                ),
            )

    def append(self, entries: Sequence[Entry], *, wall_offset_ns: int) -> None:
        """Write entries and their rows in one transaction, on the disk when this returns.

        Raises TemporaryError when disk or lock are in the way, PermanentError when the file is
        damaged or gone; then nothing was written, or (a commit whose answer was lost) all of it,
        and the same batch may be given again.
        """
        with self._inside, explained(self._path):
            connection = self._connected()
            try:
                with connection.begin():
                    # Asked anew in every transaction and not remembered: after a commit that
                    # failed in doubt, only the file knows.
                    last = connection.execute(_LAST).scalar_one()
                    fresh = [entry for entry in entries if entry.sequence > last]
                    if fresh:
                        rows = [entry_row(entry, wall_offset_ns) for entry in fresh]
                        _insert(connection, tables.entries, rows)
                        _write_changes(connection, project(fresh), wall_offset_ns)
            except DBAPIError as error:
                # A disk that is mounted anew wants a new connection; for a full one it would be
                # a mistake, because opening needs space too.
                if code(error.orig) not in PASSING:
                    self._disconnect()
                raise

    def close(self) -> None:
        """Release file and folder; calling it twice does nothing.

        A call that hangs in a disk is left alone: the process ends without it.
        """
        if not self._inside.acquire(timeout=CLOSE_NS / SECOND):
            return
        try:
            self._close()
        finally:
            self._inside.release()

    def _close(self) -> None:
        if self._connection is not None:
            # SQLite does this by itself only where no process reads; afterwards the one file holds
            # everything, so that it can be copied.
            with suppress(BeatwardError), explained(self._path):
                cursor = self._connection.connection.cursor()  # past SQLAlchemy, as in PRAGMAS
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._disconnect()
        self._lock.release()

    def _connected(self) -> Connection:
        """Return the connection, and refuse to write into a file that no longer has its name.

        A journal that was deleted or replaced would go on taking entries until the restart
        that finds none of them.
        """
        assert self._lock.is_held, "a closed store has no business with a file others may have"
        if _identity(self._path) != self._identity:
            self._disconnect()
            raise self._gone()
        if self._connection is None:
            self._connect("rw")
        assert self._connection is not None
        return self._connection

    def _gone(self) -> PermanentError:
        return PermanentError(
            f"the journal {self._path} was removed or replaced while in use: move it back, "
            "with its -wal, or restart the monitor to go on with what is there now"
        )

    def _connect(self, mode: str) -> None:
        with explained(self._path):
            if self._path.exists():
                # Read-only first: a file that is not ours must not even be switched to WAL.
                with _connection(self._path, "ro") as reading:
                    outdated = schema.needs_migration(reading, self._path)
            else:
                outdated = True
                self._path.touch(mode=0o600)
            connection = _connection(self._path, mode)
            try:
                if outdated:
                    schema.migrate(connection)
            except BaseException:
                connection.close()
                raise
        self._identity = _identity(self._path)
        self._connection = connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # Closing writes what is left of the log into the file; where that fails, the next
            # one to open does it.
            with suppress(BeatwardError), explained(self._path):
                connection.close()


def _write_changes(connection: Connection, changes: Changes, wall_offset_ns: int) -> None:
    known = []
    forgotten = []
    for name, node in changes.nodes.items():
        if node.record is None:
            forgotten.append(name)
        else:
            known.append(node_row(node.record, node.sequence, wall_offset_ns))
    _insert(connection, tables.nodes, known)
    # One by one: they are few, and a list in one statement has a limit of its own.
    for name in forgotten:
        connection.execute(delete(tables.nodes).where(tables.nodes.c.name == name))
    begun = []
    for name, change in changes.silences.items():
        if change.silence is None:
            connection.execute(delete(tables.silences).where(tables.silences.c.id == name))
        else:
            begun.append(silence_row(name, change, wall_offset_ns))
    _insert(connection, tables.silences, begun)
    roles = [service_row(change, wall_offset_ns) for change in changes.services.values()]
    _insert(connection, tables.services, roles)
    acts = [action_row(action, wall_offset_ns) for action in changes.actions.values()]
    _insert(connection, tables.actions, acts)


def _insert(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Write rows; in tables of nodes and actions they replace what stands under their key.

    The driver gets the rows as they are: with SQLAlchemy preparing each of them, the journal
    reached 0.38 of bare sqlite3's speed instead of 0.65 (benchmarks/journal.py, November 2026).
    """
    if not rows:
        return
    assert tuple(rows[0]) == tuple(table.columns.keys()), f"rows.py and tables.py: {table.name}"
    connection.exec_driver_sql(_SQL[table.name], [tuple(row.values()) for row in rows])


def _compiled(table: Table, verb: str) -> str:
    statement = insert(table).prefix_with(verb) if verb else insert(table)
    return str(statement.compile(dialect=sqlite_dialect()))


_SQL = {
    "entries": _compiled(tables.entries, ""),
    "nodes": _compiled(tables.nodes, "OR REPLACE"),
    "actions": _compiled(tables.actions, "OR REPLACE"),
    "silences": _compiled(tables.silences, "OR REPLACE"),
    "services": _compiled(tables.services, "OR REPLACE"),
}


def _identity(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, 0)
    return (status.st_dev, status.st_ino)


def _connection(path: Path, mode: str) -> Connection:
    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{path.as_uri()}?mode={mode}",
            uri=True,
            timeout=BUSY_NS / SECOND,
            # None leaves BEGIN to us: the driver's own would come too late for a consistent read
            # and not at all for the changes of tables in a migration.
            isolation_level=None,
            check_same_thread=False,
        )
        # Here and not through SQLAlchemy, which would begin a transaction first.
        try:
            for pragma in () if mode == "ro" else PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    engine = create_engine("sqlite+pysqlite://", creator=connect, poolclass=NullPool)
    # IMMEDIATE, so that another process's lock is met before work is done and not at its end.
    begin = "BEGIN" if mode == "ro" else "BEGIN IMMEDIATE"
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine.connect()
