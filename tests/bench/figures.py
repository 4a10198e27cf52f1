"""Percentiles, medians of rounds, and what one side of a measure came to."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of 100 of `values` do not exceed (nearest rank)."""
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * percent // 100))
    return ordered[int(rank) - 1]


@dataclass(frozen=True)
class Load:
    """What a load of HTTP requests came to; latencies are milliseconds."""

    accepted: int
    refused: int
    seconds: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float | None = None
    """None: the client does not tell."""

    @property
    def per_second(self) -> float:
        return self.accepted / self.seconds


@dataclass(frozen=True)
class Round:
    """One side's turn. `per_second` is None where a measure has only latencies, and the other way round."""

    count: int
    per_second: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None
    cpu_percent: float | None = None
    """Of one core."""
    rss_mb: float | None = None
    rss_growth_percent: float | None = None
    """Of all processes together, while it was measured."""
    broker_depth: int | None = None
    """Messages in the broker before the workers started."""
    refused: int = 0
    capacity_per_second: float | None = None
    asked_per_second: float | None = None
    refusal_percent: float | None = None
    refusal_p99_ms: float | None = None
    client_late_p99_ms: float | None = None
    """How late the client was with what it sent, for want of a connection or of a processor."""
    recovery_seconds: float | None = None


@dataclass(frozen=True)
class Side:
    """One stack in one measure: its rounds, and their medians."""

    name: str
    rounds: tuple[Round, ...]

    def median(self, figure: str) -> float | None:
        values = [value for value in (getattr(one, figure) for one in self.rounds) if value is not None]
        return median(values) if values else None

    @property
    def refused(self) -> int:
        return sum(one.refused for one in self.rounds)


@dataclass(frozen=True)
class Wanted:
    """What Penstock should reach; None where nothing was asked for."""

    ratio: float | None = None
    per_second: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None
    cpu_percent: float | None = None
    refusal_p99_ms: float | None = None
    recovery_seconds: float | None = None


@dataclass(frozen=True)
class Measure:
    """Penstock beside one baseline. `ratio` is above 1 where Penstock is the better one."""

    name: str
    title: str
    penstock: Side | None
    baseline: Side | None
    wanted: Wanted = field(default_factory=Wanted)

    @property
    def ratio(self) -> float | None:
        if self.penstock is None or self.baseline is None:
            return None
        ours, theirs = self.penstock.median("per_second"), self.baseline.median("per_second")
        if ours is not None and theirs is not None:
            return ours / theirs
        ours, theirs = self.penstock.median("p50_ms"), self.baseline.median("p50_ms")
        return theirs / ours if ours and theirs else None

    def misses(self) -> list[str]:
        """What is wanted and was not reached, in words; empty when all was, or when Penstock was not measured."""
        if self.penstock is None:
            return []
        found = []
        floors = {"ratio": self.ratio, "per_second": self.penstock.median("per_second")}
        for figure, value in floors.items():
            want = getattr(self.wanted, figure)
            if want is not None and value is not None and value < want:
                found.append(f"{figure} {value:,.1f} < {want:,g}")
        for figure in ("p50_ms", "p95_ms", "p99_ms", "max_ms", "cpu_percent", "refusal_p99_ms", "recovery_seconds"):
            want, value = getattr(self.wanted, figure), self.penstock.median(figure)
            if want is not None and value is not None and value >= want:
                found.append(f"{figure} {value:,.1f} >= {want:,g}")
        return found

    @property
    def refused(self) -> int:
        return sum(side.refused for side in (self.penstock, self.baseline) if side is not None)
