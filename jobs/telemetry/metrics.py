"""The instruments of a process, made from the contract."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from pydantic import Field

from jobs.environment import Settings
from jobs.telemetry.contract import CONTRACT, PREFIX, Metric, Process, Source, told_by


class MetricsSettings(Settings):
    """What a process counts of itself."""

    metrics: Annotated[
        bool,
        Field(
            description="false: the process counts nothing; /metrics then tells only what PostgreSQL knows, and what "
            "the process is"
        ),
    ] = True


class Instruments(Mapping[str, Any]):
    """The instruments of one process, by their name in the contract."""

    def __init__(self, registry: CollectorRegistry, *names: str, silent: bool = False) -> None:
        """Make the instruments `names`, or all of the contract. Those that are `silent` count nothing."""
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which no one asks for
        wanted = set(names) or {metric.name for metric in CONTRACT}
        self.registry = registry
        self.silent = silent
        chosen = [metric for metric in CONTRACT if metric.name in wanted]
        self._made = {metric.name: SILENT if silent else _make(metric, registry) for metric in chosen}

    def __getitem__(self, name: str) -> Any:
        """Return the instrument."""
        return self._made[name]

    def __iter__(self) -> Any:
        """Go through the names."""
        return iter(self._made)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._made)


def instruments_of(process: Process, settings: MetricsSettings | None = None) -> Instruments:
    """Return what `process` counts itself, in a registry of its own."""
    names = [metric.name for metric in told_by(process, Source.PROCESS)]
    return Instruments(CollectorRegistry(), *names, silent=not (settings or MetricsSettings()).metrics)


class _Silent:
    """An instrument that counts nothing."""

    def labels(self, *_: str) -> "_Silent":
        return self

    def inc(self, _amount: float = 1) -> None:
        return

    def dec(self, _amount: float = 1) -> None:
        return

    def set(self, _value: float) -> None:
        return

    def set_function(self, _function: Any) -> None:
        return

    def observe(self, _value: float) -> None:
        return


SILENT: Final = _Silent()


def _make(metric: Metric, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    name, meaning, labels = PREFIX + metric.name, metric.meaning, metric.labels
    match metric.kind:
        case "counter":
            return Counter(name, meaning, labels, registry=registry)
        case "gauge":
            mode: Literal["livemax", "livesum"] = "livemax" if metric.is_shared else "livesum"
            return Gauge(name, meaning, labels, registry=registry, multiprocess_mode=mode)
        case "histogram":
            return Histogram(name, meaning, labels, buckets=metric.buckets, registry=registry)
