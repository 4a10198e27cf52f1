"""What an invariant is: a name, a sentence, and a function that goes through facts and says of each if it holds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

from jobs.model import JobId
from tests.chaos.history import History, Life, Terms

Findings = Iterator[str | None]
"""One item for each fact that was looked at: None when it is as it must be, else what is wrong."""
RunFindings = Iterator[tuple[JobId | None, str | None]]
"""The same, with the job that the fact is about."""

JobCheck = Callable[[Life, Terms], Findings]


class Stub(NamedTuple):
    """What is kept of each job until all have been seen."""

    task: str
    state: str
    request_id: str | None
    replay_of: JobId | None
    held: "tuple[tuple[datetime, datetime], ...]"
    """When the job held its unique key for certain."""


@dataclass
class Register:
    """What the invariants of the whole run are judged by."""

    history: History
    jobs: dict[JobId, Stub] = field(default_factory=dict)
    unique: dict[tuple[str, str], list[JobId]] = field(default_factory=dict)


RunCheck = Callable[[Register], RunFindings]


class Invariant(NamedTuple):
    """Something that is true of every sound history."""

    name: str
    says: str


OF_A_JOB: Final[dict[Invariant, JobCheck]] = {}
OF_THE_RUN: Final[dict[Invariant, RunCheck]] = {}


def of_a_job(name: str) -> Callable[[JobCheck], JobCheck]:
    """Register a check of one job's life, whose docstring says what is true."""

    def register(check: JobCheck) -> JobCheck:
        OF_A_JOB[Invariant(name, check.__doc__ or "")] = check
        return check

    return register


def of_the_run(name: str) -> Callable[[RunCheck], RunCheck]:
    """Register a check of the whole run, whose docstring says what is true."""

    def register(check: RunCheck) -> RunCheck:
        OF_THE_RUN[Invariant(name, check.__doc__ or "")] = check
        return check

    return register
