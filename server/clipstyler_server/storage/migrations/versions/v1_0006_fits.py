"""Jobs that fit a style to several photos."""

import sqlalchemy as sa
from alembic import op

revision = "v1_0006"
down_revision = "v1_0005"


def upgrade() -> None:
    """Add the column and the table."""
    op.add_column("stylizations", sa.Column("fitted_photos", sa.Integer, nullable=False, server_default="0"))
    op.create_table(
        "fitted_photos",
        sa.Column("job_id", sa.String(36), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "position", name="fitted_photos_of_jobs"),
    )
    op.create_index("fitted_photos_digest", "fitted_photos", ["digest"])


def downgrade() -> None:
    """Drop both."""
    op.drop_table("fitted_photos")
    op.drop_column("stylizations", "fitted_photos")
