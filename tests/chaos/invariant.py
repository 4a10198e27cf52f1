"""What an invariant is: a name, a sentence, and a function that goes through facts and says of each if it holds."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

from jobs.model import JobId
from tests.chaos.history import History, Life, Terms

Findings = Iterator[str | None]
"""One item for each fact that was looked at: None when it is as it must be, else what is wrong."""
RunFindings = Iterator[tuple[JobId | None, str | None]]
"""The same, with the job that the fact is about."""

JobCheck = Callable[[Life, Terms], Findings]


@dataclass
class Register:
    """What is kept of every job until all have been seen: what the invariants of the whole run are judged by."""

    history: History
    replay_of: dict[JobId, JobId | None] = field(default_factory=dict)
    """Every job that is there, and which one it replays."""
    by_request: dict[str, list[JobId]] = field(default_factory=lambda: defaultdict(list))
    """The jobs that each request stored."""
    unique: dict[tuple[str, str], list[tuple[datetime, datetime, JobId]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """Since when, until when and by whom each unique key of a tenant was held."""


RunCheck = Callable[[Register], RunFindings]


class Meaning(StrEnum):
    """What it means that an invariant is broken, beyond that something is wrong."""

    LOSS = "lost"
    """Something that was promised or begun is not there, or never came to its end."""
    DOUBLING = "doubled"
    """Something was kept, begun or done once more than it should have been."""


class Invariant(NamedTuple):
    """Something that is true of every sound history."""

    name: str
    says: str
    """Its sentence first."""
    means: Meaning | None = None

    @property
    def sentence(self) -> str:
        """The first line of what it says."""
        return self.says.partition("\n")[0]


OF_A_JOB: Final[dict[Invariant, JobCheck]] = {}
OF_THE_RUN: Final[dict[Invariant, RunCheck]] = {}


def of_a_job(name: str, means: Meaning | None = None) -> Callable[[JobCheck], JobCheck]:
    """Register a check of one job's life, whose docstring says what is true."""

    def register(check: JobCheck) -> JobCheck:
        OF_A_JOB[Invariant(name, check.__doc__ or "", means)] = check
        return check

    return register


def of_the_run(name: str, means: Meaning | None = None) -> Callable[[RunCheck], RunCheck]:
    """Register a check of the whole run, whose docstring says what is true."""

    def register(check: RunCheck) -> RunCheck:
        OF_THE_RUN[Invariant(name, check.__doc__ or "", means)] = check
        return check

    return register
