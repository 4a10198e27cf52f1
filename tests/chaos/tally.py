"""The result of a run: a page for people, a file for programs."""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tests.chaos.faults.scene import Strike
from tests.chaos.options import Options
from tests.chaos.parts import Death
from tests.chaos.recovery import Felt, Summary, summarise
from tests.chaos.report import KEPT, Counts, Report
from tests.chaos.schedule import Card, cards

HEADS: Final = (
    *("fault", "count", "connections", "jobs touched", "jobs waiting"),
    *("longest", "recovery p50", "p99", "max", "bound"),
)
LEGEND: Final = (
    "Connections: of a link, those that were seen to be cut, or to have something held back or lost. "
    "Touched: in flight in what was struck. Waiting: all others that could have run and did not yet. Longest: how "
    "long one lasted. Recovery: from the blow until a job had its next start or its end, and a request its answer. "
    "Bound: by when that must be, counted from the end of the fault; a job that stood in a line has 30 s more, and a "
    "tenth of a second for each that stood there; one whose queue was paused meanwhile, twice that time."
)
SHOWN: Final = 20
LEAST_OF_JOBS: Final = 0.25
"""Share of the jobs that its rate promises below which a run shows nothing: what is held up is not caught up with."""
LEAST_OF_FAULTS: Final = 0.75
"""Share of the planned faults, likewise: some meet nothing, and some find another at work."""


@dataclass(frozen=True)
class Tally:
    """A finished run."""

    options: Options
    began_at: datetime
    seconds: float
    commit: str
    machine: dict[str, Any]
    versions: dict[str, str]
    setup: dict[str, Any]
    """How the system was set up, where that is not the default."""
    checked: Report | None
    """None: the run did not come that far."""
    felt: Sequence[Felt]
    submitted: int
    answers: dict[str, int]
    operations: dict[str, int]
    deaths: Sequence[Death]
    """Of processes that nobody had told to end."""
    oddities: Sequence[str]
    """Answers that no client should ever get."""
    logged: dict[str, int]
    """Lines of logs above a warning, by process and event."""
    run_troubles: Sequence[str] = ()
    """Why the run as a whole did not go as it should."""
    planned_faults: int = 0

    @property
    def counts(self) -> Counts:
        """What the checker counted."""
        return self.checked.counts if self.checked else Counts()

    @property
    def made(self) -> list[Felt]:
        """The faults that struck."""
        return [felt for felt in self.felt if felt.strike.struck]

    @property
    def missed(self) -> list[Felt]:
        """The faults that were begun and not seen to strike."""
        return [felt for felt in self.felt if not felt.strike.struck]

    @property
    def late(self) -> list[str]:
        """Who went on later than the bound of a fault allows, or never."""
        return [line for felt in self.made for line in felt.late]

    @property
    def shortfalls(self) -> list[str]:
        """In what the run did less than it must have done to show anything."""
        wanted = (
            ("jobs", self.counts.jobs, self.options.planned_jobs, LEAST_OF_JOBS),
            ("faults", len(self.made), self.planned_faults, LEAST_OF_FAULTS),
        )
        return [
            f"{made:,} {what} of {planned:,} that were planned; a run needs {_least(planned, share):,}"
            for what, made, planned, share in wanted
            if made < _least(planned, share)
        ]

    @property
    def troubles(self) -> list[str]:
        """What went wrong with the run, or with one of its faults."""
        return [*self.run_troubles, *(trouble for felt in self.felt if (trouble := felt.strike.trouble))]

    @property
    def kinds(self) -> int:
        """How many kinds of faults struck."""
        return len({felt.strike.fault.kind for felt in self.made})

    @property
    def is_good(self) -> bool:
        """Whether enough was tried, nothing of it went wrong, and no process ended that should have gone on."""
        wrong = (*self.shortfalls, *self.late, *self.troubles, *self.oddities, *self.deaths)
        return self.checked is not None and self.checked.is_clean and not wrong

    def summaries(self) -> list[Summary]:
        """Return the figures of each kind of fault, those on links by the role that they struck."""
        by_name: dict[str, list[Felt]] = {_card(felt).name: [] for felt in self.made}
        for felt in self.made:
            by_name[_card(felt).name].append(felt)
        order = [card.name for card in cards()]
        return [summarise(name, by_name[name]) for name in sorted(by_name, key=order.index)]

    def as_json(self) -> dict[str, Any]:
        """Return the report as values that JSON knows."""
        counts, options = self.counts, self.options
        found = self.checked.as_json() if self.checked else {}
        return {
            "seed": options.seed,
            "broker": options.broker,
            "minutes": options.minutes,
            "jobs": counts.jobs,
            "faults": len(self.made),
            "kinds": self.kinds,
            "planned": {"jobs": options.planned_jobs, "faults": self.planned_faults},
            "missed": len(self.missed),
            "shortfalls": self.shortfalls,
            "late": self.late[:KEPT],
            "lost": counts.lost,
            "doubled": counts.doubled,
            "fenced": counts.fenced,
            "recovery": {one.kind: _rounded(asdict(one)) for one in self.summaries()},
            "exposures": {one.kind: one.touched for one in self.summaries()},
            "good": self.is_good,
            "violations": found.get("violations", []),
            "troubles": self.troubles,
            "oddities": list(self.oddities),
            "deaths": [asdict(death) for death in self.deaths],
            "checker": {name: found[name] for name in ("clean", "counts", "facts", "broken") if name in found},
            "submitted": self.submitted,
            "answers": self.answers,
            "operations": self.operations,
            "logged": self.logged,
            "fault_list": [_told(felt) for felt in self.felt],
            "began_at": self.began_at.astimezone(UTC).isoformat(timespec="seconds"),
            "seconds": round(self.seconds, 1),
            "rate": options.rate,
            "setup": self.setup,
            "command": options.command,
            "commit": self.commit,
            "machine": self.machine,
            "versions": self.versions,
        }

    def as_markdown(self) -> str:
        """Return the page."""
        options = self.options
        verdict = "nothing lost, nothing doubled, every invariant held" if self.is_good else "NOT GOOD"
        began = f"{self.began_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC, commit {self.commit}, {self.seconds:.0f} s"
        return "\n\n".join(
            [
                f"# Faults on {options.broker}, seed {options.seed}: {verdict}",
                self._sentence(),
                "\n".join(_table(self.summaries())),
                LEGEND,
                "\n".join(self._wrong()) or "Nothing else to tell.",
                f"{began}. Again: `{options.command}`",
                ", ".join(f"{name} {value}" for name, value in self.setup.items()),
                ", ".join(f"{name} {value}" for name, value in (self.machine | self.versions).items()) + "\n",
            ]
        )

    def _sentence(self) -> str:
        counts = self.counts
        parts = (
            f"{counts.jobs:,} jobs in {self.options.minutes:g} min of load",
            f"{len(self.made)} faults of {self.kinds} kinds",
            f"{counts.lost} lost",
            f"{counts.doubled} doubled",
            f"{counts.fenced} ends of attempts fenced",
            f"{counts.extra_executions} executions beyond the one that counted",
            f"{counts.outlived} that ran on after they were given up, the longest for {counts.outlived_longest:g} s",
        )
        return ", ".join(parts) + "."

    def _wrong(self) -> list[str]:
        """Return a line for everything that somebody should look at."""
        lines = [f"- Too little was tried: {shortfall}" for shortfall in self.shortfalls]
        lines += [f"- Too late: {late}" for late in self.late[:SHOWN]]
        lines += [f"- Trouble: {trouble}" for trouble in self.troubles]
        faults = [(felt.strike.fault, felt.strike) for felt in self.missed]
        lines += [f"- Missed, and not counted: {f.kind} {f.where}: {_why(strike)}" for f, strike in faults]
        lines += [f"- Odd answer: {oddity}" for oddity in self.oddities]
        if self.checked:
            broken = self.checked.broken.items()
            lines += [f"- {name}: {count} of {self.checked.facts[name]} facts did not hold" for name, count in broken]
            lines += [f"  - {one.invariant} {one.job_id}: {one.text}" for one in self.checked.violations[:SHOWN]]
        for one in self.deaths:
            ended = f"- {one.name} ended by itself with {one.exit_code} at {one.seconds:g} s. It said:"
            lines += [ended, "", one.said, ""]
        return lines

    def write(self, folder: Path) -> list[Path]:
        """Write both, once under the broker's name and once as the last run, and return where."""
        folder.mkdir(parents=True, exist_ok=True)
        text = {".json": json.dumps(self.as_json(), indent=2, default=str) + "\n", ".md": self.as_markdown()}
        written = []
        for stem in (f"chaos-{self.options.broker}", "chaos"):
            for suffix, content in text.items():
                path = folder / f"{stem}{suffix}"
                part = path.with_name(f"{path.name}.{os.getpid()}")
                part.write_text(content)
                part.replace(path)
                written.append(path)
        return written


def _least(planned: int, share: float) -> int:
    """Return how many there must be; a run that planned none shows nothing either."""
    return max(1, math.ceil(share * planned))


def _card(felt: Felt) -> Card:
    fault = felt.strike.fault
    return Card(fault.kind, (fault.target,), fault.far)


def _why(strike: Strike) -> str:
    """Return the reason in one line."""
    return (strike.failed or "it was not made").strip().rpartition("\n")[2]


def _told(felt: Felt) -> dict[str, Any]:
    strike = felt.strike
    return {
        "number": strike.fault.number,
        "planned_at": strike.fault.at,
        "at": strike.at.astimezone(UTC).isoformat() if strike.at else None,
        "kind": strike.fault.kind,
        "where": strike.fault.where,
        "how": strike.how,
        "lasted": round(strike.lasted, 3),
        "touched": strike.exposed,
        "connections": strike.connections,
        "held_bytes": strike.held_bytes,
        "waiting": len(strike.waiting),
        "blind": strike.blind,
        "struck": strike.struck,
        "recovery": None if felt.recovery is None else round(felt.recovery, 3),
        "stuck": felt.stuck,
        "late": len(felt.late),
        "failed": strike.failed,
        "wrong": strike.wrong,
    }


def _rounded(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in facts.items()}


def _table(summaries: Sequence[Summary]) -> list[str]:
    rows = [
        (
            one.kind,
            f"{one.count}",
            f"{one.connections:,}" if ">" in one.kind else "",
            f"{one.touched:,}",
            f"{one.waiting:,}",
            *[_seconds(value) for value in (one.longest, one.p50, one.p99, one.max, one.bound)],
        )
        for one in summaries
    ]
    widths = [max(len(row[column]) for row in (HEADS, *rows)) for column in range(len(HEADS))]
    rule = ["-" * widths[0], *["-" * (width - 1) + ":" for width in widths[1:]]]
    return [_row(row, widths) for row in (HEADS, rule, *rows)]


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
    return f"| {' | '.join([first.strip().ljust(widths[0]), *rest])} |"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"
