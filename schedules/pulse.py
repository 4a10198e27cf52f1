"""What beat does over and over: it fires the schedules that are due, and beside it, in a thread, does upkeep.

So neither a broker that is away nor a long round of upkeep makes a schedule late.
"""

import threading
from typing import Final

import structlog
from celery import Celery
from sqlalchemy import Engine

from jobs.database import transaction
from jobs.errors import DatabaseUnavailable
from jobs.planning import editing
from schedules.code import Declarations, declarations
from schedules.firing import Firing
from schedules.readiness import Readiness
from schedules.upkeep import Upkeep
from tasks.settings import TaskSettings

log = structlog.get_logger()

STOP_SECONDS: Final = 2.0
"""How long a round of upkeep may still take when beat stops; what it leaves is for others."""


class Pulse:
    """Fires when it is told to, and says when to do it again; does upkeep in its own time."""

    def __init__(
        self,
        *,
        engine: Engine,
        firing: Firing,
        upkeep: Upkeep,
        tasks: TaskSettings,
        longest_pause: float,
        readiness: Readiness | None = None,
    ) -> None:
        """Nothing happens before `beat`, which is asked for every `longest_pause` seconds at the least."""
        self._engine = engine
        self._firing = firing
        self._upkeep = upkeep
        self._tasks = tasks
        self._longest_pause = longest_pause
        self._readiness = readiness or Readiness()
        self._code: Declarations | None = None
        self._news = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None

    def read_code(self, app: Celery) -> None:
        """Read what code declares; the first beat makes it known. Raises `ConfigurationError`."""
        self._code = declarations(app, self._tasks)

    def beat(self) -> float:
        """Declare and fire what is due, and return the seconds until there is something to do."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._look_after, name="upkeep", daemon=True)
            self._thread.start()
        if self._code is not None and self._declare(self._code):
            self._code = None
        if self._firing.round():
            self._news.set()
        return min(self._longest_pause, self._firing.until_next_due())

    def close(self) -> bool:
        """Do no further round of upkeep, and tell whether the last one has ended; it is given a moment."""
        self._readiness.leave()
        self._closing = True
        self._news.set()
        if self._thread is None:
            return True
        self._thread.join(STOP_SECONDS)
        return not self._thread.is_alive()

    def _look_after(self) -> None:
        """Do upkeep, at its pace, and as soon as there are new jobs to ring for."""
        while not self._closing:
            pause = self._upkeep.round()
            self._news.wait(pause)
            self._news.clear()

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
        if done.written:
            log.info("schedules_declared", written=done.written)
        if done.undeclared:
            log.warning("schedules_undeclared", schedules=done.undeclared, meaning="paused until code declares them")
        for name in done.left_out:
            log.warning("schedule_left_out", schedule=name, reason="a schedule of this name was put over HTTP")
        return True
