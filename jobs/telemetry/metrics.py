"""The contract of all metrics: name, type, labels, unit and meaning in one table; instruments are made from it.

Labels are bounded: task and queue names come from the code and the settings, never from a request, and no
job's id is a label.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

PREFIX: Final = "penstock_"

#: Seconds. 0.1 is the boundary of the promise on latency.
FAST: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
#: Seconds. 1 is the boundary of the promise on schedules.
LATE: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 600.0, 3600.0, 86_400.0)
LONG: Final = (0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0)


class Metric(NamedTuple):
    """One row of the contract."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    meaning: str
    buckets: tuple[float, ...] = ()


CONTRACT: Final = (
    Metric("http_requests", "counter", ("method", "route", "status"), "HTTP requests answered"),
    Metric("http_request_seconds", "histogram", ("method", "route"), "Time to answer an HTTP request", FAST),
    Metric("requests_refused", "counter", ("problem",), "Requests sent away before they were read"),
    Metric("connections", "gauge", (), "Connections of clients, looked at once a second"),
    Metric("requests_under_way", "gauge", (), "Requests that are not answered yet, looked at once a second"),
    Metric("readers_waiting", "gauge", (), "Long polls and event streams that wait, looked at once a second"),
    Metric("jobs_accepted", "counter", ("task", "queue"), "Jobs made durable"),
    Metric("jobs_replayed", "counter", (), "Submissions answered from an earlier one with the same idempotency key"),
    Metric("group_commit_size", "histogram", (), "Submissions that shared a commit", (1, 2, 5, 10, 20, 50, 100, 200)),
    Metric("commit_wait_seconds", "histogram", (), "From intake to the commit, for the first of a group", FAST),
    Metric("doorbells_rung", "counter", (), "Doorbells that the broker confirmed"),
    Metric("doorbells_failed", "counter", (), "Doorbells given back to upkeep"),
    Metric("attempts_started", "counter", ("task", "queue"), "Attempts begun"),
    Metric("attempts_finished", "counter", ("task", "queue", "outcome"), "Attempts ended, by outcome"),
    Metric("attempts_fenced", "counter", ("task", "queue"), "Attempts whose end was refused"),
    Metric("doorbells_idle", "counter", (), "Doorbells whose job needed no attempt any more"),
    Metric("doorbells_left", "counter", (), "Doorbells left to workers of another release, or with other tasks"),
    Metric("messages_unreadable", "counter", ("queue",), "Messages that are no doorbell and went to the dead queue"),
    Metric("consumer_restarts", "counter", (), "Connections made anew because nothing was started while jobs waited"),
    Metric("queue_wait_seconds", "histogram", ("task", "queue"), "From acceptance to the first start", LONG),
    Metric("run_seconds", "histogram", ("task", "queue"), "From the start of an attempt to its end", LONG),
    Metric("slots", "gauge", (), "Jobs that this worker can run at once"),
    Metric("slots_busy", "gauge", (), "Jobs that this worker runs now"),
    Metric("upkeep", "counter", ("step",), "Jobs that upkeep moved or rang, by step"),
    Metric("upkeep_seconds", "histogram", (), "Time of one round of upkeep", FAST),
    Metric("occurrences", "counter", ("decision", "reason"), "Decisions about the instants of schedules"),
    Metric("schedule_lateness_seconds", "histogram", (), "From the time of a schedule's instant to its job", LATE),
    Metric("jobs", "gauge", ("queue", "state"), "Unfinished jobs in PostgreSQL"),
    Metric("workers_alive", "gauge", (), "Workers seen in the last 30 s"),
)


class Instruments(Mapping[str, Any]):
    """The instruments of one process, by their name in the contract."""

    def __init__(self, registry: CollectorRegistry, *names: str) -> None:
        """Make the instruments `names`, or all of the contract."""
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which no one asks for
        wanted = set(names) or {metric.name for metric in CONTRACT}
        self.registry = registry
        self._made = {metric.name: _make(metric, registry) for metric in CONTRACT if metric.name in wanted}

    def __getitem__(self, name: str) -> Any:
        """Return the instrument."""
        return self._made[name]

    def __iter__(self) -> Any:
        """Go through the names."""
        return iter(self._made)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._made)


def _make(metric: Metric, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    name, meaning, labels = PREFIX + metric.name, metric.meaning, metric.labels
    match metric.kind:
        case "counter":
            return Counter(name, meaning, labels, registry=registry)
        case "gauge":
            return Gauge(name, meaning, labels, registry=registry, multiprocess_mode="livesum")
        case "histogram":
            return Histogram(name, meaning, labels, buckets=metric.buckets, registry=registry)
