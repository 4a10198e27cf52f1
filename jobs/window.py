"""How many doorbells may be in the broker: a window for each queue and priority.

The backlog waits in PostgreSQL, in the order of its urgency. Only so many of its doorbells are in the broker as
keep the workers busy, so a million waiting jobs cost the broker nothing, and a wiped broker is soon refilled. Each
priority has a window of its own: a long queue of ordinary jobs does not stand in the way of an urgent one.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from jobs import queues, upkeep
from jobs.database import reading
from jobs.errors import DatabaseUnavailable
from jobs.model import PRIORITIES, Kind, NewJob

log = structlog.get_logger()

RECOUNT_AFTER: Final = 0.25
"""Seconds for which a count that left no room is believed."""
DOUBT_AFTER: Final = 1.0
"""Seconds for which a count is believed of a window that we fill: other processes fill it too."""
_SHARE: Final = 10
"""A window is recounted when we alone have filled this part of it."""

LOOK_EVERY: Final = 5.0
"""Seconds between two looks at the length of the backlog, at the least."""
_IDLE_SHARE: Final = 20
"""Looking at the backlog takes at most this part of the time."""
BELIEVED_FOR: Final = 60.0
"""Seconds for which the last count stands while no other comes to an end."""


def ready_kinds(jobs: Iterable[NewJob]) -> Counter[Kind]:
    """Return how many of `jobs` are ready at once, by queue and priority."""
    return Counter((job.queue, job.priority) for job in jobs if job.delay is None and job.run_at is None)


@dataclass(slots=True)
class _Count:
    """What PostgreSQL said of one queue, and what we have rung since."""

    at: float
    held: Mapping[int, int]
    waiting: frozenset[int]
    """The priorities of which jobs wait that nobody has rung for."""
    rung: Counter[int] = field(default_factory=Counter)


class Window:
    """Says, for one process, which new jobs may be rung at once. For any thread."""

    def __init__(
        self,
        engine: Engine,
        size: int,
        *,
        is_away: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Let `size` doorbells of each queue and priority be in the broker, and no more while that `is_away`."""
        self._engine = engine
        self._size = size
        self._is_away = is_away
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: dict[str, _Count] = {}

    def quiet(self, wanted: Mapping[Kind, int]) -> frozenset[Kind]:
        """Return those kinds of `wanted` that are full, and count the others as rung.

        Jobs of a full kind are stored without a doorbell; upkeep rings for them when their turn has come.
        A paused queue is full. A kind of which older jobs wait counts as full when half of its window is used: the new
        ones get in line.
        Processes do not tell each other what they ring: together they may exceed a window, each by a tenth.
        """
        if self._is_away():
            return frozenset(wanted)
        with self._lock:
            unknown = {queue for (queue, priority), count in wanted.items() if self._is_unknown(queue, priority, count)}
        counts = {queue: _Count(self._clock(), *self._ask(queue)) for queue in unknown}  # without the lock: it may last
        with self._lock:
            self._counts |= counts
            full = frozenset((q, p) for (q, p), count in wanted.items() if self._left(self._counts[q], p) < count)
            for (queue, priority), count in wanted.items():
                if (queue, priority) not in full:
                    self._counts[queue].rung[priority] += count
            return full

    def _is_unknown(self, queue: str, priority: int, wanted: int) -> bool:
        known = self._counts.get(queue)
        if known is None:
            return True
        return self._is_old(known, self._clock() - known.at, self._left(known, priority) < wanted)

    def _left(self, known: _Count, priority: int) -> int:
        size = self._size / 2 if priority in known.waiting else self._size
        return int(size) - known.held.get(priority, 0) - known.rung[priority]

    def _is_old(self, known: _Count, age: float, is_short: bool) -> bool:  # noqa: FBT001 - private, and called once
        if is_short:
            return age >= RECOUNT_AFTER
        return age >= DOUBT_AFTER and known.rung.total() >= self._size / _SHARE

    def _ask(self, queue: str) -> tuple[Mapping[int, int], frozenset[int]]:
        try:
            with reading(self._engine) as connection:
                if queues.is_paused(connection, queue):
                    return dict.fromkeys(PRIORITIES, self._size), frozenset()
                held = upkeep.rung_by_priority(connection, queue, self._size)
                return held, upkeep.unrung_kinds(connection, queue)
        except (DatabaseUnavailable, DBAPIError) as error:
            log.warning("window_not_counted", queue=queue, reason=type(error).__name__)
            return dict.fromkeys(PRIORITIES, self._size), frozenset()


def _aside(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="backlog", daemon=True).start()


class Backlog:
    """Says whether more jobs wait without a doorbell than may. For any thread."""

    def __init__(
        self,
        engine: Engine,
        limit: int,
        *,
        run: Callable[[Callable[[], None]], None] = _aside,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Call the backlog full at `limit` jobs; `run` counts them, in a thread: it takes a while."""
        self._engine = engine
        self._limit = limit
        self._run = run
        self._clock = clock
        self._look_at = 0.0
        self._was_full = False
        self._unsure_since: float | None = None

    @property
    def is_full(self) -> bool:
        """Whether the last count found too many.

        That answer stands while the next count is under way, or fails, for `BELIEVED_FOR` seconds; after that a
        backlog that nobody can count is taken for a full one. A full one that nobody looks at any more is forgotten
        after a while: whoever comes then gets in, and has it counted.
        """
        now = self._clock()
        if self._is_unknown(now):
            return True
        return self._was_full and now < self._look_at + LOOK_EVERY

    def look(self) -> None:
        """Have the backlog counted, unless that was done lately.

        Called when a window is full, else there is no backlog; and when the backlog is, else it would remain so.
        """
        now = self._clock()
        if now < self._look_at:
            return
        self._look_at = now + BELIEVED_FOR  # a count that takes longer than that is given up
        if self._unsure_since is None:
            self._unsure_since = now
        try:
            self._run(self._count)
        except RuntimeError as error:  # no thread can be had
            self._put_off(now, error)

    def _is_unknown(self, now: float) -> bool:
        return self._unsure_since is not None and now - self._unsure_since >= BELIEVED_FOR

    def _count(self) -> None:
        began = self._clock()
        try:
            with reading(self._engine) as connection:
                waiting = upkeep.count_unrung(connection, self._limit)
        except Exception as error:  # noqa: BLE001 - whatever it is, the backlog is not known
            self._put_off(began, error)
            return
        now = self._clock()
        self._was_full = waiting >= self._limit
        self._unsure_since = None
        if self._was_full:
            log.error("backlog_full", limit=self._limit)
        self._look_at = now + max(LOOK_EVERY, (now - began) * _IDLE_SHARE)

    def _put_off(self, began: float, error: Exception) -> None:
        """Try again soon, and say what holds meanwhile."""
        now = self._clock()
        is_unknown = self._is_unknown(now)
        tell = log.error if is_unknown else log.warning
        tell(
            "backlog_not_counted",
            reason=type(error).__name__,
            taken_for="full" if is_unknown or self._was_full else "not full",
            is_last_known=not is_unknown,
        )
        self._look_at = now + max(LOOK_EVERY, now - began)
