"""Whether a journal file is ours and of our version, and the migrations when it is older.

Alembic takes 150 ms to import (more than the rest of a start together) and 10 MB, so it is imported
only when there is something to migrate: after an upgrade. A new file is made from the tables
themselves, and a test compares it with one that went through every migration.
"""

from pathlib import Path

from sqlalchemy import Connection

from beatward.errors import PermanentError
from beatward.store.tables import SCHEMA_VERSION, metadata

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


# As Alembic makes it, so that the next version's migrations find it.
_VERSION_TABLE = """
CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
)
"""


def migrate(connection: Connection) -> None:
    """Bring the file to our version in one transaction: all of it or nothing."""
    with connection.begin():
        tables = connection.exec_driver_sql("SELECT name FROM sqlite_master").scalars().all()
        if not tables:
            metadata.create_all(connection)
            connection.exec_driver_sql(_VERSION_TABLE)
            insert = "INSERT INTO alembic_version (version_num) VALUES (?)"
            connection.exec_driver_sql(insert, (SCHEMA_VERSION,))
            return
    upgrade(connection)


def upgrade(connection: Connection) -> None:
    """Run the migrations that the file has not seen, from the first for an empty one."""
    from alembic import command  # noqa: PLC0415  150 ms, see above
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    # A percent sign in a path would be an interpolation to configparser.
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    with connection.begin():
        command.upgrade(config, "head")
