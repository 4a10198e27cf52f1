"""Concurrent submissions share one transaction, with no timer: whoever waits when a commit ends goes next.

When nothing else is going on a submission is committed at once and alone. Under load the time of one
commit gathers the next group by itself.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import DataError, DBAPIError

from api.crowd import Crowd
from api.pace import Pace
from api.patience import PATIENCE
from api.problems import BacklogFull, Overloaded
from api.turnstile import A_TURN
from jobs import intake
from jobs.database import is_collision, is_held, is_passing, transaction
from jobs.errors import DatabaseUnavailable, InvalidPayload, OutcomeUnknown, PenstockError, RefusedError, Unavailable
from jobs.failpoints import passed, reached
from jobs.intake import Answer
from jobs.model import Acceptance, Doorbell, Kind, Submission
from jobs.telemetry import logs
from jobs.telemetry.metrics import Instruments
from jobs.window import Backlog, Window, ready_kinds

log = structlog.get_logger()

FEW: Final = 64
"""As long as fewer wait, a commit may be overdue, by a hiccup of the disk or of the machine, and nobody is refused."""
FORGIVEN: Final = 2.0
"""Seconds by which it may be."""
_TRIES: Final = 3

Ring = Callable[[Sequence[Doorbell]], None]
Waiting = tuple[Submission, asyncio.Future[Answer], float]
"""A submission, its answer, and since when it waits."""


def commit(
    engine: Engine, submissions: Sequence[Submission], quiet: Collection[Kind], *, patient: bool = True
) -> list[Answer]:
    """Accept `submissions` in one transaction and return their answers, which are durable.

    A COMMIT whose answer was cut off is looked into: either its jobs are there or the group is tried again.
    Only with `patient` is a lock that was not had in time tried for again.
    Raises `DatabaseUnavailable` when PostgreSQL stays away, its subclass `OutcomeUnknown` when we cannot even tell.
    """
    for left in reversed(range(_TRIES)):
        answers: list[Answer] = []
        try:
            with transaction(engine, commit="intake.commit") as connection:
                answers = intake.accept(connection, submissions, quiet)
        except OutcomeUnknown:
            if _was_committed(engine, answers):
                return answers
            if not left:
                raise DatabaseUnavailable from None
        except DatabaseUnavailable:
            if not left:
                raise
        except DBAPIError as error:
            if not left or not is_collision(error) or (is_held(error) and not patient):
                raise
        else:
            return answers
    raise AssertionError("the last try returns or raises")


def _was_committed(engine: Engine, answers: Sequence[Answer]) -> bool:
    """Tell whether the transaction that gave these answers was committed. Raises `OutcomeUnknown`."""
    first = next((a.receipts[0] for a in answers if isinstance(a, Acceptance) and not a.replayed), None)
    if first is None:
        return False
    try:
        with transaction(engine) as connection:
            return intake.was_committed(connection, first.id)
    except DatabaseUnavailable as error:
        raise OutcomeUnknown from error
    except DBAPIError as error:
        if is_passing(error):  # it does not end, and we cannot wait for ever
            raise OutcomeUnknown from error
        raise


class GroupCommit:
    """Takes submissions from the event loop and commits them from one thread."""

    def __init__(
        self,
        engine: Engine,
        ring: Ring,
        instruments: Instruments,
        *,
        window: Window,
        backlog: Backlog,
        group_limit: int,
        waiting_limit: int,
        longest_wait: float,
    ) -> None:
        """Commit with `engine`; hand the doorbells of what was accepted to `ring`, as far as `window` goes."""
        self._engine = engine
        self._ring = ring
        self._window = window
        self._backlog = backlog
        self._size = instruments["group_commit_size"]
        self._replayed = instruments["jobs_replayed"]
        self._commit_wait = instruments["commit_wait_seconds"]
        self._limit = waiting_limit
        self._longest_wait = longest_wait
        self._largest = group_limit
        self._pace = Pace(group_limit)
        self._waiting: deque[Waiting] = deque()
        self._news = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="group-commit", daemon=True)

    def start(self) -> None:
        """Begin to commit."""
        self._thread.start()

    def verdict(self, crowd: Crowd) -> type[Unavailable] | None:
        """Say why one more submission should not come in now; None: it should.

        The event loop comes to each four times, to read it, to begin it, to wake it and to answer it, and it was seen
        where it is late: in a crowd that stays, each turn is followed by one that is as long.
        """
        if self._is_backlog_full():
            return BacklogFull
        waiting = len(self._waiting) + crowd.coming
        if waiting >= self._limit or self._closing:
            return Overloaded
        late = self._pace.overdue() + 8 * crowd.lag
        if waiting < FEW:
            late -= FORGIVEN
        before = max(self._pace.wait(waiting), crowd.turn)
        return Overloaded if before + max(0.0, late) > self._longest_wait else None

    async def submit(self, submission: Submission) -> Answer:
        """Return the answer once it is durable.

        Raises `BacklogFull`, `Overloaded`, `DatabaseUnavailable`, `OutcomeUnknown`.
        """
        self._mind_backlog()
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        with self._news:
            if len(self._waiting) >= self._limit or self._closing:
                raise Overloaded
            entry = (submission, future, time.monotonic())
            self._waiting.append(entry)
            self._news.notify()
        try:
            async with asyncio.timeout(PATIENCE):
                return await future
        except TimeoutError:  # a connection that neither works nor breaks: what it was given may be stored yet
            raise (DatabaseUnavailable if self._withdraw(entry) else OutcomeUnknown) from None

    def _withdraw(self, entry: Waiting) -> bool:
        """Take back a submission of which no commit has begun; tell whether that was so."""
        with self._news:
            is_there = entry in self._waiting
            if is_there:
                self._waiting.remove(entry)
        return is_there

    def submit_alone(self, submission: Submission) -> Answer:
        """Commit one large submission in this thread, beside the groups. Raises what `submit` raises."""
        self._mind_backlog()
        quiet = self._quiet([submission])
        (answer,) = self._commit([submission], quiet)
        if isinstance(answer, DBAPIError):
            raise answer
        self._after_commit([submission], [answer], quiet)
        return answer

    def _mind_backlog(self) -> None:
        if self._is_backlog_full():
            raise BacklogFull

    def _is_backlog_full(self) -> bool:
        if not self._backlog.is_full:
            return False
        self._backlog.look()
        return True

    def close(self) -> None:
        """Commit what waits and stop."""
        with self._news:
            self._closing = True
            self._news.notify()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def _run(self) -> None:
        while group := self._next():
            self._pace.begin(len(group))
            is_stored = False
            try:
                submissions = [submission for submission, _, _ in group]
                quiet = self._quiet(submissions)
                answers = self._commit(submissions, quiet)
                is_stored = True
                reached("intake.answer")
                _resolve(group, answers)
                passed("intake.answer")
                self._after_commit(submissions, answers, quiet)
                self._pace.end()
            except Exception as error:
                self._pace.fail()
                if not isinstance(error, PenstockError):
                    log.exception("group_commit_failed", count=len(group))
                _resolve(group, [OutcomeUnknown() if is_stored else error] * len(group))

    def _next(self) -> list[Waiting]:
        with self._news:
            while not self._waiting and not self._closing:
                self._news.wait()
            if self._waiting:
                self._commit_wait.observe(time.monotonic() - self._waiting[0][2])
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), self._largest))]

    def _quiet(self, submissions: Sequence[Submission]) -> Collection[Kind]:
        """Return the kinds of jobs for which nobody rings now: their doorbells fill the broker already."""
        quiet = self._window.quiet(ready_kinds(job for submission in submissions for job in submission.jobs))
        if quiet:
            self._backlog.look()
        return quiet

    def _commit(
        self, submissions: Sequence[Submission], quiet: Collection[Kind], *, patient: bool = True
    ) -> list[Answer | DBAPIError]:
        """Commit a group; when something stands in the way of one, each alone, so that only that one is turned away.

        That is data which PostgreSQL refuses, or a key in the hands of a transaction that hangs: of an API that was
        paused, say, while its client already asks us.
        """
        is_alone = len(submissions) == 1
        try:
            return [*commit(self._engine, submissions, quiet, patient=patient and is_alone)]
        except DataError:
            if is_alone:
                field = {"field": "payload", "message": "holds a value that PostgreSQL cannot store"}
                return [InvalidPayload(errors=[field])]
        except DBAPIError as error:
            if not is_held(error):
                raise
            if is_alone:
                log.warning("submission_held_up", **_told(submissions[0]))
                return [error]
        return [self._commit([submission], quiet, patient=False)[0] for submission in submissions]

    def _after_commit(
        self, submissions: Sequence[Submission], answers: Sequence[Answer | DBAPIError], quiet: Collection[Kind]
    ) -> None:
        reached("dispatch.hand_over")
        self._ring(intake.doorbells([answer for answer in answers if isinstance(answer, Acceptance)], quiet))
        passed("dispatch.hand_over")
        self._size.observe(len(submissions))
        fresh = []
        for submission, answer in zip(submissions, answers, strict=True):
            if isinstance(answer, Acceptance):
                if answer.replayed:
                    self._replayed.inc()
                else:
                    fresh.append(submission)
        logs.info_each("jobs_accepted", [_told(submission) for submission in fresh])


def _told(submission: Submission) -> dict[str, Any]:
    first = submission.jobs[0]
    return {
        "request_id": first.request_id,
        "trace_id": logs.trace_id(first.traceparent),
        "tenant": first.tenant,
        "job_id": first.id,
        "task": first.task,
        "count": len(submission.jobs),
    }


def _resolve(group: Sequence[Waiting], answers: Sequence[Answer | Exception]) -> None:
    """Wake the waiting requests, so many at each turn of their event loop."""
    loop = group[0][1].get_loop()
    left = deque(zip(group, answers, strict=True))

    def wake() -> None:
        for _ in range(min(A_TURN, len(left))):
            (_, future, _), answer = left.popleft()
            if future.done():  # the client has left
                continue
            if isinstance(answer, Acceptance | RefusedError):
                future.set_result(answer)
            else:
                future.set_exception(answer)
        if left:
            loop.call_soon(wake)

    if not loop.is_closed():
        loop.call_soon_threadsafe(wake)
