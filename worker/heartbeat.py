"""Keeps leases alive, and ends attempts that nobody wants any more.

A thread in the worker's main process, with a connection of its own: a task that never lets go of its
interpreter, or a pool of connections that is used up, cannot stop it.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

import structlog
from sqlalchemy import Engine

from jobs import attempts, registry, unheard
from jobs.attempts import Held
from jobs.database import transaction
from jobs.errors import DatabaseUnavailable
from jobs.failpoints import passed, reached
from jobs.telemetry import logs
from worker.ears import Ears
from worker.keeper import Keeper
from worker.running import Running
from worker.settings import WorkerSettings

log = structlog.get_logger()

LOOK_EVERY: Final = 1.0
"""Seconds between two looks for cancels."""
SILENT_AFTER: Final = 15.0
"""Seconds without an answer of PostgreSQL after which the worker is not ready."""
ANNOUNCE_EVERY: Final = registry.BEATS_EVERY.total_seconds()
"""Seconds between two signs of life in the table of workers."""

INTERRUPT: Final = signal.SIGUSR1
"""What billiard's children turn into SoftTimeLimitExceeded."""
KILL: Final = signal.SIGKILL


class Heartbeat:
    """Extends the leases of the keeper's attempts and climbs the ladder of a cancel: asked, interrupted, killed."""

    def __init__(
        self, keeper: Keeper, engine: Engine, settings: WorkerSettings, ears: Ears, queues: Callable[[], Sequence[str]]
    ) -> None:
        """Nothing runs before `start`; `queues` are those that the worker listens to now."""
        self._keeper = keeper
        self._ears = ears
        self._queues = queues
        self._engine = engine
        self._settings = settings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._extended_at = 0.0
        self._announced_at = 0.0
        self._answered_at = 0.0

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    @property
    def is_beating(self) -> bool:
        """Whether PostgreSQL answered lately."""
        return time.monotonic() - self._answered_at < SILENT_AFTER

    def close(self) -> None:
        """Stop beating."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2.0)

    def _run(self) -> None:
        third = self._settings.lease_seconds / 3
        while not self._stop.wait(min(LOOK_EVERY, third / 2)):
            try:
                self._beat_or_climb_on(third)
            except Exception:
                log.exception("heartbeat_failed")

    def _beat_or_climb_on(self, third: float) -> None:
        try:
            self._beat(third)
        except DatabaseUnavailable:
            log.warning("database_unavailable", doing="heartbeat")
            self._climb_on()

    def _beat(self, third: float) -> None:
        """Do what is due: the leases first, in a transaction of their own, which nothing that comes later undoes."""
        running = self._keeper.held()
        if running:
            self._heed(running, self._held(running, third))
        if time.monotonic() - self._announced_at >= ANNOUNCE_EVERY:
            self._announce()
        if self._ears.wants_look():
            self._listen()

    def _held(self, running: list[Running], third: float) -> list[Held]:
        """Return which of our attempts are still ours; their leases are extended when it is time."""
        asked, now = [(one.attempt.job_id, one.attempt.number) for one in running], time.monotonic()
        extends = now - self._extended_at >= third
        with transaction(self._engine) as connection:
            if extends:
                lease = timedelta(seconds=self._settings.lease_seconds)
                reached("lease.extend")
                held = attempts.extend(connection, asked, lease=lease)
                passed("lease.extend")
            else:
                held = attempts.look(connection, asked)
        self._answered_at = now
        if extends:
            self._extended_at = now
            reached("lease.heed")
        return held

    def _announce(self) -> None:
        """Give a sign of life; one that fails is not repeated before the next is due."""
        keeper, now = self._keeper, time.monotonic()
        self._announced_at = now
        with transaction(self._engine) as connection:
            registry.beat(connection, keeper.worker, running=keeper.busy, rates=keeper.rates.look())
        self._answered_at = now

    def _listen(self) -> None:
        """Look whether jobs wait that we do not hear of; a look that fails is not repeated at once."""
        self._ears.put_off()
        with transaction(self._engine) as connection:
            age = timedelta(seconds=self._ears.seconds)
            jobs_wait = unheard.is_any_unheard(connection, self._queues(), age)
        self._ears.looked(jobs_wait=jobs_wait)

    def _heed(self, running: list[Running], held: list[Held]) -> None:
        """Act on what the database says of our attempts."""
        found = {(one.job_id, one.number): one for one in held}
        for one in running:
            mine = found.get((one.attempt.job_id, one.attempt.number))
            if one.ending is not None:
                continue
            if mine is None and not one.fenced:
                one.fenced = True
                log.warning("attempt_lost_its_lease", **logs.facts_of(one.attempt))
            if mine is not None and mine.cancel_requested and one.cancel_seen_at is None:
                one.cancel_seen_at = time.monotonic()
                log.info("cancel_seen", **logs.facts_of(one.attempt))
            if one.fenced or one.cancel_seen_at is not None:
                self._climb(one)

    def _climb_on(self) -> None:
        """Go on with what was asked for before the database went away."""
        for one in self._keeper.held():
            if one.ending is None and (one.fenced or one.cancel_seen_at is not None):
                self._climb(one)

    def _climb(self, running: Running) -> None:
        """Take the next step when its time has come: the task was asked, is interrupted, is killed.

        An attempt that was fenced gets no time to answer the question: nothing that it does counts. One that waits for
        a process cannot be told yet; its time begins with its task.
        """
        if running.accepted_at is None:
            return
        grace = self._settings.cancel_grace_seconds
        if running.cancel_seen_at is None:
            running.cancel_seen_at = time.monotonic() - grace
        asked_at = running.accepted_at - grace if running.fenced else running.accepted_at
        waited = time.monotonic() - max(running.cancel_seen_at, asked_at)
        steps = ((grace, INTERRUPT), (2 * grace, KILL))
        if running.steps_taken < len(steps) and waited >= steps[running.steps_taken][0]:
            _, number = steps[running.steps_taken]
            log.warning("attempt_told_to_end", **logs.facts_of(running.attempt), signal=number.name)
            if self._settings.worker_pool == "prefork":
                reached("cancel.signal")
                self._keeper.touch(running, lambda pid: os.kill(pid, number))
                passed("cancel.signal")
            running.steps_taken += 1  # last: a step that failed is taken again at the next look
