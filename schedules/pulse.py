"""One beat: schedules that are due first, then upkeep, which also rings for what they made."""

import time
from collections.abc import Callable
from typing import Final

import structlog
from celery import Celery
from sqlalchemy import Engine

from jobs.database import transaction
from jobs.errors import DatabaseUnavailable
from jobs.planning import editing
from schedules.code import Declarations, declarations
from schedules.firing import Firing
from schedules.upkeep import Upkeep
from tasks.settings import TaskSettings

log = structlog.get_logger()

_AGAIN_AFTER: Final = 1.0


class Pulse:
    """Does what beat does, and says when to do it again."""

    def __init__(
        self,
        *,
        engine: Engine,
        firing: Firing,
        upkeep: Upkeep,
        tasks: TaskSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing happens before `beat`."""
        self._engine = engine
        self._firing = firing
        self._upkeep = upkeep
        self._tasks = tasks
        self._clock = clock
        self._upkeep_at = clock()
        self._code: Declarations | None = None

    def read_code(self, app: Celery) -> None:
        """Read what code declares; the first beat makes it known. Raises `ConfigurationError`."""
        self._code = declarations(app, self._tasks)

    def beat(self) -> float:
        """Declare, fire and look after what is due, and return the seconds until there is something to do."""
        if self._code is not None and self._declare(self._code):
            self._code = None
        fired = self._firing.round()
        if fired or self._clock() >= self._upkeep_at:
            self._upkeep_at = self._clock() + self._upkeep.round()
        return max(0.0, min(self._upkeep_at - self._clock(), self._firing.until_next_due()))

    def _declare(self, wanted: Declarations) -> bool:
        """Make the schedules of code those of this code; False: later, for PostgreSQL is away."""
        try:
            with transaction(self._engine) as connection:
                done = editing.declare(connection, wanted)
        except DatabaseUnavailable:
            return False
        except Exception:
            log.exception("schedules_not_declared")  # the jobs of others must not wait for that
            return False
        if done.written or done.removed:
            log.info("schedules_declared", written=done.written, removed=done.removed)
        for name in done.left_out:
            log.warning("schedule_left_out", schedule=name, reason="a schedule of this name was put over HTTP")
        return True
