"""Rings for ready jobs: those that no doorbell speaks of, and those whose doorbell got lost.

Any number of beats may ring; for one queue, one does at a time.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Final

import structlog
from sqlalchemy import Connection, Engine

from jobs import upkeep
from jobs.database import reading, transaction
from jobs.errors import BrokerUnavailable, DatabaseUnavailable
from jobs.failpoints import passed, reached
from jobs.model import Doorbell
from jobs.queues import paused
from jobs.telemetry.metrics import Instruments
from schedules.readiness import Readiness
from schedules.settings import ScheduleSettings
from schedules.steps import commit, tell
from tasks.publisher import DoorbellPublisher

log = structlog.get_logger()

STRANDED_EVERY: Final = 2.0
LOOK_EVERY: Final = 5.0
"""Seconds for which a broker that has nothing to take is not asked whether it is there."""
STRANDED_BATCH: Final = 2000
"""Each batch looks at all that may be stranded, so there should be few of them."""
_AFTER_TROUBLE: Final = 1.0
_SHORTEST_PAUSE: Final = 0.01
_BACKLOG_PAUSE: Final = 0.1
"""Seconds that a small window may go unlooked at while jobs wait for a place in it."""
_FASTEST: Final = 20_000
"""Jobs a second that must not empty a large window before somebody looks at it."""
_SHARE: Final = 0.2
"""A window is filled again when about this part of it was used."""


@dataclass
class _Claimed:
    """What was taken for one queue, to be rung after the commit."""

    doorbells: list[Doorbell] = field(default_factory=list)
    most: int = 0
    """Of one priority."""
    has_more: bool = False
    """Whether jobs are left for which there is no room."""
    goes_on: bool = False
    """Whether jobs are left for which there is room."""

    def __len__(self) -> int:
        """Return how many doorbells there are to ring."""
        return len(self.doorbells)


class Ringing:
    """Keeps the windows of doorbells full, in rounds."""

    def __init__(
        self,
        *,
        engine: Engine,
        publisher: DoorbellPublisher,
        queues: Sequence[str],
        window: int,
        settings: ScheduleSettings,
        instruments: Instruments,
        clock: Callable[[], float] = time.monotonic,
        readiness: Readiness | None = None,
    ) -> None:
        """Nothing is rung before `round`; `window` doorbells of each queue and priority may be in the broker."""
        self.publisher = publisher
        self._engine = engine
        self._queues = queues
        self._window = window
        self._settings = settings
        self._instruments = instruments
        self._clock = clock
        self._stranded_at = float("-inf")
        self._filled_at = dict.fromkeys(queues, clock())
        self._looked_at = float("-inf")
        self._is_away = False
        self._paused: set[str] = set()
        self._readiness = readiness or Readiness()
        self.failed: BaseException | None = None
        """What the last round stumbled over."""

    def round(self) -> float:
        """Ring for what waits, and return how many seconds the next round may wait."""
        self.failed = None
        try:
            self._look_at_broker()
            return self._ring()
        except DatabaseUnavailable as error:
            self.failed = error
            self._readiness.lost("postgresql")
            log.warning("database_unavailable", doing="ringing")
        except BrokerUnavailable as error:
            self.failed = error
            self._is_away = True
            self._readiness.lost("broker")
            log.warning("broker_unavailable", doing="ringing", reason=str(error))
        except Exception as error:
            self.failed = error
            log.exception("ringing_failed")  # a row that somebody holds, or worse: the next round tries again
        return _AFTER_TROUBLE

    def _look_at_broker(self) -> None:
        """Ask the broker for something, now and then; at once where it was away, before jobs are marked in vain."""
        if self._is_away or self._clock() - self._looked_at >= LOOK_EVERY:
            self.publisher.depth(self._queues[0])
            self._looked_at = self._clock()
            self._is_away = False
            self._readiness.well("broker")

    def _ring(self) -> float:
        queues = self._open()
        if self._clock() - self._stranded_at >= STRANDED_EVERY:
            self._stranded_at = self._clock()
            for queue in queues:
                self._ring_stranded(queue, timedelta(seconds=self._settings.stranded_seconds))
        return min([self._settings.upkeep_seconds, *map(self._fill, self._waiting(queues))])

    def _open(self) -> list[str]:
        """Return the queues that are not paused, and ring at once in one that was.

        What its doorbells named was not started, and workers hear each only once.
        """
        with reading(self._engine) as connection:
            now_paused = {queue for queue in paused(connection) if queue in self._queues}
        for queue in self._paused - now_paused:
            self._ring_stranded(queue, timedelta(0))
        self._paused = now_paused
        return [queue for queue in self._queues if queue not in now_paused]

    # What no doorbell speaks of

    def _waiting(self, queues: Sequence[str]) -> list[str]:
        """Return those of `queues` in which there is a job that no doorbell speaks of."""
        with reading(self._engine) as connection:
            return [queue for queue in queues if upkeep.most_urgent_unrung(connection, queue) is not None]

    def _fill(self, queue: str) -> float:
        """Ring for the most urgent jobs of `queue`, as far as its windows go, and return a pause."""
        claimed = commit(self._engine, "ring", partial(self._claim, queue=queue))
        if claimed is None:
            return self._settings.upkeep_seconds
        since, self._filled_at[queue] = self._clock() - self._filled_at[queue], self._clock()
        self._deliver("ring", claimed.doorbells)
        if claimed.goes_on:
            return _SHORTEST_PAUSE
        return self._pause(since, claimed.most) if claimed.has_more else self._settings.upkeep_seconds

    def _claim(self, connection: Connection, queue: str) -> _Claimed | None:
        """Mark as rung what there is room for; None: another beat is at it."""
        if not upkeep.may_ring(connection, queue):
            return None
        claimed = _Claimed()
        priority = upkeep.most_urgent_unrung(connection, queue)
        held = upkeep.rung_by_priority(connection, queue, self._window) if priority is not None else {}
        while priority is not None:
            room = self._window - held.get(priority, 0)
            limit = max(0, min(room, upkeep.BATCH))
            taken = upkeep.claim_unrung(connection, queue, limit, priority) if limit else []
            claimed.doorbells += taken
            claimed.most = max(claimed.most, len(taken))
            claimed.has_more |= len(taken) == limit
            claimed.goes_on |= len(taken) == limit < room
            priority = upkeep.most_urgent_unrung(connection, queue, below=priority)
        return claimed

    def _pause(self, since: float, used: int) -> float:
        """Return the seconds in which a part of a window is used, if `used` doorbells were since the last time."""
        longest = min(self._settings.upkeep_seconds, max(_BACKLOG_PAUSE, self._window / _FASTEST))
        return max(_SHORTEST_PAUSE, min(longest, since * self._window * _SHARE / used)) if used else longest

    # What was rung, and not heard

    def _ring_stranded(self, queue: str, after: timedelta) -> None:
        """Ring again for jobs that wait too long, but only as many as the broker has fewer doorbells than it should.

        A long queue is no loss: without this bound every job of a backlog would be rung again and again.
        """
        with reading(self._engine) as connection:
            if connection.execute(upkeep.oldest_rung(queue, after)).first() is None:
                return
            should = sum(upkeep.rung_by_priority(connection, queue, self._window).values())
        missing, began = should - self.publisher.depth(queue), self._clock()
        while missing > 0:
            limit = min(missing, STRANDED_BATCH)
            # What this loop has rung itself is not rung again.
            age = max(after, timedelta(seconds=self._clock() - began))
            taken = commit(
                self._engine, "stranded", partial(upkeep.claim_stranded, queue=queue, limit=limit, after=age)
            )
            self._deliver("stranded", taken)
            missing = missing - limit if len(taken) == limit else 0

    def _deliver(self, step: str, taken: Sequence[Doorbell]) -> None:
        """Ring for jobs that are marked as rung; what the broker does not take is marked as unrung again."""
        tell(self._instruments, step, len(taken))
        for begin in range(0, len(taken), upkeep.BATCH):
            try:
                reached(f"upkeep.{step}.ring")
                self.publisher.ring(taken[begin : begin + upkeep.BATCH])
                passed(f"upkeep.{step}.ring")
                self._instruments["doorbells_rung"].inc(len(taken[begin : begin + upkeep.BATCH]))
            except BrokerUnavailable:
                self._instruments["doorbells_failed"].inc(len(taken) - begin)
                self._instruments["doorbells_unconfirmed"].inc(self.publisher.unconfirmed)
                reached("upkeep.unring")
                with transaction(self._engine) as connection:
                    upkeep.mark_unrung(connection, [bell.id for bell in taken[begin:]])
                passed("upkeep.unring")
                raise
