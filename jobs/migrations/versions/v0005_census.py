"""The census: how many jobs there are of each task, queue and state, kept up by whatever writes to the table."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

#: What a statement marks. A job that its own transaction takes back was never accepted.
_INSERT = """
CREATE FUNCTION census_insert() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO census_marks (task, queue, state, entered, gone, born, unrung)
    SELECT task, queue, state, count(*), 0, count(*), sum((state = 'queued' AND rung_at IS NULL)::int)
    FROM after_rows GROUP BY task, queue, state;
    RETURN NULL;
END $$
"""
_UPDATE = """
CREATE FUNCTION census_update() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO census_marks (task, queue, state, entered, gone, born, unrung)
    SELECT task, queue, state, greatest(sum(way), 0), greatest(-sum(way), 0), 0, sum(unrung)
    FROM (
        SELECT task, queue, CASE WHEN closed_at IS NULL THEN state ELSE 'closed' END AS state, 1 AS way,
               (state = 'queued' AND rung_at IS NULL)::int AS unrung
        FROM after_rows
        UNION ALL
        SELECT task, queue, CASE WHEN closed_at IS NULL THEN state ELSE 'closed' END, -1,
               -(state = 'queued' AND rung_at IS NULL)::int
        FROM before_rows
    ) AS moves
    GROUP BY task, queue, state HAVING sum(way) <> 0 OR sum(unrung) <> 0;
    RETURN NULL;
END $$
"""
_DELETE = """
CREATE FUNCTION census_delete() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO census_marks (task, queue, state, entered, gone, born, unrung)
    SELECT task, queue, CASE WHEN closed_at IS NULL THEN state ELSE 'closed' END, 0, count(*),
           -count(*) FILTER (WHERE created_at = now()), -sum((state = 'queued' AND rung_at IS NULL)::int)
    FROM before_rows GROUP BY 1, 2, 3;
    RETURN NULL;
END $$
"""
_FIRST_COUNT = """
INSERT INTO census (task, queue, state, entered, gone, born, unrung)
SELECT task, queue, CASE WHEN closed_at IS NULL THEN state ELSE 'closed' END, count(*), 0, count(*),
       sum((state = 'queued' AND rung_at IS NULL)::int)
FROM jobs GROUP BY 1, 2, 3
"""
_TABLES = {
    "insert": "NEW TABLE AS after_rows",
    "update": "OLD TABLE AS before_rows NEW TABLE AS after_rows",
    "delete": "OLD TABLE AS before_rows",
}


def upgrade() -> None:
    """Make both tables, and count what is there; nobody writes jobs meanwhile, for about a second a million."""
    op.create_table("census", *_columns(), sa.PrimaryKeyConstraint("task", "queue", "state", name="census_pkey"))
    op.create_table("census_marks", *_columns())
    # Written a lot, and small: what changes in a page should stay in it, and what is gone should go soon.
    op.execute("ALTER TABLE census SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, "
               "autovacuum_vacuum_threshold = 1000)")  # fmt: skip
    op.execute("ALTER TABLE census_marks SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, "
               "autovacuum_vacuum_insert_threshold = -1, vacuum_truncate = off)")  # fmt: skip
    for statement in (_INSERT, _UPDATE, _DELETE):
        op.execute(statement)
    for event, tables in _TABLES.items():
        op.execute(
            f"CREATE TRIGGER census_{event} AFTER {event} ON jobs REFERENCING {tables} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION census_{event}()"
        )
    op.execute(_FIRST_COUNT)


def _columns() -> list[sa.Column[Any]]:
    counts = {
        "entered": "jobs that came into the state",
        "gone": "jobs that left it",
        "born": "jobs that were accepted in it",
        "unrung": "of those in it, the ready ones that no doorbell speaks of",
    }
    names: list[sa.Column[Any]] = [sa.Column(name, sa.Text(), nullable=False) for name in ("task", "queue", "state")]
    return names + [sa.Column(name, sa.BigInteger(), nullable=False, comment=said) for name, said in counts.items()]


def downgrade() -> None:
    """Count no longer."""
    for event in _TABLES:
        op.execute(f"DROP TRIGGER census_{event} ON jobs")
        op.execute(f"DROP FUNCTION census_{event}()")
    op.drop_table("census_marks")
    op.drop_table("census")
