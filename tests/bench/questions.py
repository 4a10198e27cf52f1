"""The measure of what it takes to look: a scrape, and why a job waits, beside a month of jobs."""

import http.client
import os
import time
from collections.abc import Callable
from typing import Any, Final

import psycopg
from pydantic import SecretStr

from jobs import registry
from jobs.database import DatabaseSettings, open_engine, transaction
from tests.bench.figures import Round, percentile
from tests.bench.options import Options
from tests.bench.penstock import Penstock
from tests.bench.processes import NeverHappenedError, wait_until
from tests.services.backlog import fill

AT_ONCE: Final = 100_000
FEW_MARKS: Final = 1000
SETTLED_SECONDS: Final = 300.0
WARM: Final = 20

FINISHED: Final = """
    INSERT INTO jobs (id, task, queue, state, payload, created_at, run_at, started_at, finished_at, attempt, result,
                      event_count)
    SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '70008000'
            || lpad(to_hex(n), 12, '0'))::uuid,
           'demo.task' || n %% 20, 'default', 'succeeded', '{"message": "hello"}', at, at, at, at, 1, '{}', 3
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n,
         LATERAL (SELECT now() - interval '1 day' + n * interval '1 millisecond' AS at) AS each
"""
_WAITING: Final = "SELECT id FROM jobs WHERE state = 'queued' AND priority = "
JOBS: Final = {
    "explain, last in line": _WAITING + "3 ORDER BY rung_at IS NULL DESC, run_at DESC, id DESC LIMIT 1",
    "explain, in the middle": _WAITING + "4 ORDER BY rung_at IS NULL DESC, run_at, id LIMIT 1",
    "explain, near its turn": _WAITING + "5 ORDER BY rung_at DESC NULLS LAST LIMIT 1",
    "explain, finished": "SELECT id FROM jobs WHERE state = 'succeeded' LIMIT 1",
}
"""Which jobs are asked about."""


def look(stack: Penstock, options: Options, tell: Callable[[str], None]) -> dict[str, Round]:
    """What each question came to, asked one after the other, by its name."""
    stack.start_api()
    tell(f"questions: {options.finished_jobs:,} finished jobs, and {options.waiting_jobs:,} that wait")
    _finish(stack.database_url, options.finished_jobs)
    fill(stack.database_url, options.waiting_jobs)
    wait_until(
        lambda: stack.ask("SELECT count(*) FROM census_marks") < FEW_MARKS,
        seconds=SETTLED_SECONDS,
        what="the census is added up",
        every=1.0,
    )
    asked = {"scrape": "/metrics", "queues": "/api/v1/queues"}
    asked |= {name: f"/api/v1/jobs/{stack.ask(query)}/explain" for name, query in JOBS.items()}
    return {name: _ask(stack, path, options.questions) for name, path in asked.items()}


def _finish(url: str, count: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET statement_timeout = '5min'")
        for first in range(1, count + 1, AT_ONCE):
            numbers: dict[str, Any] = {"first": first, "last": min(count, first + AT_ONCE - 1)}
            connection.execute(FINISHED, numbers)
        connection.execute("VACUUM (ANALYZE) jobs")


def _ask(stack: Penstock, path: str, times: int) -> Round:
    """A few times for nothing, and then for the clock, on one connection."""
    _employ(stack)
    line = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=30)
    took = []
    for _ in range(WARM + times):
        began = time.perf_counter()
        line.request("GET", path, headers={"Authorization": stack.authorization})
        answer = line.getresponse()
        body = answer.read()
        took.append((time.perf_counter() - began) * 1000)
        if answer.status != http.client.OK:
            raise NeverHappenedError(f"{path} was answered {answer.status}: {body[:200]!r}")
    line.close()
    took = took[WARM:]
    shares = {f"p{percent}_ms": percentile(took, percent) for percent in (50, 95, 99)}
    return Round(count=times, max_ms=max(took), **shares)


def _employ(stack: Penstock) -> None:
    """Have a worker on the list that is alive and busy: a real one would eat up the line."""
    settings = DatabaseSettings(database_url=SecretStr(stack.database_url))
    engine = open_engine(settings, application_name="penstock-bench", pool_size=1)
    with transaction(engine) as connection:
        facts = {"host": "bench", "pid": os.getpid(), "queues": ["default"], "slots": 4, "release": "0"}
        registry.announce(connection, name="bench", tasks=["demo.noop"], **facts)  # type: ignore[arg-type]  # one dict
        registry.beat(connection, "bench", running=4, rates={"default": 100.0})
    engine.dispose()
