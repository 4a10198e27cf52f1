"""Queues that are paused, and what a worker can run and how fast."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table and the columns; none of them rewrites a row."""
    op.create_table(
        "paused_queues",
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("paused_by", sa.Text(), nullable=True, comment="id of the API key"),
        sa.CheckConstraint("length(queue) BETWEEN 1 AND 100", name=op.f("paused_queues_name_bounded")),
        sa.PrimaryKeyConstraint("queue", name=op.f("paused_queues_pkey")),
    )
    op.add_column(
        "workers",
        sa.Column("tasks", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False, comment="what it can run"),
    )
    op.add_column(
        "workers",
        sa.Column(
            "rates",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
            comment="jobs a second that it finishes, by queue",
        ),
    )


def downgrade() -> None:
    """Drop them again."""
    op.drop_column("workers", "rates")
    op.drop_column("workers", "tasks")
    op.drop_table("paused_queues")
