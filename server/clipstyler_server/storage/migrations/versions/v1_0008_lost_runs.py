"""Runs of jobs whose engine was lost."""

import sqlalchemy as sa
from alembic import op

revision = "v1_0008"
down_revision = "v1_0007"


def upgrade() -> None:
    """Add the column."""
    op.add_column("stylizations", sa.Column("lost_runs", sa.Integer, nullable=False, server_default="0"))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("stylizations", "lost_runs")
