"""What PostgreSQL says of the jobs, over a connection of the run's own that no fault lies on."""

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, LiteralString
from uuid import UUID

import psycopg
from psycopg.sql import SQL, Identifier

from jobs.state import FINAL
from tests.chaos.lines import Entry, Lines

Row = tuple[Any, ...]


class Away(Exception):
    """PostgreSQL did not answer within the time that was given."""


@dataclass(frozen=True, slots=True)
class Due:
    """A job that runs, or could."""

    id: UUID
    state: str
    worker: str | None
    rung: bool
    told: int
    """How many events it had: the number of the last."""
    overdue: bool
    """It waits for upkeep: its lease ran out, its time has come, or no doorbell speaks of it."""
    queue: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The jobs that ran or could run at an instant, by the clock of PostgreSQL."""

    at: datetime
    due: Sequence[Due]


DUMPED: Final = ("jobs", "attempts", "events", "idempotency_keys", "workers")
_DUE: Final = """
    SELECT id, state, worker, rung_at IS NOT NULL, event_count,
           state IN ('scheduled', 'retrying') OR (state = 'queued' AND rung_at IS NULL)
           OR (state = 'running' AND lease_expires_at < clock_timestamp()),
           queue
      FROM jobs
     WHERE state IN ('queued', 'running') OR (state IN ('scheduled', 'retrying') AND run_at <= clock_timestamp())
"""
_PROGRESS: Final = """
    SELECT job_id, min(at) FROM events JOIN unnest(%s::uuid[], %s::int[]) AS seen (id, told) ON job_id = id
     WHERE seq > told AND name = ANY(%s)
     GROUP BY job_id
"""
_ENTRIES: Final = """
    SELECT id, queue, priority, jobs.created_at, attempts.started_at
      FROM jobs LEFT JOIN attempts ON job_id = id AND number = 1
     ORDER BY attempts.started_at
"""


class Tables:
    """Reads; a restart of PostgreSQL in between is waited for."""

    def __init__(self, url: str) -> None:
        """Connect at the first question."""
        self._url = url
        self._lock = threading.Lock()
        self._connection: psycopg.Connection[Row] | None = None

    def ask(self, query: LiteralString, values: Sequence[Any] = (), *, seconds: float = 60.0) -> list[Row]:
        """Return the rows. Raises `Away` after `seconds`."""
        deadline = time.monotonic() + seconds
        with self._lock:
            while True:
                try:
                    return self._connected().execute(query, values).fetchall()
                except psycopg.OperationalError as error:
                    self._hang_up()
                    if time.monotonic() > deadline:
                        raise Away(str(error)) from error
                    time.sleep(0.05)

    def _connected(self) -> psycopg.Connection[Row]:
        if self._connection is None:
            self._connection = psycopg.connect(
                self._url, autocommit=True, connect_timeout=2, application_name="chaos-run"
            )
            self._connection.execute("SET statement_timeout = '20s'")
        return self._connection

    def _hang_up(self) -> None:
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
        self._connection = None

    def close(self) -> None:
        """Hang up."""
        with self._lock:
            self._hang_up()

    def snapshot(self, *, seconds: float) -> Snapshot:
        """Return what runs and what could, now. Raises `Away`."""
        ((at,),) = self.ask("SELECT clock_timestamp()", seconds=seconds)
        return Snapshot(at, [Due(*row) for row in self.ask(_DUE, seconds=seconds)])

    def counts(self, *, seconds: float = 2.0) -> dict[str, int]:
        """Return how many jobs are in each state. Raises `Away`."""
        rows = self.ask("SELECT state, count(*) FROM jobs GROUP BY state", seconds=seconds)
        return {state: count for state, count in rows}  # noqa: C416 - a row is no pair for the type checker

    def unfinished(self) -> int:
        """Return how many jobs are in no final state. Raises `Away`."""
        return sum(count for state, count in self.counts(seconds=30.0).items() if state not in FINAL)

    def first_outcomes(self, ids: Sequence[UUID], *, seconds: float = 1.0) -> list[str]:
        """Return how the first attempts at these jobs ended, as far as they have. Raises `Away`."""
        query: LiteralString = (
            "SELECT outcome FROM attempts WHERE job_id = ANY(%s) AND number = 1 AND outcome IS NOT NULL"
        )
        return [outcome for (outcome,) in self.ask(query, [list(ids)], seconds=seconds)]

    def lines(self) -> Lines:
        """Return who began when; nothing may run any more. Raises `Away`."""
        return Lines(Entry(*row) for row in self.ask(_ENTRIES))

    def progress(self, seen: Sequence[Due], names: Sequence[str]) -> dict[UUID, datetime]:
        """Return when each of these jobs had its next event of these names; who had none is left out."""
        values = [[due.id for due in seen], [due.told for due in seen], list(names)]
        return {job_id: at for job_id, at in self.ask(_PROGRESS, values)}  # noqa: C416 - the same


def dump(url: str, folder: Path) -> None:
    """Keep the tables as they are in the new `folder`, one CSV file for each."""
    folder.mkdir()
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        for table in DUMPED:
            # Of a partitioned table only a query can be copied.
            query = SQL("COPY (SELECT * FROM {}) TO STDOUT WITH (FORMAT csv, HEADER)").format(Identifier(table))
            with cursor.copy(query) as rows, (folder / f"{table}.csv").open("wb") as file:
                for row in rows:
                    file.write(row)
