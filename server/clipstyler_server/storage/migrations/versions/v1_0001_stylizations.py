"""Tables of jobs with leases and resolved specs, and of uploads: the first schema of the kept contract."""

import sqlalchemy as sa
from alembic import op

revision = "v1_0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "stylizations",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("request_id", sa.String(36), unique=True),
        sa.Column("payload_digest", sa.String(64), nullable=False),
        sa.Column("client", sa.String(200), nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("one_shot", sa.Boolean, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("deadline_at", sa.Double, nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("content", sa.String(64), nullable=False),
        sa.Column("content_metadata", sa.Text, nullable=False),
        sa.Column("started_at", sa.Double),
        sa.Column("ended_at", sa.Double),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("result", sa.String(64)),
        sa.Column("end", sa.Text),
        sa.Column("stored_bytes", sa.BigInteger, nullable=False),
        sa.Column("lease_owner", sa.String(36)),
        sa.Column("lease_until", sa.Double),
    )
    op.create_index("stylizations_newest", "stylizations", ["created_at", "id"])
    op.create_index("stylizations_state", "stylizations", ["state", "created_at"])
    op.create_index("stylizations_ended", "stylizations", ["ended_at"])
    op.create_index("stylizations_content", "stylizations", ["content"])
    op.create_index("stylizations_result", "stylizations", ["result"])
    op.create_table(
        "uploads",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("expires_at", sa.Double, nullable=False),
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("uploads")
    op.drop_table("stylizations")
