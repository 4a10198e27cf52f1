"""What edits of a schedule leave to be decided, and more reasons for a decision."""

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
    "decision IN ('fired', 'skipped', 'waiting') AND reason IN ('backfilled', 'caught_up', 'edited', 'fold', 'gap', "
    "'late', 'missed', 'on_time', 'over_limit', 'overlap', 'paused', 'refused', 'superseded', 'too_old', "
    "'triggered', 'waited')"
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
    op.create_check_constraint(op.f("schedules_missed_after_in_range"), "schedules", "missed_after_seconds >= 1")
    op.drop_constraint(op.f(_CHECK), "occurrences")
    op.create_check_constraint(op.f(_CHECK), "occurrences", _NEW)


def downgrade() -> None:
    """Forget it, with what was still to be decided, and the decisions that the older release has no word for."""
    op.drop_constraint(op.f(_CHECK), "occurrences")
    op.execute("DELETE FROM occurrences WHERE reason IN ('fold', 'gap')")
    op.execute("UPDATE occurrences SET reason = 'on_time' WHERE reason = 'late'")
    op.create_check_constraint(op.f(_CHECK), "occurrences", _OLD)
    op.drop_constraint(op.f("schedules_missed_after_in_range"), "schedules")
    op.drop_column("schedules", "missed_after_seconds")
    op.drop_column("schedules", "kept")
