"""The first tables."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make them all."""
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text(), nullable=False, comment="the public part"),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), server_default="default", nullable=False),
        sa.Column("secret_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("octet_length(secret_sha256) = 32", name=op.f("api_keys_secret_is_a_digest")),
        sa.PrimaryKeyConstraint("id", name=op.f("api_keys_pkey")),
    )
    op.create_table(
        "attempts",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("error", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.CheckConstraint(
            "outcome IS NULL OR outcome IN ('cancelled', 'errored', 'interrupted', 'lost', 'succeeded', 'timed_out')",
            name=op.f("attempts_outcome_is_known"),
        ),
        sa.CheckConstraint("(outcome IS NULL) = (finished_at IS NULL)", name=op.f("attempts_outcome_when_finished")),
        sa.CheckConstraint("number >= 1", name=op.f("attempts_numbered_from_one")),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("attempts_pkey")),
    )
    op.create_table(
        "events",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False, comment="from 1, without gaps"),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False, comment="the job's state after the event"),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("facts", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.PrimaryKeyConstraint("job_id", "seq", name=op.f("events_pkey")),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("receipts", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("length(key) BETWEEN 1 AND 255", name=op.f("idempotency_keys_key_bounded")),
        sa.PrimaryKeyConstraint("tenant", "key", name=op.f("idempotency_keys_pkey")),
    )
    op.create_index("idempotency_keys_expiring", "idempotency_keys", ["expires_at"], unique=False)
    op.create_table(
        "jobs",
        sa.Column("id", sa.Uuid(), nullable=False, comment="UUIDv7: sorts by the time of submission"),
        sa.Column("tenant", sa.Text(), server_default="default", nullable=False),
        sa.Column("submitter", sa.Text(), nullable=True, comment="id of the API key that submitted the job"),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), server_default="5", nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("tags", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("unique_key", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("run_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("rung_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False, comment="number of the latest attempt"),
        sa.Column("error_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("crash_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("throttle_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("retry", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("time_limit_seconds", sa.Double(), nullable=True),
        sa.Column("soft_time_limit_seconds", sa.Double(), nullable=True),
        sa.Column("progress", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("result", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("error", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True, comment="why it failed"),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("replay_of", sa.Uuid(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("event_count", sa.Integer(), server_default="1", nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False, comment="changes with every write"),
        sa.CheckConstraint(
            "(state = 'failed') = (reason IS NOT NULL) "
            "AND (reason IS NULL OR reason IN ('crashed', 'exhausted', 'permanent'))",
            name=op.f("jobs_reason_when_failed"),
        ),
        sa.CheckConstraint(
            "(state = 'running') = (lease_expires_at IS NOT NULL AND worker IS NOT NULL)",
            name=op.f("jobs_leased_when_running"),
        ),
        sa.CheckConstraint(
            "(state IN ('cancelled', 'expired', 'failed', 'succeeded')) = (finished_at IS NOT NULL)",
            name=op.f("jobs_finished_when_final"),
        ),
        sa.CheckConstraint("closed_at IS NULL OR state = 'failed'", name=op.f("jobs_only_dead_letters_close")),
        sa.CheckConstraint("jsonb_typeof(payload) = 'object'", name=op.f("jobs_payload_is_object")),
        sa.CheckConstraint(
            "state IN ('cancelled', 'expired', 'failed', 'queued', 'retrying', 'running', 'scheduled', 'succeeded')",
            name=op.f("jobs_state_is_known"),
        ),
        sa.CheckConstraint(
            "attempt >= 0 AND error_count >= 0 AND crash_count >= 0 AND throttle_count >= 0",
            name=op.f("jobs_counts_not_negative"),
        ),
        sa.CheckConstraint(
            "length(task) BETWEEN 1 AND 200 AND length(queue) BETWEEN 1 AND 100", name=op.f("jobs_names_bounded")
        ),
        sa.CheckConstraint("priority BETWEEN 0 AND 9", name=op.f("jobs_priority_in_range")),
        sa.PrimaryKeyConstraint("id", name=op.f("jobs_pkey")),
    )
    op.create_index("jobs_by_state", "jobs", ["tenant", "state", "id"], unique=False)
    op.create_index(
        "jobs_by_tag", "jobs", ["tags"], unique=False, postgresql_using="gin", postgresql_where=sa.text("tags <> '{}'")
    )
    op.create_index("jobs_by_task", "jobs", ["tenant", "task", "id"], unique=False)
    op.create_index(
        "jobs_dead_letters",
        "jobs",
        ["tenant", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'failed' AND closed_at IS NULL"),
    )
    op.create_index(
        "jobs_due", "jobs", ["run_at"], unique=False, postgresql_where=sa.text("state IN ('scheduled', 'retrying')")
    )
    op.create_index(
        "jobs_expiring",
        "jobs",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("expires_at IS NOT NULL AND state IN ('scheduled', 'queued', 'retrying')"),
    )
    op.create_index(
        "jobs_leased", "jobs", ["lease_expires_at"], unique=False, postgresql_where=sa.text("state = 'running'")
    )
    op.create_index(
        "jobs_rung",
        "jobs",
        ["queue", "rung_at"],
        unique=False,
        postgresql_where=sa.text("state = 'queued' AND rung_at IS NOT NULL"),
    )
    op.create_index(
        "jobs_unique_key",
        "jobs",
        ["tenant", "unique_key"],
        unique=True,
        postgresql_where=sa.text("unique_key IS NOT NULL AND state IN ('queued', 'retrying', 'running', 'scheduled')"),
    )
    op.create_index(
        "jobs_unrung",
        "jobs",
        ["queue", sa.literal_column("priority DESC"), "run_at", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'queued' AND rung_at IS NULL"),
    )
    op.create_table(
        "workers",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("queues", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("running", sa.Integer(), server_default="0", nullable=False),
        sa.Column("release", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("workers_pkey")),
    )


def downgrade() -> None:
    """Drop them all."""
    op.drop_table("workers")
    op.drop_index("jobs_unrung", table_name="jobs", postgresql_where=sa.text("state = 'queued' AND rung_at IS NULL"))
    op.drop_index(
        "jobs_unique_key",
        table_name="jobs",
        postgresql_where=sa.text("unique_key IS NOT NULL AND state IN ('queued', 'retrying', 'running', 'scheduled')"),
    )
    op.drop_index("jobs_rung", table_name="jobs", postgresql_where=sa.text("state = 'queued' AND rung_at IS NOT NULL"))
    op.drop_index("jobs_leased", table_name="jobs", postgresql_where=sa.text("state = 'running'"))
    op.drop_index(
        "jobs_expiring",
        table_name="jobs",
        postgresql_where=sa.text("expires_at IS NOT NULL AND state IN ('scheduled', 'queued', 'retrying')"),
    )
    op.drop_index("jobs_due", table_name="jobs", postgresql_where=sa.text("state IN ('scheduled', 'retrying')"))
    op.drop_index(
        "jobs_dead_letters", table_name="jobs", postgresql_where=sa.text("state = 'failed' AND closed_at IS NULL")
    )
    op.drop_index("jobs_by_task", table_name="jobs")
    op.drop_index("jobs_by_tag", table_name="jobs", postgresql_using="gin", postgresql_where=sa.text("tags <> '{}'"))
    op.drop_index("jobs_by_state", table_name="jobs")
    op.drop_table("jobs")
    op.drop_index("idempotency_keys_expiring", table_name="idempotency_keys")
    op.drop_table("idempotency_keys")
    op.drop_table("events")
    op.drop_table("attempts")
    op.drop_table("api_keys")
