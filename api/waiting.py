"""Long polls: all readers of a process that wait for jobs share one query."""

import asyncio
import time
from collections import defaultdict
from typing import Final

import structlog
from sqlalchemy import Engine

from jobs import search
from jobs.database import reading
from jobs.errors import DatabaseUnavailable
from jobs.model import JobId
from jobs.state import FINAL, JobState

log = structlog.get_logger()

QUICKEST: Final = 0.02
SLOWEST: Final = 0.25
"""Seconds between two looks: quick while a waiter is fresh, slower the longer nothing happens."""


class Lookout:
    """Looks after the jobs that somebody waits for, and wakes them when one has finished."""

    def __init__(self, engine: Engine) -> None:
        """Look with `engine`."""
        self._engine = engine
        self._waiters: dict[JobId, set[asyncio.Future[None]]] = defaultdict(set)
        self._task: asyncio.Task[None] | None = None

    async def until_finished(self, job_id: JobId, seconds: float) -> None:
        """Return when the job is in a final state, or is gone, or after `seconds`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[job_id].add(future)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look())
        try:
            await asyncio.wait_for(future, seconds)
        except TimeoutError:
            return
        finally:
            waiting = self._waiters[job_id]
            waiting.discard(future)
            if not waiting:
                del self._waiters[job_id]

    async def _look(self) -> None:
        pause, known = QUICKEST, 0
        while self._waiters:
            ids = list(self._waiters)
            began = time.monotonic()
            try:
                found = await asyncio.to_thread(self._states, ids)
            except DatabaseUnavailable:
                found = {}
            else:
                self._wake(ids, found)
            pause = QUICKEST if len(ids) != known else min(pause * 1.5, SLOWEST)
            known = len(ids)
            await asyncio.sleep(max(pause, 2 * (time.monotonic() - began)))

    def _states(self, ids: list[JobId]) -> dict[JobId, JobState]:
        with reading(self._engine) as connection:
            return {job_id: state for job_id, (_, state) in search.versions(connection, ids).items()}

    def _wake(self, ids: list[JobId], found: dict[JobId, JobState]) -> None:
        for job_id in ids:
            if job_id not in found or found[job_id] in FINAL:
                for future in self._waiters.get(job_id, ()):
                    if not future.done():
                        future.set_result(None)
