"""How Alembic runs our revisions: inside the transaction that opens the journal.

`beatward.store.schema.upgrade` hands the connection in; there is no configuration file, no
logging and no offline mode.
"""

from alembic import context

# No `begin_transaction` here: SQLite rolls changes of tables back like any other, once the driver
# leaves BEGIN to us, and the one who handed the connection in has begun.
context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
