"""Who owns what is stored: request ids and uploads belong to tenants."""

import sqlalchemy as sa
from alembic import op

revision = "v1_0003"
down_revision = "v1_0002"

# What SQLite and PostgreSQL call the unnamed constraint of the first version.
_REFLECTED = {"uq": "%(table_name)s_%(column_0_name)s_key"}


def upgrade() -> None:
    """Add the columns; what is stored already belongs to no tenant: operators see it."""
    op.drop_index("stylizations_address", "stylizations")
    with op.batch_alter_table("stylizations", naming_convention=_REFLECTED) as jobs:
        jobs.add_column(sa.Column("tenant", sa.String(63), nullable=False, server_default=""))
        jobs.alter_column("address", new_column_name="account", existing_type=sa.String(100))
        jobs.drop_constraint("stylizations_request_id_key", type_="unique")
        jobs.create_unique_constraint("stylizations_request", ["tenant", "request_id"])
    op.create_index("stylizations_newest_of_tenant", "stylizations", ["tenant", "created_at", "id"])
    op.create_index("stylizations_account", "stylizations", ["account", "ended_at"])
    op.rename_table("uploads", "uploads_before")
    op.create_table(
        "uploads",
        sa.Column("tenant", sa.String(63), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.Column("account", sa.String(100), nullable=False, server_default=""),
        sa.Column("size_bytes", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("used_at", sa.Double, nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("tenant", "digest", name="uploads_of_tenants"),
    )
    op.create_index("uploads_digest", "uploads", ["digest"])
    op.execute(
        "INSERT INTO uploads (tenant, digest, expires_at, account, size_bytes, used_at) "
        "SELECT '', digest, expires_at, address, size_bytes, used_at FROM uploads_before"
    )
    op.drop_table("uploads_before")
