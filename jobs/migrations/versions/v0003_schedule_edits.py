"""What edits of a schedule leave to be decided, deleted schedules that keep their history, and more reasons."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_CHECK = "occurrences_words_are_known"
_OLD = (
    "decision IN ('fired', 'skipped', 'waiting') AND reason IN ('backfilled', 'caught_up', 'edited', "
    "'missed', 'on_time', 'over_limit', 'overlap', 'paused', 'refused', 'superseded', 'too_old', "
    "'triggered', 'waited')"
)
_NEW = (
    "decision IN ('fired', 'skipped', 'waiting') AND reason IN ('backfilled', 'caught_up', 'deleted', 'edited', "
    "'fold', 'gap', 'late', 'missed', 'on_time', 'over_limit', 'overlap', 'paused', 'refused', 'superseded', "
    "'too_old', 'triggered', 'undeclared', 'waited')"
)


def upgrade() -> None:
    """Add the columns, whose constant defaults write no row anew, and know more words."""
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
    op.add_column(
        "schedules",
        sa.Column("missed_after_seconds", sa.Double(), nullable=True, comment="NULL: what beat's settings say"),
    )
    op.add_column(
        "schedules",
        sa.Column(
            "deleted_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="kept for its history, until its name is used again",
        ),
    )
    op.create_index(
        "schedules_deleted",
        "schedules",
        ["deleted_at"],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NOT NULL"),
    )
    op.create_check_constraint(op.f("schedules_missed_after_in_range"), "schedules", "missed_after_seconds >= 1")
    op.drop_constraint(op.f(_CHECK), "occurrences")
    op.create_check_constraint(op.f(_CHECK), "occurrences", _NEW)


def downgrade() -> None:
    """Forget it, with what was still to be decided, and the decisions that the older release has no word for."""
    op.drop_constraint(op.f(_CHECK), "occurrences")
    op.execute("DELETE FROM occurrences WHERE reason IN ('fold', 'gap')")
    op.execute("UPDATE occurrences SET reason = 'on_time' WHERE reason = 'late'")
    op.execute("UPDATE occurrences SET reason = 'paused' WHERE reason IN ('deleted', 'undeclared')")
    op.execute("DELETE FROM schedules WHERE deleted_at IS NOT NULL")
    op.create_check_constraint(op.f(_CHECK), "occurrences", _OLD)
    op.drop_index("schedules_deleted", table_name="schedules")
    op.drop_column("schedules", "deleted_at")
    op.drop_constraint(op.f("schedules_missed_after_in_range"), "schedules")
    op.drop_column("schedules", "missed_after_seconds")
    op.drop_column("schedules", "kept")
