"""A database with a month of work in it: 1,000,000 jobs, most of them done, the rest in every state.

Filled without its secondary indexes, which are then built at once: half the time, and the same result.
"""

from collections.abc import Iterator

import pytest
from psycopg import sql
from sqlalchemy import Connection, Engine, text

from deploy.stack.postgres import PostgresServer
from jobs.database import allow
from tests.services.databases import lasting
from tests.services.fixtures import administer

NAME = "penstock_million"
JOBS = 1_000_000

#: How a month went: the older 940,000 are finished, the newer 60,000 are not.
_FILL_JOBS = text("""
INSERT INTO jobs (id, tenant, task, queue, priority, state, payload, tags, unique_key, created_at, run_at, expires_at,
                  rung_at, started_at, finished_at, attempt, worker, lease_expires_at, result, error, reason, closed_at,
                  event_count)
SELECT (lpad(to_hex((extract(epoch FROM created_at) * 1000)::bigint), 12, '0')
        || '7' || lpad(to_hex(n % 4096), 3, '0') || '8' || lpad(to_hex(n), 15, '0'))::uuid,
       'default', 'task.' || n % 20,
       CASE WHEN n % 1000 = 0 THEN 'rare' WHEN n % 20 = 1 THEN 'critical' WHEN n % 7 = 2 THEN 'mail' ELSE 'default' END,
       n % 10, state, '{"message": "hello"}',
       CASE WHEN n % 10 = 3 THEN ARRAY['customer-' || n % 5000] ELSE '{}'::text[] END,
       CASE WHEN n % 20 = 4 THEN 'order-' || n END,
       created_at,
       CASE WHEN state IN ('scheduled', 'retrying') THEN now() + n % 3600 * interval '1 second' - interval '1 minute'
            ELSE created_at END,
       CASE WHEN n % 20 = 5 THEN now() + n % 3600 * interval '1 second' - interval '1 minute' END,
       CASE WHEN state = 'queued' AND n % 3 = 0 THEN now() - n % 600 * interval '1 second' END,
       CASE WHEN state NOT IN ('scheduled', 'queued', 'expired') THEN created_at END,
       CASE WHEN state IN ('succeeded', 'failed', 'cancelled', 'expired') THEN created_at + interval '1 second' END,
       (state NOT IN ('scheduled', 'queued', 'expired'))::int,
       CASE WHEN state = 'running' THEN 'worker-' || n % 10 END,
       CASE WHEN state = 'running' THEN now() + (n % 1000 - 10) * interval '1 second' END,
       CASE WHEN state = 'succeeded' THEN '{"ok": true}'::jsonb END,
       CASE WHEN state IN ('failed', 'retrying') THEN '{"type": "ValueError", "message": "it broke"}'::jsonb END,
       CASE WHEN state = 'failed' THEN 'exhausted' END,
       CASE WHEN state = 'failed' AND n % 3 = 0 THEN now() END,
       3
FROM (SELECT n, now() - interval '30 days' + n * interval '2.59 seconds' AS created_at,
             CASE WHEN n > 970000 THEN 'queued' WHEN n > 950000 THEN 'scheduled' WHEN n > 942000 THEN 'retrying'
                  WHEN n > 940000 THEN 'running' WHEN n % 50 = 7 THEN 'failed' WHEN n % 100 = 9 THEN 'cancelled'
                  WHEN n % 100 = 11 THEN 'expired' ELSE 'succeeded' END AS state
      FROM generate_series(1, :jobs) AS n) AS month
""")
_FILL_ATTEMPTS = text("""
INSERT INTO attempts (job_id, number, worker, started_at, finished_at, outcome)
SELECT id, 1, 'worker', started_at, finished_at, CASE WHEN finished_at IS NOT NULL THEN 'succeeded' END
FROM jobs WHERE attempt = 1 AND (priority = 1 OR state = 'running')
""")
_FILL_EVENTS = text("""
INSERT INTO events (job_id, seq, at, name, state, attempt)
SELECT id, seq, created_at, 'accept', 'queued', 0 FROM jobs, generate_series(1, 3) AS seq WHERE priority = 1
""")


@pytest.fixture(scope="session")
def million(postgres_server: PostgresServer, template_database: str) -> Iterator[Engine]:
    """An engine on a migrated database with 1,000,000 jobs, analysed. For tests that change nothing."""
    names = {"name": sql.Identifier(NAME), "template": sql.Identifier(template_database)}
    administer(postgres_server, sql.SQL("CREATE DATABASE {name} TEMPLATE {template}").format(**names))
    engine = lasting(postgres_server.database_url(NAME), pool_size=2)
    with engine.begin() as connection:
        _fill(connection)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (ANALYZE) jobs, attempts, events"))
    yield engine
    engine.dispose()
    administer(postgres_server, sql.SQL("DROP DATABASE {name} WITH (FORCE)").format(**names))


def _fill(connection: Connection) -> None:
    allow(connection, seconds=300)
    connection.execute(text("SET LOCAL maintenance_work_mem = '256MB'"))
    secondary = text("SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'jobs' AND indexname <> 'jobs_pkey'")
    indexes = connection.execute(secondary).all()
    for name, _ in indexes:
        connection.execute(text(f'DROP INDEX "{name}"'))
    connection.execute(_FILL_JOBS, {"jobs": JOBS})
    for _, definition in indexes:
        connection.exec_driver_sql(definition)
    connection.execute(_FILL_ATTEMPTS)
    connection.execute(_FILL_EVENTS)
