"""What happened to jobs, by the month: events, attempts and log lines as partitions that can be dropped whole.

Each table that is there becomes the first partition as it is; no row is copied. PostgreSQL has to read it once, to see
that no row is newer than the partition may hold, and keeps nobody waiting for that: about a second a million rows.
"""

import calendar
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from jobs.grants import copy_rights

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_TABLES: Final = {"events": "seq", "attempts": "number", "job_logs": "seq"}
_MARGIN: Final = timedelta(days=7)
"""For so long the first partition takes new rows at the least: until then a beat has made the next one."""
_LATEST: Final = 253_000_000_000_000
"""The latest millisecond that a date can have here: 9987."""


def upgrade() -> None:
    """Make each table the first partition of a new one of its name."""
    with op.get_context().autocommit_block():
        bounds = {table: _bound(table) for table in _TABLES}
        for table, bound in bounds.items():
            # Written anew where an earlier try ended here: the month may be over by now.
            op.execute(
                f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {table}_first_bound, "
                f"ADD CONSTRAINT {table}_first_bound CHECK (job_id IS NOT NULL AND job_id < '{bound}'::uuid) NOT VALID"
            )
            op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {table}_first_bound")
    # What comes now is short, and nobody must meet a half of it: all three at once, or none.
    op.execute(f"LOCK TABLE {', '.join(_TABLES)} IN ACCESS EXCLUSIVE MODE")
    for table, bound in bounds.items():
        _split(table, bound)


def _split(table: str, bound: UUID) -> None:
    first = f"{table}_first"
    op.rename_table(table, first)
    op.execute(f"ALTER TABLE {first} RENAME CONSTRAINT {table}_pkey TO {first}_pkey")
    op.create_table(
        table,
        *_COLUMNS[table](),
        sa.PrimaryKeyConstraint("job_id", _TABLES[table], name=op.f(f"{table}_pkey")),
        postgresql_partition_by="RANGE (job_id)",
    )
    op.execute(f"ALTER TABLE {table} ATTACH PARTITION {first} FOR VALUES FROM (MINVALUE) TO ('{bound}')")
    op.execute(f"ALTER TABLE {first} DROP CONSTRAINT {first}_bound")
    op.execute(f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT")
    # Whose it was and who was let in by a GRANT stays in, whoever migrates: all read, write and prune as before.
    for made in (table, f"{table}_default"):
        copy_rights(op.get_bind(), first, made)


def _bound(table: str) -> UUID:
    """Return the first id of the month that begins after every row of the table, and after the next days."""
    connection = op.get_bind()
    now: datetime = connection.execute(sa.text("SELECT now()")).scalar_one()
    newest = connection.execute(sa.text(f"SELECT job_id FROM {table} ORDER BY job_id DESC LIMIT 1")).scalar()  # noqa: S608 - one of the names above
    milliseconds = max(int((now + _MARGIN).timestamp() * 1000), newest.int >> 80 if newest else 0)
    last = datetime.fromtimestamp(min(milliseconds, _LATEST) / 1000, UTC)
    month = last.year * 12 + last.month
    begins = calendar.timegm((month // 12, month % 12 + 1, 1, 0, 0, 0)) * 1000
    return UUID(int=begins << 80)


def _attempts() -> list[Any]:
    return [
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
    ]


def _events() -> list[Any]:
    return [
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False, comment="from 1, without gaps"),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False, comment="the job's state after the event"),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("facts", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    ]


def _job_logs() -> list[Any]:
    return [
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False, comment="grows, with gaps between attempts"),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("facts", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("bytes", sa.Integer(), nullable=False, comment="what it counts against the bound of its job"),
        sa.CheckConstraint("level IN ('debug', 'error', 'info', 'warning')", name=op.f("job_logs_level_is_known")),
    ]


_COLUMNS: Final = {"events": _events, "attempts": _attempts, "job_logs": _job_logs}


def downgrade() -> None:
    """Make each a plain table again; every row is kept. What the later partitions hold is copied, while all wait."""
    for table in _TABLES:
        first = f"{table}_first"
        leaves = _leaves(table)
        op.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        for leaf in leaves:
            op.execute(f"ALTER TABLE {table} DETACH PARTITION {leaf}")
        if first not in leaves:  # dropped by now, its time being over
            op.execute(f"CREATE TABLE {first} (LIKE {table} INCLUDING ALL)")
        for leaf in leaves:
            if leaf != first:
                op.execute(f"INSERT INTO {first} SELECT * FROM {leaf}")  # noqa: S608 - names from the catalogue
                op.execute(f"DROP TABLE {leaf}")
        copy_rights(op.get_bind(), table, first)
        op.execute(f"DROP TABLE {table}")
        op.rename_table(first, table)
        op.execute(f"ALTER TABLE {table} RENAME CONSTRAINT {first}_pkey TO {table}_pkey")


def _leaves(table: str) -> list[str]:
    query = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = CAST(:table AS regclass) ORDER BY 1"
    return list(op.get_bind().scalars(sa.text(query), {"table": table}))
