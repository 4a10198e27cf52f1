"""Readers who wait: all that wait for jobs in one process share one query."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

import structlog
from sqlalchemy import Engine

from api.problems import Overloaded
from jobs import search
from jobs.database import reading
from jobs.errors import DatabaseUnavailable
from jobs.model import JobId
from jobs.state import FINAL, JobState

log = structlog.get_logger()

QUICKEST: Final = 0.02
SLOWEST: Final = 0.25
"""Seconds between two looks: quick while a waiter is fresh, slower the longer nothing happens."""


class _Waiter(NamedTuple):
    future: asyncio.Future[None]
    version: int | None
    """Any other is news; None: only the end is."""

    def is_served_by(self, found: tuple[int, JobState] | None) -> bool:
        if found is None:
            return True
        version, state = found
        return state in FINAL if self.version is None else version != self.version


class Lookout:
    """Looks after the jobs that somebody waits for, and wakes them when something has happened."""

    def __init__(self, engine: Engine, seats: int) -> None:
        """Look with `engine`; at most `seats` readers may wait."""
        self._engine = engine
        self._seats = seats
        self.seated = 0
        self._waiters: dict[JobId, set[_Waiter]] = defaultdict(set)
        self._task: asyncio.Task[None] | None = None
        self.is_closing = False

    @contextmanager
    def seat(self) -> Iterator[None]:
        """Have a reader wait for as long as the block lasts. Raises `Overloaded` when too many do."""
        self.must_have_room()
        self.seated += 1
        try:
            yield
        finally:
            self.seated -= 1

    def must_have_room(self) -> None:
        """Raise `Overloaded` when no more readers may wait."""
        if self.seated >= self._seats:
            raise Overloaded("As many readers wait here as may; nothing was changed.")

    async def until_finished(self, job_id: JobId, seconds: float) -> None:
        """Return when the job is in a final state, or is gone, or after `seconds`, or when the process stops."""
        await self._wait(job_id, None, seconds)

    async def until_changed(self, job_id: JobId, version: int, seconds: float) -> None:
        """Return when the job has another version, or is gone, or after `seconds`, or when the process stops."""
        await self._wait(job_id, version, seconds)

    def close(self) -> None:
        """Have everybody answered now, and nobody wait any more: the process stops."""
        self.is_closing = True
        for waiters in self._waiters.values():
            for waiter in waiters:
                _wake(waiter)

    async def _wait(self, job_id: JobId, version: int | None, seconds: float) -> None:
        if self.is_closing:
            return
        waiter = _Waiter(asyncio.get_running_loop().create_future(), version)
        self._waiters[job_id].add(waiter)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look())
        try:
            await asyncio.wait_for(waiter.future, seconds)
        except TimeoutError:
            return
        finally:
            waiting = self._waiters[job_id]
            waiting.discard(waiter)
            if not waiting:
                del self._waiters[job_id]

    async def _look(self) -> None:
        pause, known = QUICKEST, 0
        while self._waiters:
            ids = list(self._waiters)
            began = time.monotonic()
            try:
                found = await asyncio.to_thread(self._versions, ids)
            except DatabaseUnavailable:
                found = {}
            else:
                self._serve(ids, found)
            pause = QUICKEST if len(ids) != known else min(pause * 1.5, SLOWEST)
            known = len(ids)
            await asyncio.sleep(max(pause, 2 * (time.monotonic() - began)))

    def _versions(self, ids: list[JobId]) -> dict[JobId, tuple[int, JobState]]:
        with reading(self._engine) as connection:
            return search.versions(connection, ids)

    def _serve(self, ids: list[JobId], found: dict[JobId, tuple[int, JobState]]) -> None:
        for job_id in ids:
            for waiter in self._waiters.get(job_id, ()):
                if waiter.is_served_by(found.get(job_id)):
                    _wake(waiter)


def _wake(waiter: _Waiter) -> None:
    if not waiter.future.done():
        waiter.future.set_result(None)
