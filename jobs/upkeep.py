"""What keeps jobs moving when nobody else does. Any number of processes may run it at once.

Each step takes a bounded number of rows with SKIP LOCKED and returns what dispatch has to ring; the caller
repeats a step whose answer was full.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Interval,
    Select,
    case,
    delete,
    func,
    literal,
    null,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB

from jobs.failpoints import passed, reached
from jobs.model import PRIORITIES, Doorbell, JobId, Taken, id_after
from jobs.partitions import BEFORE_ALL, HISTORY, deletion
from jobs.retry import CRASH_LIMIT
from jobs.state import FINAL, Event, JobState, Outcome, Reason
from jobs.tables import DUE, EXPIRING, LEASED, RUNG, UNRUNG, attempts, idempotency_keys, jobs
from jobs.transitions import NO_LEASE, TELLING, may, move, moved_to, told

BATCH: Final = 500
STRANDED_AFTER: Final = timedelta(seconds=10)
"""A doorbell that was rung this long ago and started nothing may have been lost."""

_clock = func.clock_timestamp()
# What an index is searched by must not change while the statement runs: the clock above would be looked at row by row.
_now = func.statement_timestamp()

#: Beside `TELLING`, what is told to people of a job that was taken.
_ABOUT: tuple[ColumnElement[Any], ...] = (
    jobs.c.task, jobs.c.queue, jobs.c.tenant, jobs.c.request_id, jobs.c.traceparent
)  # fmt: skip
_LOST: Final = {
    "type": "WorkerLost",
    "message": "The lease ran out: the worker died, hung or was cut off.",
    "trace": None,
}
_DOORBELL = (jobs.c.id, jobs.c.task, jobs.c.queue, jobs.c.priority)


def due_jobs(limit: int = BATCH) -> Select[Any]:
    """Return the query for jobs whose time has come."""
    return select(jobs.c.id).where(DUE, jobs.c.run_at <= _now).order_by(jobs.c.run_at).limit(limit)


def expired_leases(limit: int = BATCH) -> Select[Any]:
    """Return the query for jobs whose attempt is no longer thought alive."""
    return (
        select(jobs.c.id).where(LEASED, jobs.c.lease_expires_at < _now).order_by(jobs.c.lease_expires_at).limit(limit)
    )


def outdated_jobs(limit: int = BATCH) -> Select[Any]:
    """Return the query for waiting jobs that are not wanted any more."""
    return select(jobs.c.id).where(EXPIRING, jobs.c.expires_at <= _now).order_by(jobs.c.expires_at).limit(limit)


def unrung_jobs(queue: str, limit: int = BATCH, priority: int | None = None) -> Select[Any]:
    """Return the query for ready jobs of `queue` that no doorbell speaks of, the most urgent first."""
    query = select(jobs.c.id).where(UNRUNG, jobs.c.queue == queue)
    if priority is not None:
        query = query.where(jobs.c.priority == priority)
    return query.order_by(jobs.c.priority.desc(), jobs.c.run_at, jobs.c.id).limit(limit)


def unrung_priorities(queue: str, below: int | None = None) -> Select[Any]:
    """Return the query for the most urgent priority, `below` that one, of the jobs that no doorbell speaks of."""
    query = select(jobs.c.priority).where(UNRUNG, jobs.c.queue == queue)
    if below is not None:
        query = query.where(jobs.c.priority < below)
    return query.order_by(jobs.c.priority.desc()).limit(1)


def stranded_jobs(queue: str, limit: int = BATCH, after: timedelta = STRANDED_AFTER) -> Select[Any]:
    """Return the query for ready jobs of `queue` whose doorbell was rung and may have been lost.

    The most urgent first: nobody knows which doorbells were lost, and the turn of the others comes later anyway.
    """
    return _rung_long_ago(queue, after).order_by(jobs.c.priority.desc(), jobs.c.rung_at).limit(limit)


def oldest_rung(queue: str, after: timedelta = STRANDED_AFTER) -> Select[Any]:
    """Return the query for one job of those: whether there is any."""
    return _rung_long_ago(queue, after).order_by(jobs.c.rung_at).limit(1)


def _rung_long_ago(queue: str, after: timedelta) -> Select[Any]:
    return select(jobs.c.id).where(RUNG, jobs.c.queue == queue, jobs.c.rung_at < _now - literal(after, Interval))


def _locked(query: Select[Any]) -> Any:
    return query.with_for_update(skip_locked=True).cte("chosen")


def release_due(connection: Connection, limit: int = BATCH) -> int:
    """Queue the jobs whose `run_at` has come and return how many there were; nobody has rung for them yet."""
    moved = move(Event.ENQUEUE, _locked(due_jobs(limit)), rung_at=None).returning(*TELLING).cte("moved")
    return len(connection.execute(select(moved.c.id).add_cte(told(moved, Event.ENQUEUE).cte("told"))).all())


def rescue_lost(connection: Connection, limit: int = BATCH) -> list[Taken]:
    """Take jobs from attempts whose lease ran out, and return them; nobody has rung for those that go on.

    A job whose cancel was asked for is cancelled; one that lost its process for the third time fails.
    """
    chosen = _locked(expired_leases(limit))
    moved = (
        update(jobs)
        .where(jobs.c.id == chosen.c.id, may(Event.RESCUE))
        .values(_without_its_worker())
        .returning(*TELLING, *_ABOUT)
        .cte("moved")
    )
    ended = (
        update(attempts)
        .where(attempts.c.job_id == moved.c.id, attempts.c.number == moved.c.attempt)
        .values(finished_at=_clock, outcome=Outcome.LOST.value, error=literal(_LOST, JSONB))
        .cte("ended")
    )
    # The event is told by the state in which the job is now.
    names = {
        JobState.QUEUED.value: Event.RESCUE.value,
        JobState.FAILED.value: Event.FAIL.value,
        JobState.CANCELLED.value: Event.CANCEL.value,
    }
    telling = told(moved, case(names, value=moved.c.state), literal({"outcome": "lost"}, JSONB)).cte("told")
    return _taken(connection, _those(moved).add_cte(ended, telling))


def _without_its_worker() -> dict[str, Any]:
    """Return the values of the UPDATE of a job that lost its worker: it is queued again, or it ends."""
    crashed = jobs.c.crash_count + 1 >= CRASH_LIMIT
    unwanted = jobs.c.cancel_requested_at.is_not(None)
    state = case((unwanted, JobState.CANCELLED.value), (crashed, JobState.FAILED.value), else_=JobState.QUEUED.value)
    return (
        moved_to(Event.RESCUE)
        | NO_LEASE
        | {
            "state": state,
            "crash_count": jobs.c.crash_count + 1,
            "rung_at": None,
            "finished_at": case((unwanted | crashed, _clock), else_=null()),
            "error": literal(_LOST, JSONB),
            "reason": case((~unwanted & crashed, Reason.CRASHED.value), else_=null()),
        }
    )


def expire(connection: Connection, limit: int = BATCH) -> list[Taken]:
    """End waiting jobs whose `expires_at` has passed and return them."""
    statement = move(Event.EXPIRE, _locked(outdated_jobs(limit)), finished_at=_clock, rung_at=None)
    moved = statement.returning(*TELLING, *_ABOUT).cte("moved")
    return _taken(connection, _those(moved).add_cte(told(moved, Event.EXPIRE).cte("told")))


def _those(moved: CTE) -> Select[Any]:
    return select(moved.c.id, moved.c.attempt, moved.c.state, *(moved.c[column.name] for column in _ABOUT))


def _taken(connection: Connection, statement: Select[Any]) -> list[Taken]:
    rows = connection.execute(statement)
    return [Taken(job_id, number, JobState(state), *about) for job_id, number, state, *about in rows]


def claim_unrung(connection: Connection, queue: str, limit: int = BATCH, priority: int | None = None) -> list[Doorbell]:
    """Mark ready jobs of `queue` as rung and return them, the most urgent first; ring them after the commit."""
    return _mark_rung(connection, unrung_jobs(queue, limit, priority))


def may_ring(connection: Connection, queue: str) -> bool:
    """Tell whether nobody else fills the windows of `queue`, until this transaction ends: two would overfill them."""
    lock = func.pg_try_advisory_xact_lock(func.hashtextextended(f"penstock.ring.{queue}", 0))
    return bool(connection.scalar(select(lock)))


def most_urgent_unrung(connection: Connection, queue: str, below: int | None = None) -> int | None:
    """Return the highest priority, `below` that one, of which a ready job of `queue` was not rung; None: no job."""
    priority: int | None = connection.scalar(unrung_priorities(queue, below))
    return priority


def unrung_kinds(connection: Connection, queue: str) -> frozenset[int]:
    """Return the priorities of which a ready job of `queue` was not rung."""
    each = func.generate_series(PRIORITIES[0], PRIORITIES[-1]).column_valued("each")
    is_there = select(jobs.c.id).where(UNRUNG, jobs.c.queue == queue, jobs.c.priority == each).exists()
    return frozenset(connection.scalars(select(each).where(is_there)))


def count_unrung(connection: Connection, limit: int) -> int:
    """Return how many ready jobs no doorbell speaks of, counting no further than `limit`."""
    waiting = select(jobs.c.queue).where(UNRUNG).limit(limit).subquery()
    return connection.scalar(select(func.count()).select_from(waiting)) or 0


def claim_stranded(
    connection: Connection, queue: str, limit: int = BATCH, after: timedelta = STRANDED_AFTER
) -> list[Doorbell]:
    """Mark jobs whose doorbell may have been lost as rung anew and return them."""
    return _mark_rung(connection, stranded_jobs(queue, limit, after))


def _mark_rung(connection: Connection, query: Select[Any]) -> list[Doorbell]:
    chosen = _locked(query)
    rows = connection.execute(update(jobs).where(jobs.c.id == chosen.c.id).values(rung_at=_clock).returning(*_DOORBELL))
    # PostgreSQL returns them in whatever order its plan met them.
    return sorted((Doorbell(*row) for row in rows), key=lambda bell: (-bell.priority, bell.id))


def rung_by_priority(connection: Connection, queue: str, window: int) -> dict[int, int]:
    """Return how many ready jobs of `queue`, by priority, the broker should hold a doorbell of.

    Counts no further than twice what `window` doorbells for each priority allow.
    """
    most = 2 * window * len(PRIORITIES)
    held = select(jobs.c.priority).where(RUNG, jobs.c.queue == queue).limit(most).subquery()
    rows = connection.execute(select(held.c.priority, func.count()).group_by(held.c.priority))
    return {priority: count for priority, count in rows}  # noqa: C416 - dict() does not take rows for pairs


def mark_unrung(connection: Connection, ids: Sequence[JobId]) -> None:
    """Record that the doorbells of these jobs did not reach the broker: upkeep rings them when it is back."""
    ordered = select(jobs.c.id).where(jobs.c.id.in_(ids), RUNG).order_by(jobs.c.id).with_for_update().cte("ordered")
    connection.execute(update(jobs).where(jobs.c.id == ordered.c.id).values(rung_at=None))


def seconds_until_due(connection: Connection) -> float | None:
    """Return how long until the next waiting job is due, by the database's clock; None: no job waits."""
    until = func.extract("epoch", jobs.c.run_at - _clock)
    seconds = connection.scalar(select(until).where(DUE).order_by(jobs.c.run_at).limit(1))
    return None if seconds is None else float(seconds)


def prune(connection: Connection, *, keep: timedelta, limit: int = BATCH, after: JobId = BEFORE_ALL) -> list[JobId]:
    """Delete finished jobs older than `keep`, the oldest first, and return them; open dead letters are kept.

    Their history goes with them, or with its month (`jobs.partitions`), and cannot be read until then. Whoever goes on
    `after` the last of them does not go through what was kept or deleted again.
    """
    until = connection.scalars(select(_now - literal(keep, Interval))).one()
    old = (
        select(jobs.c.id)
        .where(
            jobs.c.id > after,
            jobs.c.id < id_after(until),  # no job finishes before it is made: the newer ones need no look
            jobs.c.state.in_(sorted(FINAL)),
            jobs.c.finished_at < until,
            (jobs.c.state != JobState.FAILED.value) | jobs.c.closed_at.is_not(None),
        )
        .order_by(jobs.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    ids = list(connection.scalars(old))
    if ids:
        deletions = [deletion(history, ids, keep) for history in HISTORY]
        for statement in (*deletions, delete(jobs).where(jobs.c.id.in_(ids))):
            reached("upkeep.prune.delete")
            connection.execute(statement)
            passed("upkeep.prune.delete")
    return ids


def prune_idempotency_keys(connection: Connection, limit: int = BATCH) -> int:
    """Delete keys whose promise has ended and return how many."""
    keys = idempotency_keys.c
    old = select(keys.tenant, keys.key).where(keys.expires_at <= _now).limit(limit).with_for_update(skip_locked=True)
    chosen = old.cte("old")
    done = connection.execute(delete(idempotency_keys).where(keys.tenant == chosen.c.tenant, keys.key == chosen.c.key))
    return done.rowcount
