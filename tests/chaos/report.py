"""What the checker found: as an object, as JSON, and as a table for people."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from jobs.model import JobId
from tests.chaos.invariant import OF_A_JOB, OF_THE_RUN, Invariant, Meaning

KEPT: Final = 100
"""Violations of one invariant that a report holds word for word; the rest are only counted."""
SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must not be, and is."""

    invariant: str
    job_id: JobId | None
    text: str


@dataclass
class Counts:
    """What a run amounts to."""

    jobs: int = 0
    acknowledged: int = 0
    """Jobs that some client was told are accepted."""
    lost: int = 0
    """Jobs of which an invariant is broken that means a loss, and such findings that are about no job."""
    refused: int = 0
    """Tries that were refused."""
    unknown: int = 0
    """Tries whose client never learned what became of them."""
    unknown_but_present: int = 0
    """Of those, the ones that did store their jobs, as far as they had a request id of their own."""
    doubled: int = 0
    """The same, of those that mean a doubling."""
    fenced: int = 0
    """Ends of attempts that were refused and kept as an event."""
    executions: int = 0
    extra_executions: int = 0
    """Executions whose attempt did not succeed."""
    explained: Counter[str] = field(default_factory=Counter)
    """Extra executions, by the outcome of their attempt that explains them."""
    outlived: int = 0
    """Executions that were seen to run on after their attempt was given up, their worker in reach of PostgreSQL."""
    outlived_longest: float = 0.0
    """For how many seconds the longest of them did."""
    states: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        """Return the counts as plain values."""
        return {f.name: v if isinstance(v := getattr(self, f.name), int | float) else dict(v) for f in fields(self)}


@dataclass
class Report:
    """What the checker found."""

    counts: Counts = field(default_factory=Counts)
    facts: Counter[str] = field(default_factory=lambda: Counter({one.name: 0 for one in (*OF_A_JOB, *OF_THE_RUN)}))
    """How many facts each invariant was tried on: one that was tried on none has shown nothing."""
    broken: Counter[str] = field(default_factory=Counter)
    """How many of them did not hold; an invariant that held is not here."""
    violations: list[Violation] = field(default_factory=list)
    """The first of each invariant."""
    struck: dict[Meaning, set[JobId | str]] = field(default_factory=lambda: {meaning: set() for meaning in Meaning})
    """What was lost and what was doubled: each job once, in however many ways it shows."""

    @property
    def is_clean(self) -> bool:
        """Whether every invariant held."""
        return not self.broken

    def note(self, invariant: Invariant, job_id: JobId | None, findings: Sequence[str | None]) -> None:
        """Count the facts, and keep what is wrong with them."""
        self.facts[invariant.name] += len(findings)
        for found in filter(None, findings):
            self.broken[invariant.name] += 1
            if invariant.means is not None:
                self.struck[invariant.means].add(job_id or f"{invariant.name} {found}")
            if self.broken[invariant.name] <= KEPT:
                self.violations.append(Violation(invariant.name, job_id, found))

    def as_json(self) -> dict[str, Any]:
        """Return the report as values that JSON knows."""
        told = [
            {"invariant": v.invariant, "job_id": v.job_id and str(v.job_id), "text": v.text} for v in self.violations
        ]
        return {
            "clean": self.is_clean,
            "counts": self.counts.as_json(),
            "facts": dict(self.facts),
            "broken": dict(self.broken),
            "violations": told,
        }

    def show(self, console: Console) -> None:
        """Print the invariants, the counts, and the first violations."""
        table = Table(title="Invariants", title_justify="left")
        table.add_column("invariant", no_wrap=True)
        table.add_column("says")
        table.add_column("facts", justify="right")
        table.add_column("broken", justify="right")
        for one in (*OF_A_JOB, *OF_THE_RUN):
            broken = self.broken[one.name]
            table.add_row(one.name, one.sentence, f"{self.facts[one.name]:,}", f"[red]{broken:,}[/]" if broken else "")
        console.print(table)
        for name, value in self.counts.as_json().items():
            told = ", ".join(f"{key} {count:,}" for key, count in value.items()) if isinstance(value, dict) else value
            console.print(f"{name.replace('_', ' ')}: {told if isinstance(told, str) else format(told, ',')}")
        for violation in self.violations[:SHOWN]:
            console.print(f"[red]{violation.invariant}[/] {violation.job_id or ''} {violation.text}", highlight=False)
        untried = [name for name, count in self.facts.items() if not count]
        if untried:
            console.print(f"tried on nothing: {', '.join(untried)}", highlight=False)
        wrong = sum(self.broken.values())
        console.print(f"[red]{wrong:,} violations[/]" if wrong else "[green]no violation[/]", highlight=False)
