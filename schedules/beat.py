"""Celery's beat, with upkeep as its pulse: ``celery -A schedules.app:celery_app beat`` and ``python -m schedules``."""

from typing import Any

from celery.beat import Scheduler

from schedules.upkeep import Upkeep


class UpkeepScheduler(Scheduler):  # type: ignore[misc]  # typed as Any: its stubs miss what we need
    """A scheduler whose tick is a round of upkeep. Any number may run."""

    def __init__(self, app: Any, *args: Any, **kwargs: Any) -> None:
        """Take the upkeep that the composition root has prepared."""
        self._upkeep: Upkeep = app.penstock_upkeep
        super().__init__(app, *args, **kwargs)

    def setup_schedule(self) -> None:
        """Keep nothing in memory: PostgreSQL says what is due."""
        self.data: dict[str, Any] = {}

    def tick(self, *_args: Any, **_kwargs: Any) -> float:
        """Do a round and return the seconds until the next."""
        return self._upkeep.round()

    @property
    def info(self) -> str:
        """What Celery prints at the start."""
        return "    . upkeep -> PostgreSQL"
