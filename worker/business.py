"""The metrics that tasks make of their own business, within bounds: what is beyond them is counted and dropped."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from jobs.telemetry.contract import BUSINESS, LONG, OTHER
from tasks.measures import Kind, Measure

MOST_NAMES: Final = 100
"""Metrics that the tasks of one worker may make."""
MOST_SERIES: Final = 100
"""Series of one metric that keep their labels; what comes after them has `other` in each."""

Shape = tuple[Kind, tuple[str, ...]]


class Business(Collector):
    """The metrics of the tasks of this worker."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._made: dict[str, tuple[Shape, Any]] = {}
        self._series: dict[str, set[tuple[str, ...]]] = {}

    def take(self, task: str, measures: Iterable[Measure]) -> int:
        """Count what an attempt at `task` has measured, and return how much of it had to be dropped.

        The first measure of a name decides its kind and its labels, which are the same for all tasks.
        """
        return sum(not self._take(task, one) for one in measures)

    def _take(self, task: str, measure: Measure) -> bool:
        names = tuple(name for name, _ in measure.labels)
        shape = (measure.kind, names)
        if measure.name not in self._made:
            if len(self._made) >= MOST_NAMES:
                return False
            self._made[measure.name] = shape, _make(measure, names)
            self._series[measure.name] = set()
        known, instrument = self._made[measure.name]
        if known != shape:
            return False
        one = instrument.labels(task, *self._bounded(measure.name, task, measure.labels))
        match measure.kind:
            case Kind.COUNTER:
                one.inc(measure.value)
            case Kind.GAUGE:
                one.set(measure.value)
            case Kind.HISTOGRAM:
                one.observe(measure.value)
        return True

    def _bounded(self, name: str, task: str, labels: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
        values = tuple(value for _, value in labels)
        series = self._series[name]
        if (task, *values) not in series:
            if len(series) >= MOST_SERIES:
                return (OTHER,) * len(values)
            series.add((task, *values))
        return values

    def collect(self) -> Iterator[Metric]:
        """Return all of them."""
        for _, instrument in list(self._made.values()):
            yield from instrument.collect()

    def describe(self) -> Iterator[Metric]:
        """Return nothing: no task has run yet."""
        return iter(())


def _make(measure: Measure, labels: tuple[str, ...]) -> Counter | Gauge | Histogram:
    name, meaning, names = BUSINESS + measure.name, f"{measure.name} as tasks tell it", ("task", *labels)
    match measure.kind:
        case Kind.COUNTER:
            return Counter(name, meaning, names, registry=None)
        case Kind.GAUGE:
            return Gauge(name, meaning, names, registry=None)
        case Kind.HISTOGRAM:
            return Histogram(name, meaning, names, buckets=LONG, registry=None)
