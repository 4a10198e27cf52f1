"""What /metrics answers: this process's counts, or those of all its siblings, and the state of the queues."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy import Engine

from jobs import registry, search
from jobs.database import reading
from jobs.errors import DatabaseUnavailable
from jobs.telemetry.contract import CONTRACT, PREFIX
from jobs.telemetry.process import tell_facts

_MEANING: Final = {metric.name: metric.meaning for metric in CONTRACT}


class QueuesCollector(Collector):
    """Counts unfinished jobs and living workers in PostgreSQL at each scrape."""

    def __init__(self, engine: Engine) -> None:
        """Count with `engine`."""
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        """Return the gauges; nothing when PostgreSQL is away, so that no stale number is shown."""
        try:
            with reading(self._engine) as connection:
                counts = search.count_by_state(connection)
                alive = registry.count_alive(connection)
        except DatabaseUnavailable:
            return
        jobs = GaugeMetricFamily(PREFIX + "jobs", _MEANING["jobs"], labels=("queue", "state"))
        for queue, state, count in counts:
            jobs.add_metric((queue, state), count)
        yield jobs
        yield GaugeMetricFamily(PREFIX + "workers_alive", _MEANING["workers_alive"], value=alive)

    def describe(self) -> Iterator[Metric]:
        """Return nothing: registering must not ask the database."""
        return iter(())


def _forget_the_dead(folder: Path) -> None:
    """Remove the gauges of processes that are gone: what they held is not held any more. Their counts stay."""
    for file in folder.glob("gauge_live*_*.db"):
        pid = file.stem.rpartition("_")[2]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            file.unlink(missing_ok=True)


class Siblings(Collector):
    """What the processes that share a port have counted, added up."""

    def __init__(self, own: CollectorRegistry, folder: Path) -> None:
        """Add up what lies in `folder`; `own` knows which metrics there are."""
        self._own = own
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        """Return all metrics, those too that nobody has counted yet."""
        _forget_the_dead(self._folder)
        summed = MultiProcessCollector(None, path=str(self._folder)).collect()  # type: ignore[no-untyped-call]  # the library leaves it untyped
        found = {family.name: family for family in summed}
        for family in self._own.collect():
            yield found.get(family.name) or Metric(family.name, family.documentation, family.type)


class Scrape:
    """Renders the metrics of the API."""

    def __init__(self, own: CollectorRegistry, engine: Engine) -> None:
        """Render `own`, or, where several processes share the port, what all of them wrote."""
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        self._counts = CollectorRegistry()
        self._counts.register(Siblings(own, Path(folder)) if folder else own)
        tell_facts(self._counts, main=os.getppid() if folder else None)
        self._queues = CollectorRegistry()
        self._queues.register(QueuesCollector(engine))

    def counts(self) -> bytes:
        """Return what the processes have counted themselves, and what they are."""
        return generate_latest(self._counts)

    def queues(self) -> bytes:
        """Return what only PostgreSQL knows."""
        return generate_latest(self._queues)
