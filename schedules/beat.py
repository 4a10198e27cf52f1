"""Celery's beat with our pulse: ``celery -A schedules.app:celery_app beat`` and ``python -m schedules``."""

import sys
from typing import Any

from celery.beat import Scheduler

from jobs.errors import PenstockError
from schedules.app import pulse_of
from schedules.pulse import Pulse


class JobScheduler(Scheduler):  # type: ignore[misc]  # typed as Any: its stubs miss what we need
    """A scheduler that fires what PostgreSQL says is due and does upkeep. Any number may run.

    Entries of `beat_schedule` become schedules of source `code`.
    """

    def __init__(self, app: Any, *args: Any, **kwargs: Any) -> None:
        """Take the pulse that the composition root has prepared, or prepares now.

        What cannot be kept ends the process with the reason: Celery would show a traceback around it.
        """
        try:
            self._pulse: Pulse = pulse_of(app)
            super().__init__(app, *args, **kwargs)
        except PenstockError as error:
            sys.stderr.write(f"Beat cannot start: {error}\n")
            raise SystemExit(2) from None

    def setup_schedule(self) -> None:
        """Keep nothing in memory: PostgreSQL says what is due. Raises `ConfigurationError` for what code declares."""
        self.data: dict[str, Any] = {}
        self._pulse.read_code(self.app)

    def tick(self, *_args: Any, **_kwargs: Any) -> float:
        """Fire what is due, look after jobs, and return the seconds until there is something to do."""
        return self._pulse.beat()

    def close(self) -> None:
        """Do no further upkeep; Celery calls this when beat stops."""
        self._pulse.close()
        super().close()

    @property
    def info(self) -> str:
        """What Celery prints at the start."""
        return "    . schedules and upkeep -> PostgreSQL"
