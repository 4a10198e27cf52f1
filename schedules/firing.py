"""Firing's clock: schedules that are due become jobs, and beat sleeps until the next one is.

Any number of processes may do it at once. Nothing is kept in memory between two looks.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import structlog
from sqlalchemy import Connection, Engine

from jobs.database import reading, transaction
from jobs.errors import DatabaseUnavailable
from jobs.failpoints import passed, reached
from jobs.planning import firing, store
from jobs.planning.orders import Outcome, Told
from jobs.planning.words import Decision
from jobs.telemetry import logs
from jobs.telemetry.metrics import Instruments
from schedules.readiness import Readiness
from schedules.settings import ScheduleSettings

log = structlog.get_logger()

ROUNDS: Final = 20
"""Batches that are fired before beat does something else in between."""
LOOK_AGAIN_EVERY: Final = 60.0
"""Seconds between two looks for schedules that were planned by older zone data."""
_SHORTEST_PAUSE: Final = 0.01
_WHILE_HELD: Final = 0.5
"""Seconds after which a schedule is tried again that was due and that somebody else held."""
_AFTER_TROUBLE: Final = 1.0


class Firing:
    """Fires what is due, batch after batch."""

    def __init__(
        self,
        *,
        engine: Engine,
        settings: ScheduleSettings,
        instruments: Instruments,
        clock: Callable[[], float] = time.monotonic,
        check_in: Callable[[Sequence[Told]], None] | None = None,
        readiness: Readiness | None = None,
    ) -> None:
        """Nothing is fired before `round`; `check_in` hears of all that was decided."""
        self._check_in = check_in
        self._clock = clock
        self._look_again_at = clock()
        self._engine = engine
        self._missed_after = timedelta(seconds=settings.missed_after_seconds)
        self._instruments = instruments
        self._pause_at_least = _SHORTEST_PAUSE
        self._looked_at: datetime | None = None
        self._readiness = readiness or Readiness()

    def round(self) -> int:
        """Fire what is due, and what has waited long enough; return how many jobs that made."""
        self._looked_at = None
        try:
            self._look_again()
            made = self._fire_all(partial(firing.fire_due, missed_after=self._missed_after))
            made += self._fire_all(firing.fire_waiting)
            self._pause_at_least = _SHORTEST_PAUSE
        except DatabaseUnavailable:
            log.warning("database_unavailable", doing="firing")
            self._readiness.lost("postgresql")
            self._pause_at_least = _AFTER_TROUBLE
        except Exception:
            log.exception("firing_failed")  # the batch was taken back: the next round finds it again
            self._pause_at_least = _AFTER_TROUBLE
        else:
            self._readiness.well("postgresql", "firing")
            return made
        return 0

    def _look_again(self) -> None:
        """Heed new zone data: a batch for each round, until there is nothing more to look at for a while."""
        if self._clock() < self._look_again_at:
            return
        with transaction(self._engine) as connection:
            looked_at = firing.look_again(connection)
        if looked_at:
            log.info("schedules_planned_anew", count=looked_at)
        else:
            self._look_again_at = self._clock() + LOOK_AGAIN_EVERY

    def _fire_all(self, take: Callable[[Connection], Outcome]) -> int:
        made = 0
        for _ in range(ROUNDS):
            with transaction(self._engine) as connection:
                outcome = take(connection)
                if outcome.told:
                    reached("fire.commit")
            if outcome.told:
                passed("fire.commit")
            self._looked_at = outcome.looked_at or self._looked_at
            made += self._tell(outcome)
            if not outcome.is_full:
                break
        return made

    def _tell(self, outcome: Outcome) -> int:
        """Count and log what was decided, once it is committed, and return how many jobs there are of it."""
        decisions = Counter((told.occurrence.decision.value, told.occurrence.reason.value) for told in outcome.told)
        for labels, count in decisions.items():
            self._instruments["occurrences"].labels(*labels).inc(count)
        fired = [told for told in outcome.told if told.occurrence.decision is Decision.FIRED]
        for told in fired:
            if told.late_seconds is not None:
                self._instruments["schedule_lateness_seconds"].observe(max(told.late_seconds, 0.0))
        logs.info_each("occurrences", [self._line(told) for told in outcome.told])
        if self._check_in is not None:
            self._check_in(outcome.told)
        return len(fired)

    @staticmethod
    def _line(told: Told) -> dict[str, Any]:
        one = told.occurrence
        return {
            "schedule": told.schedule.name,
            "tenant": told.schedule.tenant,
            "instant": one.instant,
            "decision": one.decision,
            "reason": one.reason,
            "count": one.count,
            "job_id": one.job_id,
        }

    def until_next_due(self) -> float:
        """Return the seconds until a schedule is due, by the database's clock; infinity: none is.

        One that was due in the last round and could not be taken is tried again after a while only.
        """
        try:
            with reading(self._engine) as connection:
                return self._pause(connection)
        except DatabaseUnavailable:
            return _AFTER_TROUBLE
        except Exception:  # somebody holds the table, say: Celery's beat would end of it, and upkeep with it
            log.exception("firing_failed")
            return _AFTER_TROUBLE

    def _pause(self, connection: Connection) -> float:
        seconds = store.until_next_due(connection)
        if seconds is None:
            return float("inf")
        if seconds > 0 or self._looked_at is None:
            return max(seconds, self._pause_at_least)
        following = store.until_next_due(connection, after=self._looked_at)
        return _WHILE_HELD if following is None else min(max(following, self._pause_at_least), _WHILE_HELD)
