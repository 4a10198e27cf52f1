"""Schedules and what was decided about their instants."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "schedules",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant", sa.Text(), server_default="default", nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=True, comment="where code declares it"),
        sa.Column("submitter", sa.Text(), nullable=True, comment="id of the API key that wrote it last"),
        sa.Column("cron", sa.Text(), nullable=True),
        sa.Column("every_seconds", sa.Double(), nullable=True),
        sa.Column("anchor_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("once", sa.Text(), nullable=True, comment="a date-time; without an offset, of the zone"),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("on_gap", sa.Text(), nullable=False),
        sa.Column("on_fold", sa.Text(), nullable=False),
        sa.Column("jitter_seconds", sa.Double(), nullable=False),
        sa.Column("start_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("end_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("instant_as", sa.Text(), nullable=True, comment="the argument that gets the instant"),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("expires_after_seconds", sa.Double(), nullable=True),
        sa.Column("unique_key", sa.Text(), nullable=True),
        sa.Column("tags", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("retry", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("time_limit_seconds", sa.Double(), nullable=True),
        sa.Column("soft_time_limit_seconds", sa.Double(), nullable=True),
        sa.Column("catch_up", sa.Text(), nullable=False),
        sa.Column("catch_up_window_seconds", sa.Double(), nullable=False),
        sa.Column("catch_up_limit", sa.Integer(), nullable=False),
        sa.Column("overlap", sa.Text(), nullable=False),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "decided_until",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="instants up to here were decided",
        ),
        sa.Column(
            "next_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when the next instant is due, with its jitter",
        ),
        sa.Column(
            "zone_data",
            sa.Text(),
            nullable=False,
            comment="the release of the zone data by which next_at was found",
        ),
        sa.Column(
            "open_jobs",
            postgresql.ARRAY(sa.Uuid()),
            server_default="{}",
            nullable=False,
            comment="its jobs that may be unfinished",
        ),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False, comment="changes with every edit"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("num_nonnulls(cron, every_seconds, once) = 1", name=op.f("schedules_has_one_timing")),
        sa.CheckConstraint("(every_seconds IS NULL) = (anchor_at IS NULL)", name=op.f("schedules_anchored_when_every")),
        sa.CheckConstraint("every_seconds >= 1 AND jitter_seconds >= 0", name=op.f("schedules_seconds_in_range")),
        sa.CheckConstraint("end_at >= start_at", name=op.f("schedules_ends_not_before_its_start")),
        sa.CheckConstraint("jsonb_typeof(payload) = 'object'", name=op.f("schedules_payload_is_object")),
        sa.CheckConstraint("priority BETWEEN 0 AND 9", name=op.f("schedules_priority_in_range")),
        sa.CheckConstraint(
            "length(name) BETWEEN 1 AND 100 AND length(task) BETWEEN 1 AND 200 AND length(queue) BETWEEN 1 AND 100",
            name=op.f("schedules_names_bounded"),
        ),
        sa.CheckConstraint(
            "source IN ('api', 'code') AND catch_up IN ('all', 'latest', 'none') "
            "AND overlap IN ('allow', 'cancel', 'skip', 'wait')",
            name=op.f("schedules_words_are_known"),
        ),
        sa.CheckConstraint(
            "catch_up_window_seconds > 0 AND catch_up_limit >= 1", name=op.f("schedules_catch_up_in_range")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("schedules_pkey")),
        sa.UniqueConstraint("tenant", "name", name=op.f("schedules_tenant_name_key")),
    )
    op.create_index(
        "schedules_due",
        "schedules",
        ["next_at"],
        unique=False,
        postgresql_where=sa.text("next_at IS NOT NULL AND paused_at IS NULL"),
    )
    op.create_table(
        "occurrences",
        sa.Column("id", sa.Uuid(), nullable=False, comment="UUIDv7: sorts by the time of the decision"),
        sa.Column("schedule_id", sa.Uuid(), nullable=False),
        sa.Column("instant", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "through_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="the last instant, where it is about several",
        ),
        sa.Column("count", sa.Integer(), nullable=True, comment="how many instants; NULL: more than were counted"),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "decision IN ('fired', 'skipped', 'waiting') AND reason IN ('backfilled', 'caught_up', 'edited', "
            "'missed', 'on_time', 'over_limit', 'overlap', 'paused', 'refused', 'superseded', 'too_old', "
            "'triggered', 'waited')",
            name=op.f("occurrences_words_are_known"),
        ),
        sa.CheckConstraint("(decision = 'fired') = (job_id IS NOT NULL)", name=op.f("occurrences_job_when_fired")),
        sa.CheckConstraint(
            "through_at IS NULL OR decision = 'skipped' AND through_at > instant",
            name=op.f("occurrences_several_when_skipped"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("occurrences_pkey")),
    )
    op.create_index(
        "occurrences_history",
        "occurrences",
        ["schedule_id", sa.literal_column("instant DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "occurrences_once",
        "occurrences",
        ["schedule_id", "instant"],
        unique=True,
        postgresql_where=sa.text("decision IN ('fired', 'waiting')"),
    )
    op.create_index(
        "occurrences_waiting",
        "occurrences",
        ["schedule_id"],
        unique=False,
        postgresql_where=sa.text("decision = 'waiting'"),
    )


def downgrade() -> None:
    """Drop both, and with them every schedule."""
    op.drop_table("occurrences")
    op.drop_table("schedules")
