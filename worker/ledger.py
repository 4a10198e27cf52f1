"""The keeper's hand in PostgreSQL: begins and settles many attempts in one statement each, and knows for sure.

Only the database's answer settles an attempt. A statement whose answer was cut off is asked after, and
a database that is away is waited for.
"""

import itertools
import math
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, DBAPIError

from jobs import attempts, fencing
from jobs.database import is_passing, reading
from jobs.errors import DatabaseUnavailable
from jobs.failpoints import passed, reached
from jobs.model import Attempt, Failure, JobId, Settlement, Verdict
from jobs.retry import after_permanent_error
from worker.verdicts import release

log = structlog.get_logger()

PAUSES: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds to wait for a database that is away; the last is repeated."""

LATE: Final = 20.0
"""Seconds for which a statement whose answer was cut off may still arrive: the system that sent it tries no longer
(TCP_USER_TIMEOUT, see `jobs.database.open_engine`)."""
LOOK_EVERY: Final = 1.0
"""Seconds between two looks at starts whose answer was cut off, while others are begun."""

Key = tuple[JobId, int]
"""A job and the number of an attempt at it."""


class Ledger:
    """Writes in the name of one worker."""

    def __init__(self, engine: Engine, worker: str, lease: timedelta, *, late: float = LATE) -> None:
        """Connect at the first use; a statement that was cut off arrives within `late` seconds, or never."""
        self._engine = engine
        self._worker = worker
        self._lease = lease
        self._late = late
        self._unsure: dict[JobId, float] = {}
        """The jobs whose start was cut off, and the instant after which no such start arrives any more."""
        self._looked_at = -math.inf

    def begin(self, ids: Sequence[JobId], held: set[JobId]) -> list[Attempt]:
        """Begin attempts at those of `ids` that are ready. Raises `DatabaseUnavailable`.

        After a start whose answer was cut off, jobs may be running in our name that we do not hold:
        they are given back first.
        """
        was_asked = False
        try:
            with reading(self._engine) as connection:
                if self._wants_look(ids):
                    self._give_back(connection, held)
                reached("start.write")
                was_asked = True
                begun = attempts.start(connection, ids, worker=self._worker, lease=self._lease)
                passed("start.write")
                reached("start.hold")
                return begun
        except Exception:
            if was_asked:
                self._unsure |= dict.fromkeys(ids, time.monotonic() + self._late)
            raise

    @property
    def is_unsure(self) -> bool:
        """Whether jobs may be running in our name that nobody runs, or may come to do so."""
        return bool(self._unsure)

    def give_strays_back(self, held: set[JobId]) -> None:
        """Give back what runs in our name and is not in `held`. Raises `DatabaseUnavailable`."""
        with reading(self._engine) as connection:
            self._give_back(connection, held)

    def _wants_look(self, ids: Sequence[JobId]) -> bool:
        is_time = time.monotonic() - self._looked_at >= LOOK_EVERY
        return bool(self._unsure) and (is_time or not self._unsure.keys().isdisjoint(ids))

    def _give_back(self, connection: Connection, held: set[JobId]) -> None:
        """Give back the strays of now, and be sure of the jobs that can have none later.

        A start that was cut off may show later: it is on its way, or its COMMIT is. So a job is looked at until no
        start of it can arrive any more, and then until nobody holds its row, as a COMMIT under way does.
        """
        self._looked_at = time.monotonic()
        over = [job_id for job_id, until in self._unsure.items() if until <= self._looked_at]
        sure = attempts.unlocked(connection, over) if over else []
        strays = attempts.strays(connection, self._unsure.keys() - held, worker=self._worker)
        if strays:
            reached("start.give_strays_back")
            try:
                attempts.finish(connection, [Settlement(job_id, number, release()) for job_id, number in strays])
            except DBAPIError as error:
                if not is_passing(error):
                    raise
                log.warning("strays_are_held", count=len(strays))
                return
            passed("start.give_strays_back")
        for job_id in sure:
            del self._unsure[job_id]

    def settle(self, settlements: Sequence[Settlement], patience: float = math.inf) -> tuple[set[Key], set[Key]]:
        """Return the attempts whose verdict was accepted, and those that must be tried again.

        The database is waited for, however long it is away; a row that somebody holds is not. Raises
        `DatabaseUnavailable` after `patience` seconds: the leases are then left to run out.
        """
        deadline = time.monotonic() + patience
        for pause in itertools.chain(PAUSES, itertools.repeat(PAUSES[-1])):
            try:
                return self._settle_what_can_be(settlements)
            except DatabaseUnavailable:
                log.warning("database_unavailable", doing="settle", count=len(settlements))
                if time.monotonic() > deadline:
                    raise
                time.sleep(pause)  # the keeper has nothing else to do: every write of it needs the database
        raise AssertionError("the pauses have no end")

    def _settle_what_can_be(self, settlements: Sequence[Settlement]) -> tuple[set[Key], set[Key]]:
        """Settle all at once, or, when something stands in the way of one, each by itself."""
        try:
            return self._settle(settlements), set()
        except DBAPIError as error:
            if not is_passing(error):
                log.exception("settle_failed", count=len(settlements))
            if len(settlements) == 1:
                return set(), {(one.job_id, one.number) for one in settlements}
        accepted: set[Key] = set()
        again: set[Key] = set()
        for settlement in settlements:
            done, left = self._settle_what_can_be([settlement])
            accepted |= done
            again |= left
        return accepted, again

    def _settle(self, settlements: Sequence[Settlement]) -> set[Key]:
        if not settlements:
            return set()
        with reading(self._engine) as connection:
            reached("settle.write")
            try:
                accepted = {(done.job_id, done.number) for done in attempts.finish(connection, settlements)}
            except DataError:
                accepted = self._settle_one_by_one(connection, settlements)
            passed("settle.write")
            for settlement in settlements:
                key = (settlement.job_id, settlement.number)
                if key not in accepted and fencing.was_ended_by_its_worker(connection, settlement):
                    accepted.add(key)  # by a try whose answer was cut off
        return accepted

    def _settle_one_by_one(self, connection: Connection, settlements: Sequence[Settlement]) -> set[Key]:
        """Settle a batch in which PostgreSQL refuses somebody's result: that one fails, the others stand."""
        accepted: set[Key] = set()
        for settlement in settlements:
            try:
                done = attempts.finish(connection, [settlement])
            except DataError as error:
                done = attempts.finish(connection, [_unstorable(settlement, error)])
            accepted |= {(one.job_id, one.number) for one in done}
        return accepted


def _unstorable(settlement: Settlement, error: DataError) -> Settlement:
    failure = Failure("ResultNotStorable", f"PostgreSQL cannot store the result: {error.orig}")
    verdict: Verdict = after_permanent_error(failure)
    return Settlement(settlement.job_id, settlement.number, verdict)
