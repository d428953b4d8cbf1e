"""The tables, as SQLAlchemy sees them; `migrations/` makes them.

    entries   the journal itself, one line a fact, never changed
    nodes     what the last entry said of each node: a restart begins here
    actions   what the last entry said of each action; those `decided` are taken up again
    silences  those that have not ended
    services  what the last entry said of each service's role; its token is never forgotten

All but the first could be replayed from the journal, but a restart should not have to read years of
history to know a thousand nodes. All instants are nanoseconds since 1970 UTC: the
monitor's own clock means nothing after a reboot. Not here: how rows become entries (`rows`).
"""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, Table, Text, text

# The newest file in migrations/versions; tests/store/test_schema.py holds the two together.
SCHEMA_VERSION = "0005"

metadata = MetaData()

# SQLite makes `INTEGER PRIMARY KEY`, and only exactly that, the table's own order on disk.
entries = Table(
    "entries",
    metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("event", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("node", Text),
    Column("status", Text),
    Column("cause", Text),
    Column("explanation", Text),
    Column("action", Text),
    Column("outcome", Text),
    Column("detail", Text, nullable=False),
    # Without it inserting is 2.4 times as fast (benchmarks/journal.py, November 2026), and the last
    # verdict on one node, 0.2 ms, would read the whole journal.
    Index("entries_by_node", "node", "sequence"),
)

nodes = Table(
    "nodes",
    metadata,
    Column("name", Text, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("node", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("incarnation", BigInteger, nullable=False),
    Column("interval_ns", BigInteger, nullable=False),
    Column("address", LargeBinary, nullable=False),
    Column("via", Text, nullable=False),
    Column("labels", Text, nullable=False),
    # JSON of the few nodes that an operator gave an order for, with wall-clock instants.
    Column("maintenance", Text),
    Column("acknowledgement", Text),
    # The same of those that are jobs, and of those that offer services.
    Column("job", Text),
    Column("services", Text),
    # And of those under whose name two processes speak.
    Column("conflict", Text),
    sqlite_with_rowid=False,
)

actions = Table(
    "actions",
    metadata,
    Column("key", Text, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("node", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("event", Text, nullable=False),
    Index("actions_by_sequence", "sequence"),
    # The few that are open, among all that ever were.
    Index("actions_decided", "sequence", sqlite_where=text("state = 'decided'")),
    sqlite_with_rowid=False,
)

silences = Table(
    "silences",
    metadata,
    Column("id", Text, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("said", Text, nullable=False),
    sqlite_with_rowid=False,
)

services = Table(
    "services",
    metadata,
    Column("name", Text, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("said", Text, nullable=False),
    sqlite_with_rowid=False,
)
