"""The contract of all metrics: one table, of which instruments, documentation and tests are made.

Labels are bounded: task and queue names come from the code and the settings, never from a request, and no
job's id and no tenant is a label.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Final, Literal, NamedTuple

PREFIX: Final = "penstock_"
BUSINESS: Final = "penstock_task_"
"""Begins the names that tasks give to metrics of their own; no name of the contract begins so."""
OTHER: Final = "other"
"""The label of what is not known here: names from elsewhere must not make series without end."""

#: Seconds. 0.1 is the boundary of the promise on latency.
FAST: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
#: Seconds. 1 is the boundary of the promise on schedules.
LATE: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 600.0, 3600.0, 86_400.0)
LONG: Final = (0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0)
_SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200)


class Process(StrEnum):
    """Who answers /metrics."""

    API = "api"
    WORKER = "worker"
    BEAT = "beat"


class Source(StrEnum):
    """Where a value comes from."""

    PROCESS = "process"
    """Counted by the process that tells it, since it started."""
    POSTGRESQL = "PostgreSQL"
    """Read at each scrape: every process that tells it tells the same, and no restart loses it."""
    FACT = "fact"
    """True of the process itself."""


class Metric(NamedTuple):
    """One row of the contract."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    unit: str
    meaning: str
    told_by: tuple[Process, ...]
    buckets: tuple[float, ...] = ()
    source: Source = Source.PROCESS
    is_shared: bool = False
    """A gauge of something that is the same for all processes of a port: the largest value is told, and no sum."""


_API, _WORKER, _BEAT, _ALL = (Process.API,), (Process.WORKER,), (Process.BEAT,), tuple(Process)
_RINGING: Final = (Process.API, Process.BEAT)
_RUN: Final = ("task", "queue")


def _stored(name: str, kind: Literal["counter", "gauge"], labels: tuple[str, ...], unit: str, meaning: str) -> Metric:
    return Metric(name, kind, labels, unit, meaning, _API, source=Source.POSTGRESQL)


CONTRACT: Final = (
    Metric("http_requests", "counter", ("method", "route", "status"), "requests", "HTTP requests answered", _API),
    Metric(
        "http_request_seconds", "histogram", ("method", "route", "status"), "seconds",
        "Time to answer an HTTP request", _API, FAST,
    ),
    Metric("requests_refused", "counter", ("problem",), "requests", "Requests sent away before they were read", _API),
    Metric("connections", "gauge", (), "connections", "Connections of clients, looked at once a second", _API),
    Metric(
        "requests_under_way", "gauge", (), "requests",
        "Requests that are not answered yet, looked at once a second", _API,
    ),
    Metric(
        "readers_waiting", "gauge", (), "requests",
        "Long polls and event streams that wait, looked at once a second", _API,
    ),
    Metric(
        "jobs_replayed", "counter", (), "requests",
        "Submissions answered from an earlier one with the same idempotency key", _API,
    ),
    Metric("group_commit_size", "histogram", (), "requests", "Submissions that shared a commit", _API, _SIZES),
    Metric(
        "commit_wait_seconds", "histogram", (), "seconds",
        "From intake to the commit, for the first of a group", _API, FAST,
    ),
    Metric(
        "replica_reads", "counter", ("from",), "requests",
        "Lists that were read where there is a replica, by whether it or the primary was asked", _API,
    ),
    Metric(
        "replica_lag_seconds", "gauge", (), "seconds",
        "For how long the replica may have missed something; it grows while nobody can ask", _API, is_shared=True,
    ),
    Metric("doorbells_rung", "counter", (), "doorbells", "Doorbells that the broker confirmed", _RINGING),
    Metric("doorbells_failed", "counter", (), "doorbells", "Doorbells that upkeep has to ring again", _RINGING),
    Metric(
        "doorbells_unconfirmed", "counter", (), "doorbells",
        "Of those that failed, the ones that were sent and may have arrived", _RINGING,
    ),
    Metric("attempts_started", "counter", _RUN, "attempts", "Attempts begun", _WORKER),
    Metric(
        "attempts_finished", "counter", (*_RUN, "outcome"), "attempts",
        "Attempts ended, by outcome; lost: the process that ran it died", _WORKER,
    ),
    Metric("attempts_fenced", "counter", _RUN, "attempts", "Attempts whose end was refused", _WORKER),
    Metric(
        "doorbells_idle", "counter", (), "doorbells",
        "Doorbells whose job needed no attempt any more", _WORKER,
    ),
    Metric(
        "doorbells_left", "counter", (), "doorbells",
        "Doorbells left to workers of another release, or with other tasks", _WORKER,
    ),
    Metric(
        "messages_unreadable", "counter", ("queue",), "messages",
        "Messages that are no doorbell and went to the dead queue", _WORKER,
    ),
    Metric(
        "consumer_restarts", "counter", (), "connections",
        "Connections made anew because nothing was started while jobs waited", _WORKER,
    ),
    Metric(
        "queue_wait_seconds", "histogram", _RUN, "seconds",
        "From when a job was accepted, or due if that was later, to its first start", _WORKER, LONG,
    ),
    Metric(
        "run_seconds", "histogram", _RUN, "seconds", "From the start of an attempt to its end", _WORKER, LONG,
    ),
    Metric(
        "end_to_end_seconds", "histogram", (*_RUN, "state"), "seconds",
        "From when a job was accepted, or due if it needed one attempt only, to its final state", _WORKER, LONG,
    ),
    Metric(
        "measures_dropped", "counter", _RUN, "measures",
        "What tasks measured beyond the bounds, or under a name that has another kind or other labels", _WORKER,
    ),
    Metric("slots", "gauge", (), "jobs", "Jobs that this worker can run at once", _WORKER),
    Metric("slots_busy", "gauge", (), "jobs", "Jobs that this worker runs now", _WORKER),
    Metric(
        "upkeep", "counter", ("step",), "jobs",
        "Jobs that upkeep moved or rang, by step; rescue: taken from attempts whose lease ran out", _BEAT,
    ),
    Metric(
        "upkeep_failures", "counter", ("step",), "failures",
        "Times that a step of upkeep did not do what it should; ring: PostgreSQL or the broker stood in the way", _BEAT,
    ),
    Metric("upkeep_seconds", "histogram", (), "seconds", "Time of one round of upkeep, failed ones too", _BEAT, FAST),
    Metric(
        "occurrences", "counter", ("decision", "reason"), "instants",
        "Decisions about the instants of schedules; skipped: misfires", (Process.BEAT, Process.API),
    ),
    Metric(
        "schedule_lateness_seconds", "histogram", (), "seconds",
        "From the time of a schedule's instant to its job", _BEAT, LATE,
    ),
    _stored("jobs_accepted", "counter", _RUN, "jobs", "Jobs made durable"),
    _stored("jobs_started", "counter", _RUN, "jobs", "Starts of jobs; one that runs again starts again"),
    _stored("jobs_finished", "counter", (*_RUN, "state"), "jobs", "Jobs that came to a final state"),
    _stored("jobs_retried", "counter", _RUN, "jobs", "Jobs that were put off to another attempt"),
    _stored("jobs", "gauge", ("queue", "state"), "jobs", "Jobs on record; finished ones until they are deleted"),
    _stored("jobs_unrung", "gauge", ("queue",), "jobs", "Ready jobs that no doorbell speaks of yet"),
    _stored("dead_letters", "gauge", _RUN, "jobs", "Failed jobs that nobody has replayed or discarded"),
    _stored(
        "oldest_waiting_seconds", "gauge", ("queue",), "seconds",
        "For how long the ready job that waits the longest has waited; 0: none waits",
    ),
    _stored(
        "overdue_seconds", "gauge", ("state",), "seconds",
        "Since when upkeep should have moved a job of this state, running: whose lease ran out; 0: none is overdue",
    ),
    _stored("leases_expired", "gauge", (), "jobs", "Running jobs whose lease ran out; 1000: or more"),
    _stored("workers_alive", "gauge", (), "workers", "Workers seen in the last 30 s"),
    _stored("queue_workers", "gauge", ("queue",), "workers", "Workers seen in the last 30 s that serve the queue"),
    _stored("queue_paused", "gauge", ("queue",), "1", "1: somebody has paused the queue; 0: it is open"),
    _stored(
        "schedules_overdue_seconds", "gauge", (), "seconds",
        "For how long the schedule that is overdue the longest has waited for beat; 0: none is",
    ),
    _stored(
        "archive_failing_seconds", "gauge", (), "seconds",
        "For how long PostgreSQL's archive has taken no WAL, while it fails; 0: it does not, or there is none",
    ),
    _stored("database_bytes", "gauge", (), "bytes", "Size of the database on the disk of PostgreSQL"),
    Metric("pool_limit", "gauge", ("pool",), "connections", "Connections to PostgreSQL that the pool may hold", _ALL),
    Metric("pool_used", "gauge", ("pool",), "connections", "Connections to PostgreSQL that are in use", _ALL),
    Metric(
        "pool_wait_seconds", "histogram", ("pool",), "seconds",
        "Time to get a connection of the pool, a new one made where it is needed", _ALL, FAST,
    ),
    Metric(
        "pool_timeouts", "counter", ("pool",), "requests",
        "Times that no connection of the pool, or no place in the line before it, was free for as long as one waits",
        _ALL,
    ),
    Metric(
        "build_info", "gauge", ("version", "python"), "1", "Always 1; the release is in the labels", _ALL,
        source=Source.FACT,
    ),
    Metric(
        "processes", "gauge", (), "processes",
        "Processes of this service: the main one and its children", _ALL, source=Source.FACT,
    ),
)  # fmt: skip


def told_by(process: Process, *sources: Source) -> Iterator[Metric]:
    """Go through the metrics that `process` tells from any of `sources`; none named: from any."""
    for metric in CONTRACT:
        if process in metric.told_by and (not sources or metric.source in sources):
            yield metric


def row(name: str) -> Metric:
    """Return the row of `name`."""
    return next(metric for metric in CONTRACT if metric.name == name)
