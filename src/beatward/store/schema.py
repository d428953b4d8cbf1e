"""Whether a journal file is ours and of our version, and the migrations when it is older.

Alembic takes 150 ms to import (more than the rest of a start together), so it is imported only
when there is something to migrate: for a new file, and after an upgrade.
"""

from pathlib import Path

from sqlalchemy import Connection

from beatward.errors import PermanentError
from beatward.store.tables import SCHEMA_VERSION

MIGRATIONS = Path(__file__).parent / "migrations"


def needs_migration(connection: Connection, path: Path) -> bool:
    """Tell whether the file is new or older than this program; reads only.

    Raises PermanentError for a file that a newer program or another program wrote.
    """
    tables = connection.exec_driver_sql("SELECT name FROM sqlite_master").scalars().all()
    if not tables:
        return True
    if "alembic_version" not in tables or "entries" not in tables:
        raise PermanentError(
            f"{path} is a SQLite file of another program and was not touched: give the monitor a "
            "folder of its own"
        )
    versions = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars()
    found = ", ".join(versions.all())
    if found == SCHEMA_VERSION:
        return False
    if found.isdigit() and int(found) < int(SCHEMA_VERSION):
        return True
    raise PermanentError(
        f"the journal {path} was written by a newer beatward (schema {found or 'unknown'}, this "
        f"one knows {SCHEMA_VERSION}) and was not touched: start the newer program, or move the "
        "file away"
    )


def migrate(connection: Connection) -> None:
    """Bring the file to our version in one transaction: all of it or nothing."""
    from alembic import command  # noqa: PLC0415  150 ms, see above
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    # A percent sign in a path would be an interpolation to configparser.
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    with connection.begin():
        command.upgrade(config, "head")
