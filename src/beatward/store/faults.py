"""What SQLite complains of -> our two kinds of error, in words that say what to do.

Temporary is what passes by itself or by a hand other than ours (space, a lock, a remounted disk):
the journal keeps its entries and tries again. Permanent is a file that no repetition will mend.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from beatward.errors import PermanentError, TemporaryError

# What leaves the connection as good as it was.
PASSING = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL}


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn any complaint of SQLite about the file into TemporaryError or PermanentError."""
    try:
        yield
    except DBAPIError as error:
        if not isinstance(error.orig, sqlite3.Error):
            raise
        raise explain(error.orig, path) from error
    except sqlite3.Error as error:
        raise explain(error, path) from error
    except OSError as error:
        raise TemporaryError(f"the journal {path} cannot be used: {error.strerror}") from error


def code(error: BaseException | None) -> int:
    """Return SQLite's primary result code, 0 where there is none."""
    # The lower eight bits; the others say where in SQLite it happened.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def explain(error: sqlite3.Error, path: Path) -> TemporaryError | PermanentError:
    """Say what a complaint means for the one who runs the monitor."""
    number = code(error)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    if number in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return damaged(path, f"{error}, {name}")
    if number in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return TemporaryError(f"another process holds a lock on the journal {path}")
    if number == sqlite3.SQLITE_FULL:
        return TemporaryError(f"no space is left for the journal {path}: free some on its disk")
    if number == sqlite3.SQLITE_IOERR:
        return TemporaryError(
            f"the disk refuses to read or write the journal {path} ({name}): look at its disk, "
            "quota and file size limit"
        )
    if number in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
        return TemporaryError(
            f"the journal {path} cannot be opened for writing ({error}, {name}): look at the "
            "permissions of the file and its folder"
        )
    return TemporaryError(f"SQLite cannot use the journal {path}: {error} ({name})")


def damaged(path: Path, why: str) -> PermanentError:
    """Say what to do with a file that is no readable journal."""
    return PermanentError(
        f"the journal {path} is damaged or no SQLite file ({why}): stop the monitor, move the file "
        f"and its -wal and -shm away, and start again; nodes enrol anew by themselves, the history "
        f"stays in the old file (sqlite3 {path.name} .recover may read it)"
    )
