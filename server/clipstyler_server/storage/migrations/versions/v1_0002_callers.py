"""Who owns what is stored, and how often a job's server died."""

import sqlalchemy as sa
from alembic import op

revision = "v1_0002"
down_revision = "v1_0001"


def upgrade() -> None:
    """Add the columns; what is stored already belongs to no caller."""
    op.add_column("stylizations", sa.Column("address", sa.String(100), nullable=False, server_default=""))
    op.add_column("stylizations", sa.Column("crashes", sa.Integer, nullable=False, server_default="0"))
    op.create_index("stylizations_address", "stylizations", ["address", "ended_at"])
    op.add_column("uploads", sa.Column("address", sa.String(100), nullable=False, server_default=""))
    op.add_column("uploads", sa.Column("size_bytes", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("uploads", sa.Column("used_at", sa.Double, nullable=False, server_default="0"))


def downgrade() -> None:
    """Drop the columns."""
    op.drop_index("stylizations_address", "stylizations")
    for table, column in (
        ("stylizations", "address"),
        ("stylizations", "crashes"),
        ("uploads", "address"),
        ("uploads", "size_bytes"),
        ("uploads", "used_at"),
    ):
        op.drop_column(table, column)
