"""What edits of a schedule leave to be decided."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; a constant default writes no row anew."""
    op.add_column(
        "schedules",
        sa.Column(
            "kept",
            postgresql.ARRAY(sa.DateTime(timezone=True)),
            server_default="{}",
            nullable=False,
            comment="instants up to decided_until that an edit left to be decided",
        ),
    )


def downgrade() -> None:
    """Drop it, and with it what was still to be decided."""
    op.drop_column("schedules", "kept")
