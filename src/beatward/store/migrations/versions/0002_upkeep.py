"""What people say of nodes: maintenance, acknowledgements, silences."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    # Columns that may be missing are added without touching a row, however many there are.
    op.add_column("nodes", sa.Column("maintenance", sa.Text))
    op.add_column("nodes", sa.Column("acknowledgement", sa.Text))
    op.create_table(
        "silences",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("said", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
