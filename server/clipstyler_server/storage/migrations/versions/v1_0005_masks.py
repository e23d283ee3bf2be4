"""Masks of regions."""

import sqlalchemy as sa
from alembic import op

revision = "v1_0005"
down_revision = "v1_0004"


def upgrade() -> None:
    """Add the column."""
    op.add_column("stylizations", sa.Column("mask", sa.String(64)))
    op.create_index("stylizations_mask", "stylizations", ["mask"])


def downgrade() -> None:
    """Drop the column."""
    op.drop_index("stylizations_mask", "stylizations")
    op.drop_column("stylizations", "mask")
