"""`self.job`: what a running task asks and says about its own job, over the child's own connection."""

import math
import time
from collections.abc import Callable
from typing import Any, Final

import structlog
from sqlalchemy import Engine

from jobs import attempts
from jobs.database import transaction
from jobs.errors import AttemptFenced, DatabaseUnavailable, JobCancelled
from jobs.model import Attempt, JobId
from jobs.storable import storable
from tasks.measures import Measures
from worker.job_log import JobLog

log = structlog.get_logger()

LOOK_EVERY: Final = 1.0
"""Seconds between two looks at the row; a task may ask as often as it likes."""
TELL_EVERY: Final = 0.5
"""Seconds between two stored progress reports; the last one is always stored."""
_LONGEST_NOTE: Final = 500


class OwnJob:
    """The job of the attempt that runs here."""

    def __init__(self, attempt: Attempt, database: Callable[[], Engine]) -> None:
        """Connect only when the task asks for something."""
        self._attempt = attempt
        self._database = database
        self._looked_at = time.monotonic()
        self._told_at = 0.0
        self._unsaid: dict[str, Any] | None = None
        self._fenced = False
        self._cancelled = False
        self.measures = Measures()
        self.log = JobLog(attempt, database)

    @property
    def id(self) -> JobId:
        """The job's id."""
        return self._attempt.job_id

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1."""
        return self._attempt.number

    @property
    def fencing_token(self) -> str:
        """The job's id and the attempt's number, which grows."""
        return f"{self.id}:{self.attempt:010d}"

    def is_cancelled(self) -> bool:
        """Tell whether the attempt should end; looks at the database at most once a second."""
        now = time.monotonic()
        if not (self._fenced or self._cancelled) and now - self._looked_at >= LOOK_EVERY:
            self._looked_at = now
            self._look()
        return self._fenced or self._cancelled

    def check(self) -> None:
        """Raise `AttemptFenced` or `JobCancelled` when the attempt should end."""
        if self.is_cancelled():
            raise AttemptFenced if self._fenced else JobCancelled

    def progress(self, done: float, total: float | None = None, note: str | None = None) -> None:
        """Say how far the attempt has come.

        Raises `AttemptFenced` when nobody listens any more, `ValueError` for what is no number.
        """
        if not math.isfinite(done) or (total is not None and not math.isfinite(total)):
            raise ValueError("progress() takes finite numbers")
        self._unsaid = {"done": done, "total": total, "note": storable(note)[:_LONGEST_NOTE] if note else None}
        if time.monotonic() - self._told_at >= TELL_EVERY:
            self._tell()
        if self._fenced:
            raise AttemptFenced

    def count(self, name: str, amount: float = 1, **labels: object) -> None:
        """Add `amount` to a counter of the task's own. Raises `ValueError` for what makes no metric."""
        self.measures.count(name, amount, labels)

    def gauge(self, name: str, value: float, **labels: object) -> None:
        """Set a gauge of the task's own. Raises `ValueError` for what makes no metric."""
        self.measures.gauge(name, value, labels)

    def observe(self, name: str, value: float, **labels: object) -> None:
        """Sort `value` into a histogram of the task's own. Raises `ValueError` for what makes no metric."""
        self.measures.observe(name, value, labels)

    def flush(self) -> None:
        """Store the last progress report and log lines that are not stored yet.

        Raises nothing: the attempt's end matters more.
        """
        self.log.flush()
        if self._unsaid is not None and not self._fenced:
            try:
                self._tell()
            except Exception:
                log.exception("progress_not_stored")

    def _look(self) -> None:
        try:
            with transaction(self._database()) as connection:
                held = attempts.look(connection, [(self.id, self.attempt)])
        except DatabaseUnavailable:
            return  # not knowing is no reason to stop: the lease decides
        self._fenced = not held
        self._cancelled = bool(held and held[0].cancel_requested)
        if self._cancelled:
            log.info("cancel_seen")  # the task may end before the worker looks

    def _tell(self) -> None:
        report, self._unsaid = self._unsaid, None
        try:
            with transaction(self._database()) as connection:
                self._fenced = not attempts.progress(connection, self.id, self.attempt, report or {})
        except DatabaseUnavailable:
            log.warning("progress_not_stored")
        self._told_at = time.monotonic()
