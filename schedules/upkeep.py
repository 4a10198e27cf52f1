"""Upkeep's clock: when each step of `jobs.upkeep` runs, and the ringing that follows its commit.

Any number of processes may run it at once. None waits for another: each step takes what nobody else holds.
"""

import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import structlog
from kombu import Connection as BrokerConnection
from sqlalchemy import Connection, Engine

from jobs import upkeep
from jobs.database import reading, transaction
from jobs.errors import BrokerUnavailable, DatabaseUnavailable
from jobs.failpoints import passed, reached
from jobs.model import Doorbell
from jobs.planning import history
from jobs.telemetry.metrics import Instruments
from schedules.settings import ScheduleSettings
from tasks.publisher import DoorbellPublisher
from tasks.topology import depth, transport_options

log = structlog.get_logger()

T = TypeVar("T", int, list[Doorbell])

RESCUE_EVERY: Final = 2.0
STRANDED_EVERY: Final = 5.0
PRUNE_EVERY: Final = 60.0
_SHORTEST_PAUSE: Final = 0.01
_BACKLOG_PAUSE: Final = 0.1
"""Seconds between two rounds while jobs wait for a place in a window."""


class _Clock(Protocol):
    def __call__(self) -> float: ...


class Upkeep:
    """Runs the steps, each at its own pace."""

    def __init__(
        self,
        *,
        engine: Engine,
        publisher: DoorbellPublisher,
        broker_url: str,
        queues: tuple[str, ...],
        window: int,
        settings: ScheduleSettings,
        instruments: Instruments,
        clock: _Clock = time.monotonic,
    ) -> None:
        """Nothing runs before `round`; `window` doorbells of each queue and priority may be in the broker."""
        self._engine = engine
        self._publisher = publisher
        self._broker_url = broker_url
        self._queues = queues
        self._window = window
        self._settings = settings
        self._instruments = instruments
        self._clock = clock
        self._last: dict[str, float] = {}
        self._has_backlog = False
        self.last_round_at = clock()

    def round(self) -> float:
        """Do what is due and return how many seconds the next round may wait."""
        began = self._clock()
        self._has_backlog = False
        try:
            full = self._move()
            full |= self._clean()
            full |= self._ring()  # the last: where the broker is away it ends the round
            pause = _SHORTEST_PAUSE if full else self._until_next_due()
        except DatabaseUnavailable:
            log.warning("database_unavailable", doing="upkeep")
            pause = 1.0
        except BrokerUnavailable as error:
            log.warning("broker_unavailable", doing="upkeep", reason=str(error))
            pause = 1.0
        except Exception:
            log.exception("upkeep_failed")  # a row that somebody holds, or worse: the next round tries again
            pause = 1.0
        self.last_round_at = self._clock()
        self._instruments["upkeep_seconds"].observe(self.last_round_at - began)
        return pause

    def _move(self) -> bool:
        """Release, rescue and expire; tell whether some step was full and should be repeated at once."""
        full = self._step("release", upkeep.release_due)
        if self._is_time("rescue", RESCUE_EVERY):
            full |= self._step("rescue", upkeep.rescue_lost)
            full |= self._step("expire", upkeep.expire)
        return full

    def _step(self, name: str, do: Callable[[Connection], int]) -> bool:
        done = self._commit(name, do)
        self._count(name, done)
        return done == upkeep.BATCH

    def _and_ring(self, step: str, take: Callable[[Connection], list[Doorbell]]) -> int:
        """Take jobs in one transaction and ring for them after it; what cannot be rung is left unrung."""
        taken = self._commit(step, take)
        self._count(step, len(taken))
        if taken:
            try:
                reached(f"upkeep.{step}.ring")
                self._publisher.ring(taken)
                passed(f"upkeep.{step}.ring")
            except BrokerUnavailable:
                reached("upkeep.unring")
                with transaction(self._engine) as connection:
                    upkeep.mark_unrung(connection, [bell.id for bell in taken])
                passed("upkeep.unring")
                raise
        return len(taken)

    def _commit(self, step: str, do: Callable[[Connection], T]) -> T:
        """Return what `do` has done, committed."""
        with transaction(self._engine) as connection:
            done = do(connection)
            if done:
                reached(f"upkeep.{step}.commit")
        if done:
            passed(f"upkeep.{step}.commit")
        return done

    def _ring(self) -> bool:
        """Ring for jobs that no doorbell speaks of, and for those whose doorbell got lost."""
        if self._is_time("stranded", STRANDED_EVERY):
            for queue in self._queues:
                self._ring_stranded(queue)
        goes_on = [self._fill(queue) for queue in self._queues]
        return any(goes_on)

    def _fill(self, queue: str) -> bool:
        """Ring for the most urgent jobs of `queue`, as far as the windows go; tell whether to go on at once."""
        with reading(self._engine) as connection:
            priority = upkeep.most_urgent_unrung(connection, queue)
            held = upkeep.rung_by_priority(connection, queue, self._window) if priority is not None else {}
        goes_on = False
        while priority is not None:
            room = self._window - held.get(priority, 0)
            limit = min(room, upkeep.BATCH)
            if limit > 0:
                claim = partial(upkeep.claim_unrung, queue=queue, limit=limit, priority=priority)
                goes_on |= self._and_ring("ring", claim) == upkeep.BATCH
            self._has_backlog |= room <= upkeep.BATCH
            with reading(self._engine) as connection:
                priority = upkeep.most_urgent_unrung(connection, queue, below=priority)
        return goes_on

    def _ring_stranded(self, queue: str) -> None:
        """Ring again for jobs that wait too long, but only as many as the broker has fewer doorbells than it should.

        A long queue is no loss: without this bound every job of a backlog would be rung again and again.
        """
        after = timedelta(seconds=self._settings.stranded_seconds)
        with reading(self._engine) as connection:
            if connection.execute(upkeep.stranded_jobs(queue, 1, after)).first() is None:
                return
            should = sum(upkeep.rung_by_priority(connection, queue, self._window).values())
        missing = should - self._depth(queue)
        while missing > 0:
            limit = min(missing, upkeep.BATCH)
            rung = self._and_ring("stranded", partial(upkeep.claim_stranded, queue=queue, limit=limit, after=after))
            missing = missing - rung if rung == limit else 0

    def _depth(self, queue: str) -> int:
        options = transport_options(self._broker_url)
        broker: Any = BrokerConnection(self._broker_url, transport_options=options, connect_timeout=3)
        try:
            return depth(broker, queue)
        except (OSError, *broker.connection_errors) as error:
            raise BrokerUnavailable(f"The broker tells no depth: {type(error).__name__}.") from error
        finally:
            broker.collect(socket_timeout=0.5)

    def _clean(self) -> bool:
        """Delete what has been kept long enough; tell whether there was more than one batch of it."""
        if not self._is_time("prune", PRUNE_EVERY):
            return False
        keep = timedelta(days=self._settings.keep_finished_days)
        pruned = self._commit("prune", partial(upkeep.prune, keep=keep))
        keys = self._commit("prune_keys", upkeep.prune_idempotency_keys)
        decisions = self._commit("prune_occurrences", partial(history.prune, keep=keep, limit=upkeep.BATCH))
        self._count("prune", pruned)
        self._count("prune_keys", keys)
        self._count("prune_occurrences", decisions)
        full = upkeep.BATCH in {pruned, keys, decisions}
        if full:
            del self._last["prune"]  # the rest at once, between the other steps
        return full

    def _until_next_due(self) -> float:
        """Return the pause until the next job is due, by the database's clock, within the setting's bounds."""
        with reading(self._engine) as connection:
            seconds = upkeep.seconds_until_due(connection)
        longest = self._settings.upkeep_seconds
        if self._has_backlog:
            longest = min(longest, _BACKLOG_PAUSE)
        return longest if seconds is None else min(max(seconds, _SHORTEST_PAUSE), longest)

    def _is_time(self, step: str, every: float) -> bool:
        now = self._clock()
        if now - self._last.get(step, -every) < every:
            return False
        self._last[step] = now
        return True

    def _count(self, step: str, count: int) -> None:
        if count:
            self._instruments["upkeep"].labels(step).inc(count)
            log.info("upkeep", step=step, count=count)
