"""Styles, and the fitted networks that jobs keep until a style is made of them."""

import sqlalchemy as sa
from alembic import op

revision = "v1_0004"
down_revision = "v1_0003"


def upgrade() -> None:
    """Add the table and the column."""
    op.add_column("stylizations", sa.Column("style", sa.String(64)))
    op.create_index("stylizations_style", "stylizations", ["style"])
    op.create_table(
        "styles",
        sa.Column("tenant", sa.String(63), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("account", sa.String(100), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("used_at", sa.Double, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "digest", name="styles_of_tenants"),
    )
    op.create_index("styles_digest", "styles", ["digest"])
    op.create_index("styles_newest", "styles", ["created_at", "digest"])
    op.create_index("styles_account", "styles", ["account", "used_at"])


def downgrade() -> None:
    """Drop the table and the column."""
    op.drop_table("styles")
    op.drop_index("stylizations_style", "stylizations")
    op.drop_column("stylizations", "style")
