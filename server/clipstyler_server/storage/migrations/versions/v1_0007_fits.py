"""Jobs that fit a style to several photos."""

import sqlalchemy as sa
from alembic import op

revision = "v1_0007"
down_revision = "v1_0006"


def upgrade() -> None:
    """Add the columns."""
    op.add_column("stylizations", sa.Column("fitted_photos", sa.Integer, nullable=False, server_default="0"))
    op.add_column("stylizations", sa.Column("other_photos", sa.Text, nullable=False, server_default=""))
    op.create_index("stylizations_fitted_photos", "stylizations", ["fitted_photos"])


def downgrade() -> None:
    """Drop them."""
    op.drop_index("stylizations_fitted_photos", "stylizations")
    op.drop_column("stylizations", "other_photos")
    op.drop_column("stylizations", "fitted_photos")
