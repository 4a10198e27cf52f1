"""Every read that people make. Lists go by keyset, newest first, and never count or skip."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, Select, Text, literal, select, text
from sqlalchemy.dialects.postgresql import ARRAY

from jobs import cursors
from jobs.errors import NotFound
from jobs.model import DEFAULT_TENANT, JobId, id_after, id_before
from jobs.state import JobState, Reason
from jobs.tables import OPEN_DEAD_LETTER, attempts, events, job_logs, jobs

Row = Mapping[str, Any]

MAX_PAGE: Final = 200

#: What a list shows of a job: everything but the parts that can be large.
SUMMARY: Final = (
    jobs.c.id,
    jobs.c.task,
    jobs.c.queue,
    jobs.c.priority,
    jobs.c.state,
    jobs.c.tags,
    jobs.c.unique_key,
    jobs.c.attempt,
    jobs.c.error_count,
    jobs.c.crash_count,
    jobs.c.created_at,
    jobs.c.run_at,
    jobs.c.expires_at,
    jobs.c.started_at,
    jobs.c.finished_at,
    jobs.c.cancel_requested_at,
    jobs.c.worker,
    jobs.c.reason,
    jobs.c.replay_of,
    jobs.c.version,
)
DETAIL: Final = (
    *SUMMARY,
    jobs.c.payload,
    jobs.c.progress,
    jobs.c.result,
    jobs.c.error,
    jobs.c.retry,
    jobs.c.time_limit_seconds,
    jobs.c.soft_time_limit_seconds,
    jobs.c.submitter,
    jobs.c.request_id,
    jobs.c.traceparent,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which jobs a list shows; what is None does not narrow it."""

    state: JobState | None = None
    queue: str | None = None
    task: str | None = None
    tag: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows, and where the next ones begin; None: there are no more."""

    rows: Sequence[Row]
    next_cursor: str | None


def job(connection: Connection, job_id: JobId, *, tenant: str = DEFAULT_TENANT) -> Row:
    """Return all that is known of one job. Raises `NotFound`."""
    query = select(*DETAIL).where(jobs.c.id == job_id, jobs.c.tenant == tenant)
    found = connection.execute(query).mappings().one_or_none()
    if found is None:
        raise NotFound(f"There is no job {job_id}.")
    return found  # type: ignore[return-value]  # SQLAlchemy's RowMapping is a Mapping keyed by str or column


def versions(connection: Connection, ids: Sequence[JobId]) -> dict[JobId, tuple[int, JobState]]:
    """Return the version and the state of each of `ids`, in one look; unknown ids are left out."""
    rows = connection.execute(select(jobs.c.id, jobs.c.version, jobs.c.state).where(jobs.c.id.in_(ids)))
    return {job_id: (version, JobState(state)) for job_id, version, state in rows}


def list_query(wanted: Filter, *, tenant: str, limit: int, before: JobId | None = None) -> Select[Any]:
    """Return the query for the newest jobs that match, older than `before`."""
    query = select(*SUMMARY).where(jobs.c.tenant == tenant).order_by(jobs.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(jobs.c.id < before)
    for column, value in ((jobs.c.state, wanted.state), (jobs.c.queue, wanted.queue), (jobs.c.task, wanted.task)):
        if value is not None:
            query = query.where(column == str(value))
    if wanted.tag is not None:
        # The second condition, written as in the index, lets the planner use the partial index on tags.
        query = query.where(jobs.c.tags.contains(literal([wanted.tag], ARRAY(Text))), text("tags <> '{}'"))
    if wanted.created_after is not None:
        # The bounds on the id spare the look at all that is older, or newer: ids sort by time.
        query = query.where(jobs.c.created_at > wanted.created_after, jobs.c.id > id_before(wanted.created_after))
    if wanted.created_before is not None:
        query = query.where(jobs.c.created_at < wanted.created_before, jobs.c.id < id_after(wanted.created_before))
    return query


def list_jobs(
    connection: Connection,
    wanted: Filter,
    *,
    tenant: str = DEFAULT_TENANT,
    limit: int = 50,
    cursor: str | None = None,
) -> Page:
    """Return a page of jobs, newest first. Raises `InvalidCursor`."""
    scope = _scope("jobs", tenant, wanted)
    query = list_query(wanted, tenant=tenant, limit=limit + 1, before=_read_cursor(cursor, scope))
    return _page(connection, query, limit, scope)


def dead_letters_query(
    *, tenant: str, limit: int, before: JobId | None = None, task: str | None = None, reason: Reason | None = None
) -> Select[Any]:
    """Return the query for open dead letters, newest first."""
    query = (
        select(*SUMMARY, jobs.c.error)
        .where(jobs.c.tenant == tenant, OPEN_DEAD_LETTER)
        .order_by(jobs.c.id.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(jobs.c.id < before)
    if task is not None:
        query = query.where(jobs.c.task == task)
    if reason is not None:
        query = query.where(jobs.c.reason == reason.value)
    return query


def dead_letters(
    connection: Connection,
    *,
    tenant: str = DEFAULT_TENANT,
    limit: int = 50,
    cursor: str | None = None,
    task: str | None = None,
    reason: Reason | None = None,
) -> Page:
    """Return a page of the failed jobs that nobody has replayed or discarded. Raises `InvalidCursor`."""
    scope = _scope("dead-letters", tenant, task, reason)
    before = _read_cursor(cursor, scope)
    query = dead_letters_query(tenant=tenant, limit=limit + 1, before=before, task=task, reason=reason)
    return _page(connection, query, limit, scope)


def attempts_of(connection: Connection, job_id: JobId, *, tenant: str = DEFAULT_TENANT) -> Sequence[Row]:
    """Return the attempts of one job in their order. Raises `NotFound`."""
    _must_exist(connection, job_id, tenant)
    columns = [attempts.c[name] for name in ("number", "worker", "started_at", "finished_at", "outcome", "error")]
    query = select(*columns).where(attempts.c.job_id == job_id).order_by(attempts.c.number)
    return connection.execute(query).mappings().all()  # type: ignore[return-value]  # as in `job`


def events_of(
    connection: Connection, job_id: JobId, *, tenant: str = DEFAULT_TENANT, after: int = 0, limit: int = 1000
) -> Sequence[Row]:
    """Return what happened to one job, in order, from the event after number `after`. Raises `NotFound`."""
    _must_exist(connection, job_id, tenant)
    columns = [events.c[name] for name in ("seq", "at", "name", "state", "attempt", "facts")]
    query = select(*columns).where(events.c.job_id == job_id, events.c.seq > after).order_by(events.c.seq).limit(limit)
    return connection.execute(query).mappings().all()  # type: ignore[return-value]  # as in `job`


def logs_of(
    connection: Connection, job_id: JobId, *, tenant: str = DEFAULT_TENANT, after: int = 0, limit: int = 1000
) -> Sequence[Row]:
    """Return what the task of one job logged, in order, from the line after number `after`. Raises `NotFound`."""
    _must_exist(connection, job_id, tenant)
    columns = [job_logs.c[name] for name in ("seq", "at", "attempt", "level", "event", "facts")]
    lines = select(*columns).where(job_logs.c.job_id == job_id, job_logs.c.seq > after)
    return connection.execute(lines.order_by(job_logs.c.seq).limit(limit)).mappings().all()  # type: ignore[return-value]  # as in `job`


def _must_exist(connection: Connection, job_id: JobId, tenant: str) -> None:
    if connection.scalar(select(jobs.c.id).where(jobs.c.id == job_id, jobs.c.tenant == tenant)) is None:
        raise NotFound(f"There is no job {job_id}.")


def _page(connection: Connection, query: Select[Any], limit: int, scope: str) -> Page:
    rows = connection.execute(query).mappings().all()
    shown = rows[:limit]
    more = len(rows) > limit
    return Page(shown, _write_cursor(shown[-1]["id"], scope) if more else None)  # type: ignore[arg-type]  # as in `job`


def _scope(*parts: object) -> str:
    return cursors.scope(*(asdict(part) if isinstance(part, Filter) else part for part in parts))


def _write_cursor(last: JobId, scope: str) -> str:
    return cursors.write(last.hex, scope)


def _read_cursor(cursor: str | None, scope: str) -> JobId | None:
    last = cursors.read(cursor, scope)
    return None if last is None else UUID(hex=last)
