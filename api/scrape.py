"""What /metrics answers: this process's counts, or those of all its siblings, and the state of the queues."""

import os
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from api.siblings import is_there
from api.stored import Stored
from jobs.telemetry.process import tell_facts


def _forget_the_dead(folder: Path) -> None:
    """Remove the gauges of processes that are gone: what they held is not held any more. Their counts stay."""
    for file in folder.glob("gauge_live*_*.db"):
        pid = file.stem.rpartition("_")[2]
        if pid.isdigit() and not is_there(int(pid)):
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

    def __init__(self, own: CollectorRegistry, stored: Stored) -> None:
        """Render `own`, or, where several processes share the port, what all of them wrote; and what is `stored`."""
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        self._counts = CollectorRegistry()
        self._counts.register(Siblings(own, Path(folder)) if folder else own)
        tell_facts(self._counts, main=os.getppid() if folder else None)
        self._stored = CollectorRegistry()
        self._stored.register(stored)

    def counts(self) -> bytes:
        """Return what the processes have counted themselves, and what they are."""
        return generate_latest(self._counts)

    def stored(self) -> bytes:
        """Return what only PostgreSQL knows."""
        return generate_latest(self._stored)
