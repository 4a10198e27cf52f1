"""Everything that is on record of a run: the clients' ledger, the tasks' executions, and the tables.

The tables are read in one transaction that sees one moment, and job by job: a life is made, judged and forgotten, so
a million jobs need no more memory than their ids.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID

import psycopg
import pydantic_core
from psycopg.rows import args_row
from psycopg.types.json import set_json_loads

from jobs.model import JobId
from jobs.retry import CRASH_LIMIT
from jobs.state import Event
from tests.chaos.ledger import Entries, Operation, Submission, Wanted, read_ledger
from tests.chaos.pauses import Paused, pauses
from tests.chaos.recorder import Execution, Span, read_executions

T = TypeVar("T", bound=tuple[Any, ...])

_AT_ONCE: Final = 5000
"""Rows that one round trip fetches."""


class JobRow(NamedTuple):
    """A row of `jobs`, as far as the checker judges it."""

    id: JobId
    tenant: str
    task: str
    queue: str
    priority: int
    state: str
    payload: str
    unique_key: str | None
    created_at: datetime
    run_at: datetime
    expires_at: datetime | None
    finished_at: datetime | None
    attempt: int
    error_count: int
    crash_count: int
    throttle_count: int
    cancel_requested_at: datetime | None
    has_result: bool
    result_job_id: str | None
    """What the result says of itself; see `tests.chaos.recorder.proof`."""
    result_attempt: str | None
    error_type: str | None
    reason: str | None
    closed_at: datetime | None
    replay_of: JobId | None
    request_id: str | None
    event_count: int


class AttemptRow(NamedTuple):
    """A row of `attempts`."""

    job_id: JobId
    number: int
    worker: str
    started_at: datetime
    finished_at: datetime | None
    outcome: str | None
    error_message: str | None


class EventRow(NamedTuple):
    """A row of `events`."""

    job_id: JobId
    seq: int
    at: datetime
    name: str
    state: str
    attempt: int
    facts: dict[str, Any] | None


class KeyRow(NamedTuple):
    """A row of `idempotency_keys`."""

    tenant: str
    key: str
    receipts: list[list[Any]]

    @property
    def job_ids(self) -> tuple[JobId, ...]:
        """The jobs that were accepted under this key."""
        return tuple(UUID(receipt[0]) for receipt in self.receipts)


_JOBS: Final = """
SELECT id, tenant, task, queue, priority, state, payload::text, unique_key, created_at, run_at, expires_at, finished_at,
       attempt, error_count, crash_count, throttle_count, cancel_requested_at, result IS NOT NULL, result->>'job_id',
       result->>'attempt', error->>'type', reason, closed_at, replay_of, request_id, event_count
FROM jobs ORDER BY id
"""
_ATTEMPTS: Final = """
SELECT job_id, number, worker, started_at, finished_at, outcome, error->>'message'
FROM attempts ORDER BY job_id, number
"""
_EVENTS: Final = "SELECT job_id, seq, at, name, state, attempt, facts FROM events ORDER BY job_id, seq"
_KEYS: Final = (  # that of a trigger which made no job keeps none
    "SELECT tenant, key, receipts FROM idempotency_keys WHERE jsonb_typeof(receipts) = 'array' ORDER BY tenant, key"
)


class CutOff(NamedTuple):
    """A time in which workers had no good way to PostgreSQL, so that nobody could tell them anything."""

    workers: str
    """How their names begin."""
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Terms:
    """What was agreed for a run, and decides what may be asked of its history."""

    drained: bool = False
    """The run waited until nothing was left to do: every job must have reached a final state."""
    lease_seconds: float = 30.0
    """PENSTOCK_LEASE_SECONDS of its workers."""
    has_ledger: bool = False
    """What clients and operators did was recorded, all of it; without that nothing is concluded from its absence."""
    has_executions: bool = False
    """Executions were recorded; without them nothing is concluded from their absence."""
    crash_limit: int = CRASH_LIMIT
    clocks_apart_seconds: float = 0.1
    """By how much the clocks of PostgreSQL and of a task's host may differ. 0.1 suits one machine."""
    statement_seconds: float = 2.0
    """How long one statement may have taken between its look at the clock and its last event."""
    cancel_seconds: float = 30.0
    """For how long a function may run after its cancel was asked for: a look at it, and twice the grace."""
    fence_seconds: float = 30.0
    """For how long a function may run after its attempt was given up: until its worker hears of it."""
    cut_off: Sequence[CutOff] = ()
    """Times that count for neither."""
    has_bugs: bool = False
    """Its APIs were made to err: a 500 is what a client has to see of that."""


@dataclass(frozen=True, slots=True)
class Promise:
    """A job that a client was told is accepted, and what it had asked for."""

    submission: Submission
    wanted: Wanted | None


@dataclass
class Life:
    """All that is on record of one job. Without its row, its events and attempts are orphans."""

    job_id: JobId
    job: JobRow | None = None
    attempts: list[AttemptRow] = field(default_factory=list)
    events: list[EventRow] = field(default_factory=list)
    executions: list[Execution] = field(default_factory=list)
    promises: list[Promise] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    pauses: Sequence[Paused] = ()
    """Of its queue."""

    @cached_property
    def drives(self) -> list[list[EventRow]]:
        """Its events, cut before each redrive: what an operator sends to work again begins anew."""
        cut: list[list[EventRow]] = [[]]
        for event in self.events:
            if event.name == Event.REDRIVE:
                cut.append([])
            cut[-1].append(event)
        return cut

    @cached_property
    def attempt_by_number(self) -> dict[int, AttemptRow]:
        """Its attempts by their numbers."""
        return {attempt.number: attempt for attempt in self.attempts}

    def deaf(self, number: int, terms: Terms) -> list[Span]:
        """Return when the worker of an attempt could not be told anything."""
        worker = self.attempt_by_number[number].worker
        cut_off = [one for one in terms.cut_off if worker.startswith(one.workers)]
        return [(one.since.timestamp(), one.until.timestamp()) for one in cut_off]

    def attempts_since_redrive(self) -> list[AttemptRow]:
        """Return the attempts that its counts are about."""
        last = self.drives[-1][0] if len(self.drives) > 1 else None
        return [attempt for attempt in self.attempts if last is None or attempt.number > last.attempt]


@dataclass
class History:
    """What is on record of a run."""

    lives: Iterable[Life]
    """In the order of the jobs' ids; to be gone through once."""
    keys: Sequence[KeyRow] = ()
    ledger: Entries = field(default_factory=Entries)
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    """The moment that the tables show."""
    terms: Terms = field(default_factory=Terms)


@contextmanager
def read_history(
    database_url: str, *, ledger: Path | None = None, executions: Path | None = None, terms: Terms | None = None
) -> Iterator[History]:
    """Give the history of a run: the tables of `database_url` at one moment, and what the two files say of its jobs.

    The transaction lasts as long as the block. A ledger that is not given leaves the promises to clients unchecked.
    """
    entries = read_ledger(ledger) if ledger else Entries()
    ran = read_executions(executions) if executions else []
    with psycopg.connect(database_url) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        connection.execute("SET TIME ZONE 'UTC'")
        set_json_loads(pydantic_core.from_json, connection)
        row = connection.execute("SELECT clock_timestamp()").fetchone()
        assert row is not None
        keys = list(_rows(connection, "keys", _KEYS, KeyRow))
        lives = told_of(_merged(connection), entries, ran)
        agreed = replace(terms or Terms(), has_ledger=ledger is not None, has_executions=executions is not None)
        yield History(lives, keys, entries, row[0], agreed)


def told_of(lives: Iterable[Life], entries: Entries, executions: Iterable[Execution]) -> Iterator[Life]:
    """Give each life what the ledger and the executions say of it. Jobs that only they know come last."""
    promises = _promises(entries)
    paused = pauses(entries.operations)
    calls, runs = defaultdict(list), defaultdict(list)
    for operation in entries.operations:
        if operation.job_id:
            calls[operation.job_id].append(operation)
    for execution in executions:
        runs[execution.job_id].append(execution)
    for life in lives:
        life.promises = promises.pop(life.job_id, [])
        life.operations = calls.pop(life.job_id, [])
        life.executions = runs.pop(life.job_id, [])
        life.pauses = paused.get(life.job.queue, ()) if life.job else ()
        yield life
    for job_id in sorted({*promises, *runs}):
        yield Life(job_id, executions=runs.get(job_id, []), promises=promises.get(job_id, []))


def _promises(entries: Entries) -> dict[JobId, list[Promise]]:
    promises: dict[JobId, list[Promise]] = defaultdict(list)
    for submission in entries.submissions:
        for job_id, wanted in itertools.zip_longest(submission.job_ids, submission.jobs):
            if job_id is not None:
                promises[job_id].append(Promise(submission, wanted))
    return promises


def _rows(connection: psycopg.Connection[Any], name: str, query: str, kind: type[T]) -> Iterator[T]:
    """Go through the answer of `query`, of which the server sends a part at a time."""
    with connection.cursor(name, row_factory=args_row(kind)) as cursor:
        cursor.itersize = _AT_ONCE
        cursor.execute(query)
        yield from cursor


def _merged(connection: psycopg.Connection[Any]) -> Iterator[Life]:
    """Go through the three tables side by side."""
    jobs = _Pile(_rows(connection, "jobs", _JOBS, JobRow), 0)
    attempts = _Pile(_rows(connection, "attempts", _ATTEMPTS, AttemptRow), 0)
    events = _Pile(_rows(connection, "events", _EVENTS, EventRow), 0)
    while ids := [pile.top for pile in (jobs, attempts, events) if pile.top is not None]:
        job_id = min(ids)
        found = jobs.take(job_id)
        yield Life(job_id, found[0] if found else None, attempts.take(job_id), events.take(job_id))


class _Pile:
    """Rows in the order of their jobs, taken off by job."""

    def __init__(self, rows: Iterator[Any], column: int) -> None:
        self._groups = itertools.groupby(rows, key=lambda row: row[column])
        self.top: JobId | None = None
        self._rows: list[Any] = []
        self._next()

    def _next(self) -> None:
        self.top, self._rows = next(((key, list(rows)) for key, rows in self._groups), (None, []))

    def take(self, job_id: JobId) -> list[Any]:
        if self.top != job_id:
            return []
        taken = self._rows
        self._next()
        return taken
