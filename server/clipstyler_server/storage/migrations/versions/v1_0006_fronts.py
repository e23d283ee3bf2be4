"""Servers that share a database: their leases, their queue, and what they tell each other about jobs."""

import sqlalchemy as sa
from alembic import op

revision = "v1_0006"
down_revision = "v1_0005"

_COLUMNS = ("arrival", "home", "cancel", "step", "warnings")


def upgrade() -> None:
    """Add the tables and the columns; what is stored already is in no shared queue."""
    op.add_column("stylizations", sa.Column("arrival", sa.BigInteger))
    op.add_column("stylizations", sa.Column("home", sa.String(36)))
    op.add_column("stylizations", sa.Column("cancel", sa.String(16)))
    op.add_column("stylizations", sa.Column("step", sa.Integer, nullable=False, server_default="0"))
    op.add_column("stylizations", sa.Column("warnings", sa.Text))
    op.create_table(
        "fronts",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("server", sa.String(36), nullable=False),
        sa.Column("address", sa.String(300), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("devices", sa.Integer, nullable=False),
        sa.Column("lease_until", sa.Double, nullable=False),
    )
    queue = op.create_table(
        "queue",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("arrivals", sa.BigInteger, nullable=False),
        sa.Column("turns", sa.Text, nullable=False),
    )
    op.bulk_insert(queue, [{"id": 1, "arrivals": 0, "turns": "[]"}])


def downgrade() -> None:
    """Drop the tables and the columns."""
    op.drop_table("queue")
    op.drop_table("fronts")
    for column in _COLUMNS:
        op.drop_column("stylizations", column)
