"""Keeps the attempts of one worker: starts them in batches, settles them in batches.

One thread in the worker's main process owns all writes that begin or end an attempt, so a hundred small
jobs cost a few statements and no child of the pool needs a connection to run. Doorbells come in from the
event loop; attempts go out to it to be launched; endings come back from the pool.
"""

import heapq
import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import DataError

from jobs import attempts
from jobs.database import reading
from jobs.errors import DatabaseUnavailable, UnknownTask
from jobs.model import Attempt, Failure, JobId, Settlement, Verdict
from jobs.retry import RetryPolicy, after_permanent_error
from jobs.state import Event, Outcome
from jobs.telemetry.metrics import Instruments
from tasks.catalogue import Catalogue
from worker.execution import Ending, How
from worker.settings import WorkerSettings
from worker.verdicts import judge, release

log = structlog.get_logger()

MOST_AT_ONCE: Final = 200
"""Attempts that one statement starts or settles."""
_PAUSES: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds to wait for a database that is away; the last is repeated."""


@dataclass(eq=False, slots=True)
class Doorbell:
    """A message as it came in, to be acknowledged when all that it names is dealt with."""

    acknowledge: Callable[[], None]
    requeue: Callable[[], None]
    open_count: int


@dataclass(eq=False, slots=True)
class Running:
    """An attempt that this worker holds."""

    attempt: Attempt
    since: float = field(default_factory=time.monotonic)
    pid: int | None = None
    """Of the child that runs it; None: not accepted by the pool yet."""
    ending: Ending | None = None
    cancel_seen_at: float | None = None
    fenced: bool = False
    steps_taken: int = 0
    """How far the ladder of a cancel has been climbed."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of an attempt, for those who watch."""

    running: Running
    verdict: Verdict | None
    """None: it was fenced."""


Waiting = tuple[int, int, JobId, Doorbell]


class Keeper:
    """The attempts of one worker."""

    def __init__(
        self,
        *,
        engine: Engine,
        worker: str,
        catalogue: Catalogue,
        settings: WorkerSettings,
        instruments: Instruments,
    ) -> None:
        """Nothing runs before `start`."""
        self._engine = engine
        self.worker = worker
        self._catalogue = catalogue
        self._settings = settings
        self._instruments = instruments
        self._news = threading.Condition()
        self._waiting: list[Waiting] = []
        self._order = itertools.count()
        self._endings: deque[Running] = deque()
        self._running: dict[tuple[JobId, int], Running] = {}
        self._busy = 0
        self._unsure: set[JobId] = set()
        self._draining = self._closing = False
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self.wake: Callable[[], None] = lambda: None
        """Called from the keeper's thread when the event loop has something to fetch."""
        self.launches: deque[Running] = deque()
        self.dealt_with: deque[Doorbell] = deque()
        self.settled: deque[Settled] = deque()

    # What the event loop and the pool call.

    def start(self) -> None:
        """Begin to start and settle."""
        self._instruments["slots"].set(self._settings.worker_concurrency)
        self._thread.start()

    def offer(self, ids: Iterable[JobId], priority: int, doorbell: Doorbell) -> None:
        """Have these jobs started when a slot is free, the most urgent first."""
        with self._news:
            for job_id in ids:
                heapq.heappush(self._waiting, (-priority, next(self._order), job_id, doorbell))
            self._news.notify()

    def forget_waiting(self) -> list[Doorbell]:
        """Drop the doorbells that wait for a slot and return them; their jobs are still queued."""
        with self._news:
            doorbells = list(dict.fromkeys(waiting[3] for waiting in self._waiting))
            self._waiting.clear()
        return doorbells

    def accepted(self, running: Running, pid: int) -> None:
        """Note which process runs the attempt."""
        running.pid = pid

    def ended(self, running: Running, ending: Ending) -> None:
        """Have the end of an attempt settled. Only the first ending of an attempt counts."""
        with self._news:
            if running.ending is not None:
                return
            running.ending = ending
            self._busy -= 1
            self._endings.append(running)
            self._news.notify()

    def held(self) -> list[Running]:
        """Return the attempts whose lease is ours to extend."""
        with self._news:
            return list(self._running.values())

    def touch(self, running: Running, action: Callable[[int], None]) -> None:
        """Do something to the process of an attempt, unless the attempt has ended meanwhile.

        The lock keeps the pool from giving that process another job in between.
        """
        with self._news:
            if running.ending is None and running.pid is not None:
                action(running.pid)

    @property
    def busy(self) -> int:
        """How many attempts run or are about to."""
        return self._busy

    @property
    def saturated(self) -> bool:
        """Whether doorbells wait and no slot is free."""
        with self._news:
            return bool(self._waiting) and self._room() <= 0

    @property
    def has_room(self) -> bool:
        """Whether a slot is free."""
        with self._news:
            return self._room() > 0

    @property
    def draining(self) -> bool:
        """Whether nothing more is started."""
        return self._draining

    def drain(self) -> None:
        """Start nothing more."""
        with self._news:
            self._draining = True

    def give_back(self, chosen: Iterable[Running]) -> None:
        """Release the jobs of these attempts, so that others can have them at once."""
        with self._news:
            for running in chosen:
                if running.ending is None:
                    running.ending = Ending(How.LOST)
                    self._busy -= 1
        self._settle_until_known([(running, release()) for running in chosen], patience=2.0)

    def close(self, timeout: float = 5.0) -> None:
        """Settle what has ended, give back what has not, and stop."""
        self.give_back([running for running in self.held() if running.ending is None])
        with self._news:
            self._closing = True
            self._news.notify()
        if self._thread.is_alive():
            self._thread.join(timeout)

    # The keeper's own thread.

    def _run(self) -> None:
        while True:
            endings, chosen = self._next()
            if not endings and not chosen and self._closing:
                return
            try:
                if endings:
                    self._settle_until_known([(running, self._verdict(running)) for running in endings])
                if chosen:
                    self._start(chosen)
            except Exception:
                log.exception("keeper_failed")
                time.sleep(_PAUSES[0])
            self.wake()

    def _room(self) -> int:
        return 0 if self._draining else self._settings.worker_concurrency - self._busy

    def _next(self) -> tuple[list[Running], list[Waiting]]:
        """Wait for work and take it."""
        with self._news:
            while not (self._endings or self._closing or (self._waiting and self._room() > 0)):
                self._news.wait()
            endings = [self._endings.popleft() for _ in range(min(len(self._endings), MOST_AT_ONCE))]
            count = min(len(self._waiting), max(self._room(), 0), MOST_AT_ONCE)
            chosen = [heapq.heappop(self._waiting) for _ in range(count)]
            self._busy += len(chosen)
        return endings, chosen

    def _start(self, chosen: list[Waiting]) -> None:
        """Start what the doorbells name; an outage of the database leaves them waiting."""
        ids = list(dict.fromkeys(waiting[2] for waiting in chosen))
        try:
            with reading(self._engine) as connection:
                self._reconcile(connection)
                begun = attempts.start(
                    connection, ids, worker=self.worker, lease=timedelta(seconds=self._settings.lease_seconds)
                )
        except DatabaseUnavailable:
            self._unsure.update(ids)
            with self._news:
                self._busy -= len(chosen)
                for waiting in chosen:
                    heapq.heappush(self._waiting, waiting)
            log.warning("database_unavailable", doing="start", count=len(ids))
            time.sleep(_PAUSES[3])
            return
        for attempt in begun:
            self._launch(attempt)
        with self._news:
            self._busy -= len(chosen) - len(begun)
        self._deal_with(chosen)
        self._instruments["doorbells_idle"].inc(len(chosen) - len(begun))

    def _launch(self, attempt: Attempt) -> None:
        running = Running(attempt)
        with self._news:
            self._running[attempt.job_id, attempt.number] = running
        labels = (attempt.task, attempt.queue)
        self._instruments["attempts_started"].labels(*labels).inc()
        if attempt.number == 1:
            waited = (attempt.started_at - attempt.created_at).total_seconds()
            self._instruments["queue_wait_seconds"].labels(*labels).observe(max(waited, 0.0))
        self.launches.append(running)

    def _deal_with(self, chosen: list[Waiting]) -> None:
        for *_, doorbell in chosen:
            doorbell.open_count -= 1
            if doorbell.open_count == 0:
                self.dealt_with.append(doorbell)

    def _reconcile(self, connection: Any) -> None:
        """Give back jobs that a cut connection may have started for us without our knowing."""
        if self._unsure:
            held = {running.attempt.job_id for running in self.held()}
            strays = attempts.strays(connection, self._unsure - held, worker=self.worker)
            attempts.finish(connection, [Settlement(job_id, number, release()) for job_id, number in strays])
            self._unsure.clear()

    def _verdict(self, running: Running) -> Verdict | None:
        ending = running.ending
        assert ending is not None  # noqa: S101 - only ended attempts come here
        if running.fenced or ending.how is How.FENCED:
            return None
        try:
            policy = self._catalogue[running.attempt.task].policy
        except UnknownTask:
            policy = RetryPolicy()
        return judge(running.attempt, ending, policy, cancel_asked=running.cancel_seen_at is not None)

    def _settle_until_known(self, judged: list[tuple[Running, Verdict | None]], patience: float = math.inf) -> None:
        """Write the verdicts, however long the database is away: only its answer settles an attempt.

        After `patience` seconds the leases are left to run out.
        """
        mine = [(running, verdict) for running, verdict in judged if verdict is not None]
        deadline = time.monotonic() + patience
        pauses = itertools.chain(_PAUSES, itertools.repeat(_PAUSES[-1]))
        accepted: set[tuple[JobId, int]] | None = None
        while accepted is None:
            try:
                accepted = self._settle(mine)
            except DatabaseUnavailable:
                log.warning("database_unavailable", doing="settle", count=len(mine))
                if time.monotonic() > deadline:
                    return
                time.sleep(next(pauses))
        for running, verdict in judged:
            key = (running.attempt.job_id, running.attempt.number)
            self._conclude(running, verdict if verdict is not None and key in accepted else None)

    def _settle(self, judged: list[tuple[Running, Verdict]]) -> set[tuple[JobId, int]]:
        """Write the verdicts in one statement and return which were accepted, now or at a try whose answer was cut."""
        settlements = [Settlement(r.attempt.job_id, r.attempt.number, verdict) for r, verdict in judged]
        if not settlements:
            return set()
        with reading(self._engine) as connection:
            try:
                accepted = {(done.job_id, done.number) for done in attempts.finish(connection, settlements)}
            except DataError:
                accepted = self._settle_one_by_one(connection, settlements)
            for settlement in settlements:
                key = (settlement.job_id, settlement.number)
                if key not in accepted and attempts.outcome_of(connection, *key) is settlement.verdict.outcome:
                    accepted.add(key)
        return accepted

    def _settle_one_by_one(self, connection: Any, settlements: list[Settlement]) -> set[tuple[JobId, int]]:
        """Settle a batch in which PostgreSQL refuses somebody's result: that one fails, the others stand."""
        accepted = set()
        for settlement in settlements:
            try:
                done = attempts.finish(connection, [settlement])
            except DataError as error:
                failure = Failure("ResultNotStorable", f"PostgreSQL cannot store the result: {error.orig}")
                unstorable = Settlement(settlement.job_id, settlement.number, after_permanent_error(failure))
                done = attempts.finish(connection, [unstorable])
            accepted |= {(one.job_id, one.number) for one in done}
        return accepted

    def _conclude(self, running: Running, verdict: Verdict | None) -> None:
        attempt = running.attempt
        with self._news:
            self._running.pop((attempt.job_id, attempt.number), None)
        labels = (attempt.task, attempt.queue)
        if verdict is None:
            self._instruments["attempts_fenced"].labels(*labels).inc()
        else:
            self._instruments["attempts_finished"].labels(*labels, verdict.outcome.value).inc()
            self._instruments["run_seconds"].labels(*labels).observe(time.monotonic() - running.since)
        _tell(running, verdict)
        self.settled.append(Settled(running, verdict))


def _tell(running: Running, verdict: Verdict | None) -> None:
    """Log how the attempt ended: its facts, never its payload or its message."""
    attempt = running.attempt
    facts = {
        "job_id": str(attempt.job_id),
        "task": attempt.task,
        "attempt": attempt.number,
        "request_id": attempt.request_id,
        "seconds": round(time.monotonic() - running.since, 4),
    }
    if verdict is None:
        log.warning("attempt_fenced", **facts)
    elif verdict.outcome is Outcome.SUCCEEDED:
        log.info("job_succeeded", **facts)
    else:
        error = verdict.failure.type if verdict.failure else None
        tell = log.error if verdict.event is Event.FAIL else log.warning
        tell("attempt_ended", **facts, outcome=verdict.outcome.value, then=verdict.event.value, error=error)
