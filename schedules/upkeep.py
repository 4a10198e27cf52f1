"""Upkeep's clock: when each step of `jobs.upkeep` runs that moves jobs or deletes them.

Any number of processes may run it at once. None waits for another: each step takes what nobody else holds.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Final

import structlog
from sqlalchemy import Connection, Engine

from jobs import census, partitions, registry, upkeep
from jobs.database import reading, transaction
from jobs.errors import DatabaseUnavailable
from jobs.model import JobId, Taken
from jobs.planning import history, store
from jobs.telemetry.metrics import Instruments
from schedules.readiness import Readiness
from schedules.ringing import Ringing
from schedules.settings import ScheduleSettings
from schedules.steps import commit, tell, tell_each

log = structlog.get_logger()

RESCUE_EVERY: Final = 2.0
RESCUE_AFTER_OUTAGE: Final = 5.0
"""Seconds after PostgreSQL was away in which no lease is called overdue: its workers could not extend it either."""
PRUNE_EVERY: Final = 60.0
PRUNE_AGAIN_AFTER: Final = 5.0
"""Seconds after which a step that failed is tried again."""
ADD_UP_EVERY: Final = 1.0
ROLL_EVERY: Final = 300.0
KEEP_WORKERS: Final = timedelta(days=7)
"""For how long a worker that is gone is remembered."""
_SHORTEST_PAUSE: Final = 0.01
_AFTER_TROUBLE: Final = 1.0


class Upkeep:
    """Runs the steps, each at its own pace."""

    def __init__(
        self,
        *,
        engine: Engine,
        ringing: Ringing,
        settings: ScheduleSettings,
        instruments: Instruments,
        clock: Callable[[], float] = time.monotonic,
        readiness: Readiness | None = None,
        on_lost: Callable[[Sequence[Taken]], None] = lambda _: None,
    ) -> None:
        """Nothing runs before `round`; `ringing` is the end of it. `on_lost` hears of the attempts that were lost."""
        self._engine = engine
        self._ringing = ringing
        self._settings = settings
        self._instruments = instruments
        self._clock = clock
        self._last: dict[str, float] = {}
        self._rescues_from = -math.inf
        self._readiness = readiness or Readiness()
        self._heard: Final = {"rescue": on_lost}
        self._pruned_to = partitions.BEFORE_ALL
        self._failed: list[str] = []
        """The steps that failed in this round."""
        self._failing: set[str] = set()
        """The steps that failed when they were tried last: not each round tries all."""

    def round(self) -> float:
        """Do what is due and return how many seconds the next round may wait. A step that fails stops no other."""
        began, self._failed = self._clock(), []
        try:
            full = self._move()
            full |= self._add_up()
            full |= self._clean()
            self._roll()
            pause = _SHORTEST_PAUSE if full else self._until_next_due()
        except DatabaseUnavailable:
            log.warning("database_unavailable", doing="upkeep")
            self._readiness.lost("postgresql")
            self._rescues_from = self._clock() + RESCUE_AFTER_OUTAGE
            pause = _AFTER_TROUBLE
        else:
            self._readiness.well("postgresql")
        self._instruments["upkeep_seconds"].observe(self._clock() - began)
        pause = min(_AFTER_TROUBLE if self._failed else pause, self._ringing.round())
        if self._ringing.failed is not None:
            self._instruments["upkeep_failures"].labels("ring").inc()
        elif not self._failing:
            self._readiness.well("upkeep")
        return pause

    @contextmanager
    def _doing(self, step: str) -> Iterator[None]:
        """Note where a step fails, and go on with the next. Raises `DatabaseUnavailable`: none would do better."""
        try:
            yield
        except Exception as error:
            self._failed.append(step)
            self._failing.add(step)
            self._instruments["upkeep_failures"].labels(step).inc()
            if isinstance(error, DatabaseUnavailable):
                raise
            log.exception("upkeep_failed", step=step)  # a row that somebody holds, or worse: the next round tries again
        else:
            self._failing.discard(step)

    def _move(self) -> bool:
        """Release, rescue and expire; tell whether some step was full and should be repeated at once."""
        full = self._step("release", upkeep.release_due)
        if self._is_time("rescue", RESCUE_EVERY):
            if self._clock() >= self._rescues_from:
                full |= self._take("rescue", upkeep.rescue_lost)
            full |= self._take("expire", upkeep.expire)
        return full

    def _step(self, name: str, do: Callable[[Connection], int]) -> bool:
        done = 0
        with self._doing(name):
            done = commit(self._engine, name, do)
            tell(self._instruments, name, done)
        return done == upkeep.BATCH

    def _take(self, name: str, do: Callable[[Connection], list[Taken]]) -> bool:
        """Do a step of which each job is told."""
        taken: list[Taken] = []
        with self._doing(name):
            taken = commit(self._engine, name, do)
            tell(self._instruments, name, len(taken))
            tell_each(name, taken)
            if taken and name in self._heard:
                self._heard[name](taken)
        return len(taken) == upkeep.BATCH

    def _add_up(self) -> bool:
        """Keep the census short to read; tell whether there was more of it than one batch."""
        if not self._is_time("census", ADD_UP_EVERY):
            return False
        full = False
        with self._doing("census"), transaction(self._engine) as connection:
            full = census.fold(connection) == census.FOLDED
        if full:
            del self._last["census"]
        return full

    def _clean(self) -> bool:
        """Delete what has been kept long enough; tell whether there was more than one batch of it."""
        if not self._is_time("prune", PRUNE_EVERY):
            return False
        full, before = False, len(self._failed)
        try:
            full = self._prune()
        finally:
            if len(self._failed) > before:
                self._last["prune"] += PRUNE_AGAIN_AFTER - PRUNE_EVERY
            elif full:
                del self._last["prune"]  # the rest at once, between the other steps
        return full

    def _roll(self) -> None:
        """See to the months by which history is kept."""
        if not self._is_time("partitions", ROLL_EVERY):
            return
        with self._doing("partitions"):
            made, dropped = partitions.roll(self._engine, timedelta(days=self._settings.keep_finished_days))
            tell(self._instruments, "make_partitions", made)
            tell(self._instruments, "drop_partitions", dropped)

    def _prune(self) -> bool:
        keep = timedelta(days=self._settings.keep_finished_days)
        full = self._prune_jobs(keep)
        full |= self._step("prune_keys", upkeep.prune_idempotency_keys)
        full |= self._step("prune_occurrences", partial(history.prune, keep=keep, limit=upkeep.BATCH))
        full |= self._step("prune_schedules", partial(store.prune, keep=keep, limit=upkeep.BATCH))
        with self._doing("prune_workers"), transaction(self._engine) as connection:
            registry.prune(connection, keep=KEEP_WORKERS)
        return full

    def _prune_jobs(self, keep: timedelta) -> bool:
        """Delete the next batch of old jobs; a sweep begins anew when it has come to its end, or failed."""
        gone: list[JobId] = []
        with self._doing("prune"):
            gone = commit(self._engine, "prune", partial(upkeep.prune, keep=keep, after=self._pruned_to))
            tell(self._instruments, "prune", len(gone))
        full = len(gone) == upkeep.BATCH
        self._pruned_to = gone[-1] if full else partitions.BEFORE_ALL
        return full

    def _until_next_due(self) -> float:
        """Return the pause until the next job is due, by the database's clock, within the setting's bounds."""
        seconds: float | None = None
        with self._doing("look"), reading(self._engine) as connection:
            seconds = upkeep.seconds_until_due(connection)
        longest = self._settings.upkeep_seconds
        return longest if seconds is None else min(max(seconds, _SHORTEST_PAUSE), longest)

    def _is_time(self, step: str, every: float) -> bool:
        now = self._clock()
        if now - self._last.get(step, -every) < every:
            return False
        self._last[step] = now
        return True
