"""Jobs that wait, as many as wanted, written as intake writes them when their window is full."""

from typing import Any, Final

import psycopg

FILL: Final = """
    WITH new AS (
        INSERT INTO jobs (id, tenant, task, queue, priority, state, payload, created_at, run_at)
        SELECT (lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')
                || '7' || lpad(to_hex(n %% 4096), 3, '0') || '8' || lpad(to_hex(n), 15, '0'))::uuid,
               'default', 'demo.noop', 'default', 3 + n %% 3, 'queued', '{}', now(), now()
          FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
        RETURNING id, created_at
    )
    INSERT INTO events (job_id, seq, at, name, state, attempt)
    SELECT id, 1, created_at, 'accept', 'queued', 0 FROM new
"""
AT_ONCE: Final = 100_000
PRIORITIES: Final = (3, 4, 5)


def fill(url: str, count: int) -> None:
    """Have `count` more ready jobs of three priorities wait, that nobody has rung for."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET statement_timeout = '5min'")
        for first in range(1, count + 1, AT_ONCE):
            numbers: dict[str, Any] = {"first": first, "last": min(count, first + AT_ONCE - 1)}
            connection.execute(FILL, numbers)
        connection.execute("ANALYZE jobs")
