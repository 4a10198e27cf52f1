"""What tasks log about their jobs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "job_logs",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False, comment="grows, with gaps between attempts"),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("facts", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("bytes", sa.Integer(), nullable=False, comment="what it counts against the bound of its job"),
        sa.CheckConstraint("level IN ('debug', 'error', 'info', 'warning')", name=op.f("job_logs_level_is_known")),
        sa.PrimaryKeyConstraint("job_id", "seq", name=op.f("job_logs_pkey")),
    )


def downgrade() -> None:
    """Drop it again."""
    op.drop_table("job_logs")
