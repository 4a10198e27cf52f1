"""Rows for each revision of the schema, as a release of its time would have left them, and what going back loses."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, Engine, inspect, text

Rows = dict[str, list[dict[str, Any]]]

#: The id of a job that was submitted at `at`, the `n`th of its kind.
_ID: Final = (
    "(lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid"
)

#: By the revision that makes the table or the column.
SEEDS: Final[Mapping[str, str]] = {
    "0001": f"""
        INSERT INTO api_keys (id, name, secret_sha256) VALUES ('k', 'ci', sha256('k'));
        INSERT INTO jobs (id, task, queue, state, payload, created_at, run_at, finished_at, reason, event_count)
        SELECT {_ID}, 'a.b', 'q', state, '{{"n": 1}}', at, at, CASE WHEN state IN ('succeeded', 'failed') THEN at END,
               CASE WHEN state = 'failed' THEN 'exhausted' END, 2
        FROM unnest(ARRAY['queued', 'scheduled', 'succeeded', 'failed']) WITH ORDINALITY AS each (state, n),
             LATERAL (SELECT now() - n * interval '40 days' AS at) AS submitted;
        INSERT INTO attempts (job_id, number, worker, started_at, finished_at, outcome)
        SELECT id, 1, 'w', now(), now(), 'succeeded' FROM jobs WHERE finished_at IS NOT NULL;
        INSERT INTO events (job_id, seq, at, name, state, attempt)
        SELECT id, seq, now(), 'accept', state, 0 FROM jobs, generate_series(1, 2) AS seq;
        INSERT INTO idempotency_keys (tenant, key, fingerprint, receipts, created_at, expires_at)
        VALUES ('default', 'k', 'f', '[]', now(), now() + interval '1 day');
        INSERT INTO workers (name, host, pid, queues, slots, release, started_at, seen_at)
        VALUES ('w', 'h', 1, '{{q}}', 4, '1', now(), now())""",
    "0002": """
        INSERT INTO schedules (id, name, source, cron, zone, on_gap, on_fold, jitter_seconds, task, payload, queue,
                               priority, tags, catch_up, catch_up_window_seconds, catch_up_limit, overlap,
                               decided_until, zone_data, created_at, updated_at)
        VALUES (gen_random_uuid(), 'n', 'api', '* * * * *', 'UTC', 'run', 'once', 0, 'a.b', '{}', 'q', 5, '{}',
                'latest', 60, 1, 'allow', now(), '2026a', now(), now());
        INSERT INTO occurrences (id, schedule_id, instant, decision, reason, decided_at)
        SELECT gen_random_uuid(), id, now(), 'skipped', 'missed', now() FROM schedules""",
    "0003": """
        INSERT INTO occurrences (id, schedule_id, instant, decision, reason, decided_at)
        SELECT gen_random_uuid(), id, now(), 'skipped', 'gap', now() FROM schedules""",
    "0004": "INSERT INTO paused_queues (queue, paused_at) VALUES ('q', now())",
    "0005": "",
    "0006": """
        INSERT INTO job_logs (job_id, seq, attempt, at, level, event, bytes)
        SELECT id, 10001, 1, now(), 'info', 'began', 5 FROM jobs""",
    # For each partition that there can be: the first, those of months to come, and the default.
    "0007": f"""
        INSERT INTO events (job_id, seq, at, name, state, attempt)
        SELECT {_ID}, 1, now(), 'accept', 'queued', 0
        FROM generate_series(1, 12) AS n, LATERAL (SELECT now() + n * interval '30 days' AS at) AS submitted""",
}

#: What going back from a revision loses besides what it made, as its `downgrade` says.
LOST: Final[Mapping[str, str]] = {
    "0003": "SELECT id FROM occurrences WHERE reason IN ('fold', 'gap')",
}


def seed(connection: Connection, revision: str) -> None:
    """Put rows into what the revision made."""
    if statements := SEEDS[revision]:
        connection.exec_driver_sql(statements)


def rows_of(engine: Engine, tables: Mapping[str, frozenset[str]] | None = None) -> Rows:
    """Return every row of these columns of these tables, or of all there are, in a fixed order."""
    with engine.connect() as connection:
        shape = shape_of(engine) if tables is None else tables
        found = {}
        for table, columns in shape.items():
            names = ", ".join(sorted(columns))
            query = text(f"SELECT {names} FROM {table} ORDER BY CAST(ROW({names}) AS text)")
            found[table] = [dict(row) for row in connection.execute(query).mappings()]
        return found


def shape_of(engine: Engine) -> dict[str, frozenset[str]]:
    """Return the tables with their columns, partitions and what Alembic keeps left out."""
    with engine.connect() as connection:
        leaves = set(connection.scalars(text("SELECT relname FROM pg_class WHERE relispartition")))
    looking = inspect(engine)
    names = set(looking.get_table_names()) - leaves - {"alembic_version", "census", "census_marks"}
    return {name: frozenset(column["name"] for column in looking.get_columns(name)) for name in sorted(names)}


def lost_by(engine: Engine, revision: str) -> set[UUID]:
    """Return the ids of the rows that going back from the revision is said to lose."""
    query = LOST.get(revision)
    if query is None:
        return set()
    with engine.connect() as connection:
        return set(connection.scalars(text(query)))
