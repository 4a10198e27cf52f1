"""What people may do to a job that exists: cancel, retry, replay, discard."""

from typing import Any

from sqlalchemy import Connection, Text, func, literal, select, update
from sqlalchemy.exc import IntegrityError

from jobs.errors import NotFound, StaleTransition, UniqueKeyTaken
from jobs.model import DEFAULT_TENANT, Doorbell, JobId, NewJob
from jobs.state import FINAL, TRANSITIONS, WAITING, Event, JobState
from jobs.tables import jobs
from jobs.transitions import TELLING, may, moved_to, told


def _apply(connection: Connection, statement: Any, name: str, facts: Any = None) -> JobState | None:
    """Run one guarded UPDATE with its event; None: the guard held it back."""
    moved = statement.returning(*TELLING).cte("moved")
    state = connection.scalar(select(moved.c.state).add_cte(told(moved, name, facts).cte("told")))
    return JobState(state) if state else None


def _mine(job_id: JobId, tenant: str) -> Any:
    return (jobs.c.id == job_id) & (jobs.c.tenant == tenant)


def _found(connection: Connection, job_id: JobId, tenant: str) -> JobState:
    state = connection.scalar(select(jobs.c.state).where(_mine(job_id, tenant)).with_for_update())
    if state is None:
        raise NotFound(f"There is no job {job_id}.")
    return JobState(state)


def cancel(connection: Connection, job_id: JobId, *, tenant: str = DEFAULT_TENANT) -> JobState:
    """Cancel the job and return its state: `cancelled` when it waited, `running` when its worker must now end it.

    Asking again changes nothing. Raises `NotFound`, or `StaleTransition` when the job has finished otherwise.
    """
    state = _found(connection, job_id, tenant)
    if state is JobState.CANCELLED:
        return state
    if state in FINAL:
        raise StaleTransition(f"The job has already {state}.", state=state)
    if state in WAITING:
        clock = func.clock_timestamp()
        statement = (
            update(jobs)
            .where(_mine(job_id, tenant), may(Event.CANCEL))
            .values(moved_to(Event.CANCEL, finished_at=clock, cancel_requested_at=clock, rung_at=None))
        )
        return _apply(connection, statement, Event.CANCEL) or state
    request = (
        update(jobs)
        .where(_mine(job_id, tenant), jobs.c.cancel_requested_at.is_(None))
        .values(
            cancel_requested_at=func.clock_timestamp(),
            event_count=jobs.c.event_count + 1,
            version=jobs.c.version + 1,
        )
    )
    _apply(connection, request, "cancel_requested")
    return state


def retry(connection: Connection, job_id: JobId, *, tenant: str = DEFAULT_TENANT) -> Doorbell:
    """Send the same job to work again, its counts begun anew, and return what dispatch must ring.

    Raises `NotFound`, `StaleTransition` from a state that has no way back, `UniqueKeyTaken` when another
    unfinished job took its unique key meanwhile.
    """
    state = _found(connection, job_id, tenant)
    clock = func.clock_timestamp()
    statement = (
        update(jobs)
        .where(_mine(job_id, tenant), may(Event.REDRIVE))
        .values(
            moved_to(
                Event.REDRIVE,
                run_at=clock,
                rung_at=clock,
                finished_at=None,
                closed_at=None,
                expires_at=None,
                cancel_requested_at=None,
                reason=None,
                error_count=0,
                crash_count=0,
                throttle_count=0,
            )
        )
    )
    try:
        moved = _apply(connection, statement, Event.REDRIVE)
    except IntegrityError as error:
        raise UniqueKeyTaken from error
    if moved is None:
        allowed = ", ".join(sorted(TRANSITIONS[Event.REDRIVE].sources))
        raise StaleTransition(f"The job is {state}; only {allowed} jobs can be retried.", state=state)
    row = connection.execute(select(jobs.c.task, jobs.c.queue, jobs.c.priority).where(jobs.c.id == job_id)).one()
    return Doorbell(job_id, *row)


def copy(connection: Connection, job_id: JobId, *, tenant: str = DEFAULT_TENANT, **changes: Any) -> NewJob:
    """Return a new job like the finished one, with its lineage, for `jobs.intake` to accept.

    Raises `NotFound`, or `StaleTransition` while the job has not finished.
    """
    state = _found(connection, job_id, tenant)
    if state not in FINAL:
        raise StaleTransition(f"The job is {state}; only finished jobs can be replayed.", state=state)
    row = (
        connection.execute(
            select(
                jobs.c.task,
                jobs.c.payload.cast(Text).label("payload"),
                jobs.c.queue,
                jobs.c.priority,
                jobs.c.tags,
                jobs.c.unique_key,
                jobs.c.retry.cast(Text).label("retry"),
                jobs.c.time_limit_seconds,
                jobs.c.soft_time_limit_seconds,
                jobs.c.tenant,
            ).where(jobs.c.id == job_id)
        )
        .mappings()
        .one()
    )
    facts: dict[str, Any] = dict(row) | {"tags": tuple(row["tags"])} | changes
    return NewJob(**facts, replay_of=job_id)


def close(
    connection: Connection, job_id: JobId, *, tenant: str = DEFAULT_TENANT, replayed_as: JobId | None = None
) -> None:
    """Take a dead letter off the list, because it was replayed or because it is not wanted any more.

    The job stays failed and readable. Raises `NotFound` when there is no such open dead letter.
    """
    statement = (
        update(jobs)
        .where(_mine(job_id, tenant), jobs.c.state == JobState.FAILED.value, jobs.c.closed_at.is_(None))
        .values(closed_at=func.clock_timestamp(), event_count=jobs.c.event_count + 1, version=jobs.c.version + 1)
    )
    facts = func.jsonb_build_object(literal("replayed_as", Text), str(replayed_as)) if replayed_as else None
    if _apply(connection, statement, "replayed" if replayed_as else "discarded", facts) is None:
        raise NotFound(f"There is no open dead letter {job_id}.")
