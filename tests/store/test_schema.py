"""A journal of another age: made from nothing, refused from the future, and never half-migrated."""

import hashlib
import sqlite3
import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from beatward.core.entry import Entry, Event, NodeRecord, Recovered
from beatward.errors import PermanentError, TemporaryError
from beatward.store import schema, sqlite, tables
from beatward.store.sqlite import SqliteStore


@pytest.fixture
def old(path):
    """A journal that was closed, and a way to change it behind our back."""
    store = SqliteStore(path)
    store.append([Entry(1, Event.STARTED, 1000)], wall_offset_ns=0)
    store.close()

    def change(*statements):
        connection = sqlite3.connect(path)
        with connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()

    return change


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_migrations_make_what_the_tables_say(store, path):
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables.metadata) == []
        indexes = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'index'")
        assert {"entries_by_node", "actions_by_sequence", "actions_decided"} <= set(
            indexes.scalars()
        )
    engine.dispose()


def test_the_newest_migration_is_the_version_that_is_checked():
    assert ScriptDirectory(str(schema.MIGRATIONS)).get_heads() == [tables.SCHEMA_VERSION]


def migrated(path):
    """Let a file go through the migrations that are there, from the first on."""
    path.touch()
    with sqlite._connection(path, "rw") as connection:  # its DDL is transactional
        schema.upgrade(connection)


def contents(path):
    """Return all that a file is made of: tables, columns, keys, indexes, conditions, rows."""
    connection = sqlite3.connect(path)
    found = {}
    made = connection.execute("SELECT name, type, tbl_name, sql FROM sqlite_master").fetchall()
    for name, kind, table, sql in made:
        columns = connection.execute(f"PRAGMA {kind}_xinfo('{name}')").fetchall()
        rows = connection.execute(f"SELECT * FROM {table}").fetchall()
        terms = "WITHOUT ROWID" in (sql or ""), (sql or "").split("WHERE")[1:]
        found[name] = kind, table, columns, terms, rows
    connection.close()
    return found


def test_a_new_journal_is_what_all_migrations_make_of_an_empty_file(tmp_path):
    migrated(tmp_path / "migrated")
    SqliteStore(tmp_path / "new").close()
    assert len(contents(tmp_path / "new")) > 5
    assert contents(tmp_path / "new") == contents(tmp_path / "migrated")


@pytest.mark.parametrize("is_new", [True, False], ids=["new", "current"])
def test_a_journal_of_this_version_is_opened_without_alembic(old, path, is_new):
    if is_new:
        path.unlink()
    program = (
        "import sys; from pathlib import Path; from beatward.store.sqlite import SqliteStore\n"
        "store = SqliteStore(Path(sys.argv[1])); store.load(wall_offset_ns=0); store.close()\n"
        "print('alembic' in sys.modules)"
    )
    command = [sys.executable, "-c", program, str(path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert (run.stdout, run.stderr) == ("False\n", "")


def test_migrating_says_nothing(path):
    program = (
        "import sys, logging; logging.basicConfig(level=logging.WARNING)\n"
        "from pathlib import Path; from beatward.store.sqlite import SqliteStore\n"
        "SqliteStore(Path(sys.argv[1])).close()"
    )
    command = [sys.executable, "-W", "error", "-c", program, str(path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert (run.stdout, run.stderr) == ("", "")


def test_a_file_that_somebody_touched_becomes_a_journal(path):
    path.touch()
    store = SqliteStore(path)
    assert store.load(wall_offset_ns=0) == Recovered()
    store.close()


def test_the_file_is_for_its_user_only(store, path):
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_journal_survives_closing(old, path):
    store = SqliteStore(path)
    assert store.load(wall_offset_ns=0).sequence == 1
    store.close()


def test_after_closing_the_one_file_is_all_even_beside_a_reader(store, path, reader, tmp_path):
    store.append([Entry(1, Event.STARTED, 1000)], wall_offset_ns=0)
    assert reader.last_sequence() == 1
    store.close()
    copy = tmp_path / "copy" / "journal.sqlite3"
    copy.parent.mkdir()
    copy.write_bytes(path.read_bytes())
    copied = SqliteStore(copy)
    assert copied.load(wall_offset_ns=0).sequence == 1
    copied.close()


@pytest.mark.parametrize("version", ["0099", "9999", "abc"])
def test_a_newer_journal_is_refused_and_not_touched(old, path, version):
    old(f"UPDATE alembic_version SET version_num = '{version}'")
    before = digest(path)
    with pytest.raises(
        PermanentError, match=rf"newer beatward \(schema {version}, .*{tables.SCHEMA_VERSION}\)"
    ):
        SqliteStore(path)
    assert digest(path) == before
    # Nor does the attempt keep the folder locked.
    old(f"UPDATE alembic_version SET version_num = '{tables.SCHEMA_VERSION}'")
    SqliteStore(path).close()


@pytest.mark.parametrize("table", ["bookmarks", "entries", "alembic_version"])
def test_a_file_of_another_program_is_refused_and_not_touched(path, table):
    connection = sqlite3.connect(path)
    connection.execute(f"CREATE TABLE {table} (url TEXT)")
    connection.close()
    before = digest(path)
    with pytest.raises(PermanentError, match="file of another program"):
        SqliteStore(path)
    assert digest(path) == before


def test_a_damaged_journal_is_named_with_what_to_do(path):
    path.write_bytes(b"this is no database " * 500)
    with pytest.raises(PermanentError, match=r"journal\.sqlite3 is damaged .*move the file"):
        SqliteStore(path)
    assert path.read_bytes() == b"this is no database " * 500


def test_damage_that_shows_later_is_permanent_too(old, path):
    store = SqliteStore(path)
    entries = [Entry(i, Event.STARTED, 1000, explanation="x" * 500) for i in range(2, 2000)]
    store.append(entries, wall_offset_ns=0)
    store.close()
    with path.open("r+b") as file:
        # All pages but the first, which says what the tables are.
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))
    with pytest.raises(PermanentError, match="damaged"):
        SqliteStore(path).load(wall_offset_ns=0)


def test_a_migration_that_fails_half_way_leaves_nothing(path, monkeypatch):
    # A folder of migrations is a parameter of the room, changed here as by a broken package.
    versions = path.parent / "migrations" / "versions"
    versions.mkdir(parents=True)
    (versions.parent / "env.py").write_text((schema.MIGRATIONS / "env.py").read_text())
    good = (schema.MIGRATIONS / "versions" / "0001_journal.py").read_text()
    (versions / "0001_journal.py").write_text(good + "    raise RuntimeError('half way')\n")
    monkeypatch.setattr(schema, "MIGRATIONS", versions.parent)
    with pytest.raises(RuntimeError, match="half way"):
        migrated(path)
    monkeypatch.undo()
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    connection.close()
    SqliteStore(path).close()


@pytest.fixture
def first(path, monkeypatch):
    """A journal as the first version made it, with one node."""
    versions = path.parent / "migrations" / "versions"
    versions.mkdir(parents=True)
    (versions.parent / "env.py").write_text((schema.MIGRATIONS / "env.py").read_text())
    journal = schema.MIGRATIONS / "versions" / "0001_journal.py"
    (versions / journal.name).write_text(journal.read_text())
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", versions.parent)
        migrated(path)
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(
            "INSERT INTO nodes VALUES ('web-1', 1, 11, 'paused', 'pause', 500, 0, 0, X'', '', '{}')"
        )
        connection.execute(
            "INSERT INTO entries (sequence, event, at, detail) VALUES (1, 'joined', 0, '{}')"
        )
    connection.close()


def test_an_older_journal_is_brought_up_to_date(first, path):
    store = SqliteStore(path)
    recovered = store.load(wall_offset_ns=0)
    assert recovered.sequence == 1
    assert recovered.silences == ()
    assert list(recovered.nodes) == [NodeRecord("web-1", 11, "paused", "pause", 500)]
    store.close()
    connection = sqlite3.connect(path)
    columns = [row[1] for row in connection.execute("PRAGMA table_info(nodes)")]
    assert "maintenance" in columns
    connection.close()
    SqliteStore(path).close()  # now current


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(PermanentError, match=r"data folder .*nowhere cannot be used"):
        SqliteStore(tmp_path / "nowhere" / "journal.sqlite3")


def test_a_locked_journal_is_refused_for_now(old, path):
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    connection.execute("BEGIN EXCLUSIVE")
    with pytest.raises(TemporaryError, match="another process holds a lock"):
        SqliteStore(path)
    connection.close()
    SqliteStore(path).close()


def test_the_log_is_synced_at_every_commit(store):
    connection = store._connection
    assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
    connection.rollback()
    assert "synchronous=FULL" in sqlite.PRAGMAS
