"""What only PostgreSQL knows, as metrics: read at each scrape, at the same cost however many jobs there are."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from jobs import census, overdue, registry
from jobs.database import reading
from jobs.errors import DatabaseUnavailable
from jobs.planning import store
from jobs.queues import paused
from jobs.state import FINAL, JobState
from jobs.telemetry.contract import OTHER, PREFIX, row

log = structlog.get_logger()

# PostgreSQL, "The Cumulative Statistics System": everybody may read pg_stat_archiver.
_ARCHIVE: Final = text("""
SELECT extract(epoch FROM clock_timestamp() - coalesce(last_archived_time, stats_reset, last_failed_time))
FROM pg_stat_archiver
WHERE last_failed_time > coalesce(last_archived_time, '-infinity') AND current_setting('archive_mode') <> 'off'
""")
_SIZE: Final = text("SELECT pg_database_size(current_database())")


class Stored(Collector):
    """Jobs, queues, workers and schedules as PostgreSQL has them."""

    def __init__(self, engine: Engine, tasks: Collection[str], queues: Sequence[str]) -> None:
        """Read with `engine`; other names than those of `tasks` and `queues` are counted as `other`."""
        self._engine = engine
        self._tasks = frozenset(tasks)
        self._queues = tuple(queues)

    def collect(self) -> Iterator[Metric]:
        """Return all of it; nothing when PostgreSQL is away or refuses, so that no stale number is shown."""
        try:
            with reading(self._engine) as connection:
                found = [*self._jobs(census.count(connection)), *self._others(connection)]
        except DatabaseUnavailable:
            return
        except DBAPIError as error:  # a schema that is not ours yet, or a statement that took too long
            log.warning("metrics_left_out", sqlstate=getattr(error.orig, "sqlstate", None))
            return
        yield from found

    def describe(self) -> Iterator[Metric]:
        """Return nothing: registering must not ask the database."""
        return iter(())

    def _jobs(self, counts: Sequence[census.Count]) -> Iterator[Metric]:
        accepted, started, retried, dead = Counter[Any](), Counter[Any](), Counter[Any](), Counter[Any]()
        finished, jobs, unrung = Counter[Any](), Counter[Any](), Counter[Any]()
        jobs.update({(queue, state.value): 0 for queue in self._queues for state in JobState})
        unrung.update(dict.fromkeys([(queue,) for queue in self._queues], 0))
        for one in counts:
            queue = one.queue if one.queue in self._queues else OTHER
            labels = (one.task if one.task in self._tasks else OTHER, queue)
            accepted[labels] += one.born
            unrung[queue,] += one.unrung
            state = JobState.FAILED if one.state == census.CLOSED else JobState(one.state)
            jobs[queue, state.value] += one.now
            if one.state == JobState.FAILED:
                dead[labels] += one.now
            if one.state == JobState.RUNNING:
                started[labels] += one.entered
            if one.state == JobState.RETRYING:
                retried[labels] += one.entered
            if one.state in FINAL:
                finished[*labels, one.state] += one.entered
        yield _family("jobs_accepted", accepted)
        yield _family("jobs_started", started)
        yield _family("jobs_finished", finished)
        yield _family("jobs_retried", retried)
        yield _family("jobs", jobs)
        yield _family("jobs_unrung", unrung)
        yield _family("dead_letters", dead)

    def _others(self, connection: Connection) -> Iterator[Metric]:
        waits = census.longest_waits(connection, self._queues)
        yield _family("oldest_waiting_seconds", {(queue,): seconds for queue, seconds in waits.items()})
        late = overdue.overdue(connection)
        yield _family("overdue_seconds", {(state.value,): one.seconds for state, one in late.items()})
        yield _family("leases_expired", {(): late[JobState.RUNNING].jobs})
        serving = registry.count_alive_by_queue(connection)
        yield _family("workers_alive", {(): registry.count_alive(connection)})
        yield _family("queue_workers", {(queue,): serving.get(queue, 0) for queue in self._queues})
        held = paused(connection)
        yield _family("queue_paused", {(queue,): int(queue in held) for queue in self._queues})
        until = store.until_next_due(connection)
        yield _family("schedules_overdue_seconds", {(): 0.0 if until is None else max(0.0, -until)})
        yield _family("archive_failing_seconds", {(): float(connection.scalar(_ARCHIVE) or 0)})
        yield _family("database_bytes", {(): connection.scalar(_SIZE) or 0})


def _family(name: str, values: Any) -> Metric:
    told = row(name)
    kind = CounterMetricFamily if told.kind == "counter" else GaugeMetricFamily
    family = kind(PREFIX + name, told.meaning, labels=told.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family
