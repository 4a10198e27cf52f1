"""The measure of retention: intake while old jobs are pruned and a month of history is dropped, and while nothing is.

Both are done by the functions that a beat calls, from this process, so that the drop falls into the middle of the load.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import psycopg
from pydantic import SecretStr
from sqlalchemy import Engine

from jobs import partitions, upkeep
from jobs.database import DatabaseSettings, open_engine, transaction
from jobs.partitions import HISTORY
from tests.bench.figures import Round
from tests.bench.hammer import hammer
from tests.bench.options import Options
from tests.bench.penstock import Penstock
from tests.bench.stacks import ECHO

KEEP: Final = timedelta(days=30)
AT_ONCE: Final = 200_000
JOBS_SHARE, ATTEMPTS_SHARE = 5, 5
"""One row in so many is a job that is to be pruned, and one an attempt; the rest are events."""

#: Two months that are over: of the one all jobs are gone, of the other they are about to go.
_MONTHS: Final = """
    SELECT to_char(month, 'YYYY_MM'),
           (rpad(lpad(to_hex((extract(epoch FROM month) * 1000)::bigint), 12, '0'), 32, '0'))::uuid,
           (rpad(lpad(to_hex((extract(epoch FROM month + interval '1 month') * 1000)::bigint), 12, '0'), 32, '0'))::uuid
    FROM (SELECT date_trunc('month', now()) - n * interval '1 month' AS month FROM unnest(ARRAY[4, 3]) AS n) AS months
"""
_IDS: Final = """
    SELECT n, at, (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '70008000'
                   || lpad(to_hex(n), 12, '0'))::uuid AS id
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n,
         LATERAL (SELECT date_trunc('month', now()) - %(month)s * interval '1 month'
                         + n * (interval '27 days' / %(count)s) AS at) AS each
"""
_JOBS: Final = f"""
    INSERT INTO jobs (id, task, queue, state, payload, created_at, run_at, started_at, finished_at, attempt, result,
                      event_count)
    SELECT id, 'demo.echo', 'default', 'succeeded', '{{"message": "hello"}}', at, at, at, at, 1, '{{}}', 3
    FROM ({_IDS}) AS old
"""
_ATTEMPTS: Final = f"""
    INSERT INTO attempts (job_id, number, worker, started_at, finished_at, outcome)
    SELECT id, 1, 'worker', at, at, 'succeeded' FROM ({_IDS}) AS old
"""
_EVENTS: Final = f"""
    INSERT INTO events (job_id, seq, at, name, state, attempt)
    SELECT id, seq, at, 'start', 'running', 1 FROM ({_IDS}) AS old, generate_series(1, 3) AS seq
"""


@dataclass(frozen=True)
class Rounds:
    """What it came to."""

    quiet: Round
    busy: Round
    pruned: Round
    dropped: Round


@dataclass
class _Work:
    """What the thread that prunes and drops has done."""

    pruned: int = 0
    seconds: float = 0.0
    drops_ms: list[float] = field(default_factory=list)


def look(stack: Penstock, options: Options, tell: Callable[[str], None]) -> Rounds:
    """Intake beside nothing, and beside the end of what `options.rows` rows were kept for."""
    stack.start_api(beat=False)
    rows = fill(stack.database_url, options.rows, tell)
    settings = DatabaseSettings(database_url=SecretStr(stack.database_url))
    engine = open_engine(settings, application_name="penstock-beat", pool_size=1)
    tell("retention: intake beside nothing")
    quiet = _intake(stack, options)
    tell("retention: intake beside pruning, and the drop of a month")
    with _working(engine, options.intake_seconds / 3) as work:
        busy = _intake(stack, options)
    engine.dispose()
    pruned = Round(count=work.pruned, per_second=work.pruned / work.seconds)
    return Rounds(quiet, busy, pruned, Round(count=rows, max_ms=max(work.drops_ms)))


def fill(url: str, rows: int, tell: Callable[[str], None]) -> int:
    """Have `rows` rows of jobs that ended months ago, and return how many of them are in the month that goes."""
    jobs, attempts = rows // JOBS_SHARE, rows // ATTEMPTS_SHARE
    parts = [(_ATTEMPTS, attempts, 4), (_EVENTS, (rows - jobs - attempts) // 3, 4), (_JOBS, jobs, 3)]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET statement_timeout = '10min'")
        months = connection.execute(_MONTHS).fetchall()
        for table in (history.name for history in HISTORY):
            connection.execute(f"DROP TABLE {table}_first")
            for name, begins, ends in months:
                bounds = f"FOR VALUES FROM ('{begins}') TO ('{ends}')"
                connection.execute(f"CREATE TABLE {table}_{name} PARTITION OF {table} {bounds}")
        for statement, count, month in parts:
            for first in range(1, count + 1, AT_ONCE):
                numbers = {"first": first, "last": min(count, first + AT_ONCE - 1), "month": month, "count": count}
                connection.execute(statement, numbers)
            tell(f"retention: filled with {statement.split()[2]} of {count:,} jobs")
        connection.execute("VACUUM (ANALYZE) jobs, attempts, events")
        connection.execute("CHECKPOINT")
    return rows - jobs


def _intake(stack: Penstock, options: Options) -> Round:
    """By our own client alone: it tells the slowest request of all."""
    target = stack.one(ECHO)
    hammer(target, connections=options.connections, seconds=options.warm_seconds)
    result = hammer(target, connections=options.connections, seconds=options.intake_seconds)
    latencies: dict[str, Any] = {name: getattr(result, name) for name in ("p50_ms", "p95_ms", "p99_ms", "max_ms")}
    return Round(count=result.accepted, per_second=result.per_second, refused=result.refused, **latencies)


@contextmanager
def _working(engine: Engine, seconds_before: float) -> Iterator[_Work]:
    """A thread prunes while the block lasts, and drops the month after a while."""
    work, done = _Work(), threading.Event()

    def prune_and_drop() -> None:
        began, last = time.monotonic(), partitions.BEFORE_ALL
        while not done.is_set() or not work.drops_ms:
            with transaction(engine) as connection:
                gone = upkeep.prune(connection, keep=KEEP, after=last)
            work.pruned += len(gone)
            last = gone[-1] if gone else partitions.BEFORE_ALL
            if not work.drops_ms and time.monotonic() - began > seconds_before:
                work.drops_ms = _drop(engine)
        work.seconds = time.monotonic() - began

    thread = threading.Thread(target=prune_and_drop)
    thread.start()
    try:
        yield work
    finally:
        done.set()
        thread.join()


def _drop(engine: Engine) -> list[float]:
    """Make the months to come and drop the one that is over; the milliseconds that each table took."""
    took = []
    for history in HISTORY:
        began = time.monotonic()
        with transaction(engine) as connection:
            partitions.make_ahead(connection, history)
        with transaction(engine) as connection:
            (old, *_) = partitions.old_parts(connection, history, KEEP)
        with transaction(engine) as connection:
            if not partitions.drop(connection, history, old):
                raise RuntimeError(f"{old.name} was not dropped")
        took.append((time.monotonic() - began) * 1000)
    return took
