"""The result of a run: a table for people, a file for programs."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench.figures import Measure, Side
from tests.bench.options import Options

OVERLOAD = (
    "capacity_per_second", "asked_per_second", "refusal_percent", "refusal_p99_ms", "client_late_p99_ms",
    "recovery_seconds",
)  # fmt: skip
BACKLOG = ("rss_growth_percent", "broker_depth")
FIGURES = ("per_second", "p50_ms", "p95_ms", "p99_ms", "max_ms", "cpu_percent", "rss_mb", *BACKLOG, *OVERLOAD)
WANTED = {
    "ratio": "ratio >= {:g}",
    "per_second": ">= {:,g}/s",
    "p50_ms": "p50 < {:g} ms",
    "p95_ms": "p95 < {:g} ms",
    "p99_ms": "p99 < {:g} ms",
    "max_ms": "max < {:g} ms",
    "cpu_percent": "CPU < {:g} %",
    "refusal_p99_ms": "refusals p99 < {:g} ms",
    "recovery_seconds": "calm again < {:g} s",
}
CLOSE = 2
"""Below this, a ratio is told to the hundredth."""
LATENCIES = ("p50_ms", "p95_ms", "p99_ms", "max_ms")


@dataclass(frozen=True)
class Report:
    """A finished run."""

    began_at: datetime
    seconds: float
    commit: str
    machine: dict[str, Any]
    versions: dict[str, str]
    options: Options
    measures: list[Measure]

    @property
    def is_valid(self) -> bool:
        """Every request was accepted, on both sides."""
        return all(measure.refused == 0 for measure in self.measures)

    def as_json(self) -> dict[str, Any]:
        return {
            "began_at": self.began_at.astimezone(UTC).isoformat(timespec="seconds"),
            "seconds": round(self.seconds, 1),
            "commit": self.commit,
            "machine": self.machine,
            "versions": self.versions,
            "options": asdict(self.options),
            "valid": self.is_valid,
            "measures": [_measure(measure) for measure in self.measures],
        }

    def write(self, path: Path) -> None:
        """`path` holds the report as JSON; its folder is made when it is missing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.as_json(), indent=2) + "\n")

    def show(self, console: Console) -> None:
        """The report is on the console: a table, and what it was measured on."""
        table = Table(title="Penstock beside the others: medians of the rounds of one run")
        for column in ("measure", "Penstock", "baseline", "ratio", "wanted"):
            table.add_column(column, justify="left" if column in {"measure", "wanted"} else "right", overflow="fold")
        for measure in self.measures:
            table.add_row(*_row(measure), end_section=True)
        console.print(table)
        began = self.began_at.astimezone(UTC)
        console.print(f"{began:%Y-%m-%d %H:%M} UTC, commit {self.commit}, {self.seconds:.0f} s")
        for facts in (self.machine, self.versions):
            console.print(", ".join(f"{name} {value}" for name, value in facts.items()), highlight=False)


def _measure(measure: Measure) -> dict[str, Any]:
    ratio = measure.ratio
    return {
        "name": measure.name,
        "title": measure.title,
        "ratio": None if ratio is None else round(ratio, 2),
        "wanted": {name: value for name, value in asdict(measure.wanted).items() if value is not None},
        "misses": measure.misses(),
        "sides": {
            role: None if side is None else _side(side)
            for role, side in (("penstock", measure.penstock), ("baseline", measure.baseline))
        },
    }


def _side(side: Side) -> dict[str, Any]:
    medians = {figure: side.median(figure) for figure in FIGURES}
    return {
        "name": side.name,
        "refused": side.refused,
        **{figure: round(value, 2) for figure, value in medians.items() if value is not None},
        "rounds": [
            {name: round(value, 2) for name, value in asdict(one).items() if value is not None} for one in side.rounds
        ],
    }


def _row(measure: Measure) -> tuple[str, str, str, str, str]:
    ratio = measure.ratio
    asked = asdict(measure.wanted).items()
    wanted = [WANTED[figure].format(value) for figure, value in asked if value is not None]
    if wanted and measure.penstock is not None:
        wanted.append("missed: " + "; ".join(measure.misses()) if measure.misses() else "reached")
    return (
        measure.title,
        _cell(measure.penstock, show_name=False),
        _cell(measure.baseline, show_name=True),
        "-" if ratio is None else f"{ratio:.{1 if ratio >= CLOSE else 2}f}",
        "\n".join(wanted) or "-",
    )


def _cell(side: Side | None, *, show_name: bool) -> str:
    if side is None:
        return "-"
    lines = [side.name] if show_name else []
    per_second = side.median("per_second")
    if per_second is not None:
        lines.append(f"{per_second:,.0f}/s")
    latencies = [(figure[:3], side.median(figure)) for figure in LATENCIES]
    if any(value is not None for _, value in latencies):
        shown = " ".join(f"{name} {value:.1f}" for name, value in latencies if value is not None)
        lines.append(f"{shown} ms")
    cpu, rss = side.median("cpu_percent"), side.median("rss_mb")
    if cpu is not None and rss is not None:
        lines.append(f"{cpu:.1f} % of a core, {rss:.0f} MB")
    growth, held = (side.median(figure) for figure in BACKLOG)
    if growth is not None and held is not None:
        lines.append(f"beat {cpu or 0:.1f} % of a core, memory {growth:+.1f} %")
        lines.append(f"{held:,.0f} messages in the broker")
    lines += _overload(side)
    if side.refused:
        lines.append(f"{side.refused} refused")
    return "\n".join(lines)


def _overload(side: Side) -> list[str]:
    found = {figure: side.median(figure) for figure in OVERLOAD}
    capacity, asked, percent, refusal_ms, late_ms, seconds = found.values()
    if None in found.values():
        return []
    return [
        f"asked for {asked:,.0f}/s, able to {capacity:,.0f}/s",
        f"refused {percent:.0f} %, p99 {refusal_ms:.1f} ms",
        f"calm again after {seconds:.1f} s; client late p99 {late_ms:.1f} ms",
    ]
