"""An attempt's life: start, extend, finish. Each takes many; one is a batch of one.

The attempt's number is its fencing token: whatever an attempt writes is accepted only while the job is
running under that very number. All instants come from the database's clock.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    ARRAY,
    CTE,
    Connection,
    DateTime,
    Integer,
    Interval,
    RowMapping,
    Text,
    Uuid,
    and_,
    bindparam,
    case,
    exists,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB

from jobs.fencing import tell_fenced
from jobs.model import Attempt, JobId, Settlement
from jobs.state import TRANSITIONS, Event, JobState, Outcome, Reason
from jobs.tables import attempts, jobs, paused_queues
from jobs.transitions import NO_LEASE, TELLING, guard, may, moved_to, told

LEASE: Final = timedelta(seconds=30)

_lease = bindparam("lease", type_=Interval())
_clock = func.clock_timestamp()
RUNNING: Final = guard(jobs.c.state == JobState.RUNNING.value)
"""Stands in every statement of an attempt, beside the job's id."""


#: What an attempt is given of its job, beside its id and its own number.
_GIVEN: Final = (
    jobs.c.task,
    jobs.c.queue,
    jobs.c.priority,
    jobs.c.payload.cast(Text).label("payload"),
    jobs.c.error_count,
    jobs.c.crash_count,
    jobs.c.throttle_count,
    jobs.c.retry,
    jobs.c.time_limit_seconds,
    jobs.c.soft_time_limit_seconds,
    jobs.c.tenant,
    jobs.c.request_id,
    jobs.c.traceparent,
    jobs.c.created_at,
    jobs.c.run_at,
    jobs.c.started_at,
    jobs.c.lease_expires_at,
)


def _startable() -> CTE:
    """Return, locked, those of `ids` that an attempt may begin at."""
    ids = bindparam("ids", type_=ARRAY(Uuid()))
    return (
        select(jobs.c.id)
        .where(
            jobs.c.id == func.any(ids),
            may(Event.START),
            or_(jobs.c.expires_at.is_(None), jobs.c.expires_at > _clock),
            ~exists().where(paused_queues.c.queue == jobs.c.queue),
        )
        .order_by(jobs.c.id)
        .with_for_update(skip_locked=True)
        .cte("chosen")
    )


def _start_statement() -> Any:
    chosen = _startable()
    worker = bindparam("worker", type_=Text())
    moved = (
        update(jobs)
        .where(jobs.c.id == chosen.c.id)
        .values(
            moved_to(
                Event.START,
                attempt=jobs.c.attempt + 1,
                worker=worker,
                lease_expires_at=_clock + _lease,
                started_at=_clock,
                rung_at=None,
                progress=null(),  # None would be stored as the JSON value null
            )
        )
        .returning(*TELLING, *_GIVEN)
        .cte("moved")
    )
    begun = (
        insert(attempts)
        .from_select(
            ["job_id", "number", "worker", "started_at"],
            select(moved.c.id, moved.c.attempt, worker, moved.c.started_at),
        )
        .cte("begun")
    )
    facts = func.jsonb_build_object(literal("worker", Text), worker)
    return select(moved).add_cte(begun, told(moved, Event.START, facts).cte("told"))


_START: Final = _start_statement()


def start(connection: Connection, ids: Sequence[JobId], *, worker: str, lease: timedelta = LEASE) -> list[Attempt]:
    """Begin an attempt at each of `ids` that is queued and return those attempts.

    A job that is missing from the answer was started by someone else, cancelled, has expired, or waits in a
    paused queue: its doorbell needs no further thought.
    """
    rows = connection.execute(_START, {"ids": list(ids), "worker": worker, "lease": lease}).mappings()
    return [_attempt(row) for row in rows]


def _attempt(row: RowMapping) -> Attempt:
    return Attempt(
        job_id=row["id"],
        number=row["attempt"],
        task=row["task"],
        queue=row["queue"],
        priority=row["priority"],
        payload=row["payload"],
        error_count=row["error_count"],
        crash_count=row["crash_count"],
        throttle_count=row["throttle_count"],
        retry=row["retry"],
        time_limit_seconds=row["time_limit_seconds"],
        soft_time_limit_seconds=row["soft_time_limit_seconds"],
        tenant=row["tenant"],
        request_id=row["request_id"],
        traceparent=row["traceparent"],
        created_at=row["created_at"],
        run_at=row["run_at"],
        started_at=row["started_at"],
        lease_expires_at=row["lease_expires_at"],
    )


class Held(NamedTuple):
    """An attempt that is still ours, and whether someone asks for its end."""

    job_id: JobId
    number: int
    cancel_requested: bool


def _pairs() -> Any:
    ids, numbers = bindparam("ids", type_=ARRAY(Uuid())), bindparam("numbers", type_=ARRAY(Integer()))
    return func.unnest(ids, numbers).table_valued("id", "number", name="mine").render_derived()


def _extend_statement() -> Any:
    mine = _pairs()
    locked = (
        select(jobs.c.id)
        .join(mine, and_(jobs.c.id == mine.c.id, jobs.c.attempt == mine.c.number))
        .where(RUNNING)
        .order_by(jobs.c.id)
        # One row that somebody holds for long must not cost the others their leases.
        .with_for_update(of=jobs, skip_locked=True)
        .cte("locked")
    )
    return (
        update(jobs)
        .where(jobs.c.id == locked.c.id)
        .values(lease_expires_at=_clock + _lease)
        .returning(jobs.c.id, jobs.c.attempt, jobs.c.cancel_requested_at.is_not(None))
    )


_EXTEND: Final = _extend_statement()


def extend(connection: Connection, held: Sequence[tuple[JobId, int]], *, lease: timedelta = LEASE) -> list[Held]:
    """Prolong the leases of the attempts that are still theirs; one that is missing was fenced and must stop.

    A row that somebody else has locked is passed over this time, and its attempt is still among the answers.
    """
    rows = connection.execute(
        _EXTEND, {"ids": [job for job, _ in held], "numbers": [number for _, number in held], "lease": lease}
    )
    extended = [Held(*row) for row in rows]
    done = {(one.job_id, one.number) for one in extended}
    passed_over = [one for one in held if tuple(one) not in done]
    return extended + (look(connection, passed_over) if passed_over else [])


def _look_statement() -> Any:
    mine = _pairs()
    return (
        select(jobs.c.id, jobs.c.attempt, jobs.c.cancel_requested_at.is_not(None))
        .join(mine, and_(jobs.c.id == mine.c.id, jobs.c.attempt == mine.c.number))
        .where(RUNNING)
    )


_LOOK: Final = _look_statement()


def look(connection: Connection, held: Sequence[tuple[JobId, int]]) -> list[Held]:
    """Tell which of these attempts still hold their job, and write nothing."""
    rows = connection.execute(_LOOK, {"ids": [job for job, _ in held], "numbers": [number for _, number in held]})
    return [Held(*row) for row in rows]


def begun(connection: Connection, which: Sequence[tuple[JobId, int]]) -> dict[tuple[JobId, int], datetime]:
    """Return when these attempts began, those of them that are kept."""
    asked = tuple_(attempts.c.job_id, attempts.c.number).in_(which)
    rows = connection.execute(select(attempts.c.job_id, attempts.c.number, attempts.c.started_at).where(asked))
    return {(job_id, number): at for job_id, number, at in rows}


def progress(connection: Connection, job_id: JobId, number: int, report: Mapping[str, Any]) -> bool:
    """Store how far the attempt has come; False: it was fenced."""
    changed = connection.execute(
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.attempt == number, RUNNING)
        .values(progress=dict(report), version=jobs.c.version + 1)
    )
    return changed.rowcount == 1


#: What a finishing attempt may do to its job. What would give the job back is a cancel when one was asked for, and so
#: is the loss of its last process. A task's own error stands.
_FINISHING: Final = (Event.SUCCEED, Event.RETRY, Event.FAIL, Event.RELEASE, Event.RESCUE, Event.CANCEL)
_YIELDS_TO_CANCEL: Final = (Event.RETRY, Event.RELEASE, Event.RESCUE)
_FINISH_ARRAYS: Final[dict[str, Any]] = {
    "id": Uuid(),
    "number": Integer(),
    "event": Text(),
    "outcome": Text(),
    "result": Text(),
    "error": Text(),
    "reason": Text(),
    "retry_in": Interval(),
}


def _finish_statement() -> Any:
    arrays = [bindparam(f"{name}s", type_=ARRAY(kind)) for name, kind in _FINISH_ARRAYS.items()]
    given = func.unnest(*arrays).table_valued(*_FINISH_ARRAYS, name="given").render_derived()
    may_yield = or_(
        given.c.event.in_([e.value for e in _YIELDS_TO_CANCEL]),
        and_(given.c.event == Event.FAIL.value, given.c.reason == Reason.CRASHED.value),
    )
    yields = and_(jobs.c.cancel_requested_at.is_not(None), may_yield)
    event = case((yields, Event.CANCEL.value), else_=given.c.event)
    locked = (
        select(
            jobs.c.id,
            given.c.number,
            event.label("event"),
            case((yields, Outcome.CANCELLED.value), else_=given.c.outcome).label("outcome"),
            given.c.result.cast(JSONB).label("result"),
            given.c.error.cast(JSONB).label("error"),
            given.c.reason,
            given.c.retry_in,
        )
        .join(given, and_(jobs.c.id == given.c.id, jobs.c.attempt == given.c.number))
        .where(RUNNING)
        .order_by(jobs.c.id)
        .with_for_update(of=jobs)
        .cte("locked")
    )
    moved = _moved_by(locked)
    ended = (
        update(attempts)
        .where(attempts.c.job_id == moved.c.id, attempts.c.number == moved.c.attempt)
        .values(finished_at=_clock, outcome=moved.c.outcome, error=moved.c.attempt_error)
        .cte("ended")
    )
    facts = func.jsonb_strip_nulls(
        func.jsonb_build_object(literal("outcome", Text), moved.c.outcome, literal("reason", Text), moved.c.reason)
    )
    return select(moved.c.id, moved.c.attempt, moved.c.state).add_cte(
        ended, told(moved, moved.c.event, facts).cte("told")
    )


def _moved_by(locked: Any) -> Any:
    """Return the UPDATE of the jobs of `locked`, each by its own event, as a CTE."""
    event = locked.c.event
    targets = {e.value: TRANSITIONS[e].target.value for e in _FINISHING}
    final = event.in_(
        [e.value for e in _FINISHING if TRANSITIONS[e].target not in {JobState.RETRYING, JobState.QUEUED}]
    )
    counts = locked.c.outcome.in_([Outcome.ERRORED.value, Outcome.TIMED_OUT.value])
    put_off = and_(event == Event.RETRY.value, locked.c.outcome == Outcome.INTERRUPTED.value)
    return (
        update(jobs)
        .where(jobs.c.id == locked.c.id)
        .values(
            state=case(targets, value=event),
            event_count=jobs.c.event_count + 1,
            version=jobs.c.version + 1,
            finished_at=case((final, _clock), else_=null().cast(DateTime(timezone=True))),
            run_at=case((event == Event.RETRY.value, _clock + locked.c.retry_in), else_=jobs.c.run_at),
            error_count=jobs.c.error_count + case((counts, 1), else_=0),
            crash_count=jobs.c.crash_count + case((locked.c.outcome == Outcome.LOST.value, 1), else_=0),
            throttle_count=jobs.c.throttle_count + case((put_off, 1), else_=0),
            result=locked.c.result,
            error=func.coalesce(locked.c.error, case((event == Event.SUCCEED.value, null()), else_=jobs.c.error)),
            reason=case((event == Event.FAIL.value, locked.c.reason), else_=null()),
            **NO_LEASE,
        )
        .returning(*TELLING, locked.c.event, locked.c.outcome, jobs.c.reason, locked.c.error.label("attempt_error"))
        .cte("moved")
    )


_FINISH: Final = _finish_statement()


class Settled(NamedTuple):
    """An attempt's end that was accepted, and where that left the job."""

    job_id: JobId
    number: int
    state: JobState


def finish(connection: Connection, settlements: Sequence[Settlement]) -> list[Settled]:
    """Apply each verdict to its job and return those that were accepted.

    One that is missing from the answer was fenced: a later attempt has begun, or the job has left
    `running`. That is kept as an event of the job, so that its history shows it.
    """
    verdicts = [settlement.verdict for settlement in settlements]
    rows = connection.execute(
        _FINISH,
        {
            "ids": [settlement.job_id for settlement in settlements],
            "numbers": [settlement.number for settlement in settlements],
            "events": [verdict.event.value for verdict in verdicts],
            "outcomes": [verdict.outcome.value for verdict in verdicts],
            "results": [verdict.result for verdict in verdicts],
            "errors": [json.dumps(v.failure.as_json()) if v.failure else None for v in verdicts],
            "reasons": [verdict.reason.value if verdict.reason else None for verdict in verdicts],
            "retry_ins": [verdict.retry_in for verdict in verdicts],
        },
    )
    accepted = [Settled(job_id, number, JobState(state)) for job_id, number, state in rows]
    if len(accepted) != len(settlements):
        done = {(settled.job_id, settled.number) for settled in accepted}
        for settlement in settlements:
            if (settlement.job_id, settlement.number) not in done:
                tell_fenced(connection, settlement)
    return accepted


def strays(connection: Connection, ids: Collection[JobId], *, worker: str) -> list[tuple[JobId, int]]:
    """Return which of `ids` are running in the name of `worker`, with their attempt's number.

    After a start whose answer was cut off, these were started and nobody runs them.
    """
    query = select(jobs.c.id, jobs.c.attempt).where(jobs.c.id.in_(ids), RUNNING, jobs.c.worker == worker)
    return [(job_id, number) for job_id, number in connection.execute(query)]


def unlocked(connection: Connection, ids: Collection[JobId]) -> list[JobId]:
    """Return which of `ids` no transaction in progress has locked; one whose row is gone is among them.

    Every statement that moved such a job is over by then, its COMMIT too: what it did is seen from now on.
    """
    rows = select(jobs.c.id).where(jobs.c.id.in_(ids))
    free = set(connection.scalars(rows.order_by(jobs.c.id).with_for_update(skip_locked=True)))
    there = set(connection.scalars(rows)) if len(free) < len(ids) else free
    return [job_id for job_id in ids if job_id in free or job_id not in there]
