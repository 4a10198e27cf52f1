"""Holds the history of a run to its invariants. `python -m tests.chaos.checker --help` says how."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jobs.model import JobId
from tests.chaos.history import History, Terms, read_history


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
    """Of those, the ones that are not in the tables."""
    refused: int = 0
    """Tries that were refused."""
    unknown: int = 0
    """Tries whose client never learned what became of them."""
    unknown_but_present: int = 0
    """Of those, the ones whose jobs were stored."""
    doubled: int = 0
    """Jobs with more than one accepted completion, and jobs made beyond the first of one idempotency key."""
    fenced: int = 0
    """Ends of attempts that were refused and kept as an event."""
    executions: int = 0
    extra_executions: int = 0
    """Executions whose attempt did not succeed."""
    states: Counter[str] = field(default_factory=Counter)
    explained: Counter[str] = field(default_factory=Counter)
    """Extra executions by what explains them: the outcome of their attempt."""


@dataclass
class Report:
    """What the checker found."""

    counts: Counts = field(default_factory=Counts)
    violations: list[Violation] = field(default_factory=list)
    facts: dict[str, int] = field(default_factory=dict)
    """How many facts each invariant was tried on: one that was tried on none has shown nothing."""

    @property
    def is_clean(self) -> bool:
        """Whether every invariant held."""
        return not self.violations

    @property
    def broken(self) -> set[str]:
        """The names of the invariants that did not hold."""
        return {violation.invariant for violation in self.violations}

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return {"clean": self.is_clean} | asdict(self)


def check(history: History) -> Report:
    """Return what is wrong with the history, and how much of it was looked at."""
    report = Report()
    for life in history.lives:
        report.counts.jobs += life.job is not None
    return report


def check_run(
    database_url: str, *, ledger: Path | None = None, executions: Path | None = None, terms: Terms | None = None
) -> Report:
    """Read what is on record of a run and return what is wrong with it."""
    with read_history(database_url, ledger=ledger, executions=executions, terms=terms) as history:
        return check(history)
