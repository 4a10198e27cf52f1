"""`self.job.log`: lines of a running task, gathered in memory and written by a thread of its own, a few at a time."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from sqlalchemy import Engine

from jobs import job_logs
from jobs.database import transaction
from jobs.errors import DatabaseUnavailable
from jobs.job_logs import FULL, Line, Room
from jobs.model import Attempt, Level

log = structlog.get_logger()

WRITE_EVERY: Final = 0.5
"""Seconds for which lines are gathered before they are written; what a killed process may take with it."""
_TIMES: Final = 2
"""Tries to write the last lines."""


class JobLog:
    """The log of the attempt that runs here: bounded, and never the reason why the attempt ends otherwise."""

    def __init__(self, attempt: Attempt, database: Callable[[], Engine]) -> None:
        """Connect only when there is something to write."""
        self._attempt = attempt
        self._database = database
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._waiting: list[Line] = []
        self._written = 0
        self._room: Room | None = None
        self._is_over = False
        self._timer: threading.Timer | None = None

    def debug(self, event: str, /, **facts: Any) -> None:
        """Keep a line that is of use only to who looks closely."""
        self._add(Level.DEBUG, event, facts)

    def info(self, event: str, /, **facts: Any) -> None:
        """Keep a line about what goes as it should."""
        self._add(Level.INFO, event, facts)

    def warning(self, event: str, /, **facts: Any) -> None:
        """Keep a line about what somebody may want to look at."""
        self._add(Level.WARNING, event, facts)

    def error(self, event: str, /, **facts: Any) -> None:
        """Keep a line about what went wrong."""
        self._add(Level.ERROR, event, facts)

    def _add(self, level: Level, event: str, facts: dict[str, Any]) -> None:
        if self._is_over or len(self._waiting) >= job_logs.MOST_LINES:
            return  # nobody reads more than that: what is gathered while the database is away is bounded, too
        line = job_logs.line(datetime.now(UTC), level, event, facts)
        with self._lock:
            self._waiting.append(line)
            self._wind()

    def _wind(self) -> None:
        """Have the timer run, where it does not; the lock is held."""
        if self._timer is None:
            self._timer = threading.Timer(WRITE_EVERY, self._on_time)
            self._timer.daemon = True
            self._timer.start()

    def flush(self) -> None:
        """Write what is left at the attempt's end, which matters more: nothing is raised, nothing tried later."""
        with self._lock:
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        for _ in range(_TIMES):
            if self._waiting and not self._is_over:
                self._write()
        if self._waiting and not self._is_over:
            self._is_over = True
            log.warning("job_log_not_stored", count=len(self._waiting), job_id=str(self._attempt.job_id))

    def _on_time(self) -> None:
        with self._lock:
            self._timer = None
        self._write()
        with self._lock:
            if self._waiting and not self._is_over:
                self._wind()

    def _write(self) -> None:
        """Write what is gathered; what cannot be written now waits for its next turn or the attempt's end."""
        with self._writing:
            lines = self._waiting[:]
            if not lines or self._is_over:
                return
            try:
                self._store(lines)
            except DatabaseUnavailable:
                return
            except Exception:
                self._is_over = True
                log.exception("job_log_not_stored", job_id=str(self._attempt.job_id))
            with self._lock:
                del self._waiting[: len(lines)]

    def _store(self, lines: list[Line]) -> None:
        job_id, number = self._attempt.job_id, self._attempt.number
        with transaction(self._database()) as connection:
            room = self._room or job_logs.make_room(connection, job_id, number)
            kept, left = _that_fit(lines, room)
            is_held = job_logs.write(connection, job_id, number, self._written + 1, kept)
        self._written += len(kept)
        self._room = left
        self._is_over = not is_held or left is None


def _that_fit(lines: list[Line], room: Room) -> tuple[list[Line], Room | None]:
    """Return the lines that there is room for, and what is left of it; None: none, and the last line says so."""
    kept = []
    for line in lines:
        if not room.fits(line.size):
            kept.append(Line(line.at, Level.WARNING, FULL, None))
            return kept, None
        kept.append(line)
        room = room.less(line.size)
    return kept, room
