"""What was decided about the instants of schedules: writing it, reading it, and forgetting it in time."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import pydantic_core
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Interval,
    Text,
    Uuid,
    bindparam,
    column,
    delete,
    func,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.dialects.postgresql import insert as upsert

from jobs.errors import NotFound
from jobs.model import JobId, id_after
from jobs.planning.model import Occurrence, ScheduleId
from jobs.planning.words import Decision, Why
from jobs.tables import occurrences

Row = Mapping[str, Any]

#: In which an instant of a schedule is unique: the condition of its index, word for word.
ONCE: Final = text("decision IN ('fired', 'waiting')")
_COLUMNS: Final = (
    "id",
    "schedule_id",
    "instant",
    "through_at",
    "count",
    "decision",
    "reason",
    "detail",
    "job_id",
    "decided_at",
)
#: As in the partial index, word for word.
_WAITING: Final = text("decision = 'waiting'")
#: What is shown of an occurrence.
SHOWN: Final = tuple(occurrences.c[name] for name in _COLUMNS if name != "schedule_id")
Filed = tuple[ScheduleId, Occurrence]


def _record_statement() -> Any:
    rows = func.json_to_recordset(bindparam("rows", type_=Text()).cast(JSON))
    new = rows.table_valued(*(column(name, occurrences.c[name].type) for name in _COLUMNS), name="new")
    new = new.render_derived(with_types=True)
    statement = upsert(occurrences).from_select(list(_COLUMNS), select(*(new.c[name] for name in _COLUMNS)))
    once = statement.on_conflict_do_nothing(index_elements=["schedule_id", "instant"], index_where=ONCE)
    return once.returning(occurrences.c.id)


_RECORD: Final = _record_statement()


def record(connection: Connection, filed: Sequence[Filed], now: datetime) -> set[UUID]:
    """Write decisions made at `now`; return the ids of those that were written.

    Left out is what would bring a second job for an instant, such as one that a backfill has fired before its time.
    """
    if not filed:
        return set()
    rows = [_row(schedule_id, one, now) for schedule_id, one in filed]
    return set(connection.scalars(_RECORD, {"rows": pydantic_core.to_json(rows).decode()}))


def _row(schedule_id: ScheduleId, one: Occurrence, now: datetime) -> dict[str, Any]:
    own = {name: getattr(one, name) for name in _COLUMNS if name not in {"schedule_id", "decided_at"}}
    return own | {"schedule_id": schedule_id, "decided_at": now}


_AMEND: Final = (
    update(occurrences)
    .where(occurrences.c.id == bindparam("occurrence"))
    .values({name: bindparam(f"new_{name}") for name in ("decision", "reason", "detail", "job_id", "decided_at")})
)


def amend(connection: Connection, changed: Sequence[Occurrence], now: datetime) -> None:
    """Write what became at `now` of occurrences that were recorded before."""
    if changed:
        connection.execute(_AMEND, [_amended(one, now) for one in changed])


def _amended(one: Occurrence, now: datetime) -> dict[str, Any]:
    values = {name: getattr(one, name) for name in ("decision", "reason", "detail", "job_id")}
    return {f"new_{name}": value for name, value in values.items()} | {"occurrence": one.id, "new_decided_at": now}


def end_waiting(connection: Connection, schedule_id: ScheduleId, now: datetime, reason: Why) -> None:
    """Have nothing wait for this schedule any more, and record why."""
    skipped = {"decision": Decision.SKIPPED.value, "reason": reason.value, "decided_at": now}
    connection.execute(update(occurrences).where(occurrences.c.schedule_id == schedule_id, _WAITING).values(skipped))


def latest_jobs(connection: Connection, schedule_id: ScheduleId, limit: int) -> list[JobId]:
    """Return the jobs of the newest instants that were fired."""
    query = (
        select(occurrences.c.job_id)
        .where(occurrences.c.schedule_id == schedule_id, occurrences.c.job_id.is_not(None))
        .order_by(occurrences.c.instant.desc(), occurrences.c.id.desc())
        .limit(limit)
    )
    return list(connection.scalars(query))


def taken(connection: Connection, schedule_id: ScheduleId, first: datetime, last: datetime) -> dict[datetime, Row]:
    """Return the occurrences between two instants, both included, that have a job or wait for one, by instant."""
    of_these = (occurrences.c.schedule_id == schedule_id, occurrences.c.instant.between(first, last), ONCE)
    rows = connection.execute(select(*SHOWN).where(*of_these)).mappings()
    return {row["instant"]: row for row in rows}  # type: ignore[misc]  # SQLAlchemy's RowMapping is a Mapping keyed by str


def by_instant(connection: Connection, ids: Sequence[UUID]) -> dict[datetime, Row]:
    """Return these occurrences of one schedule by their instants."""
    named = occurrences.c.id == func.any(bindparam("ids", list(ids), type_=ARRAY(Uuid())))
    rows = connection.execute(select(*SHOWN).where(named)).mappings()
    return {row["instant"]: row for row in rows}  # type: ignore[misc]  # as in `taken`


def one(connection: Connection, occurrence_id: UUID) -> Row:
    """Return an occurrence that was just recorded."""
    query = select(*SHOWN).where(occurrences.c.id == occurrence_id)
    return connection.execute(query).mappings().one()  # type: ignore[return-value]  # as in `taken`


def is_waiting(connection: Connection, schedule_id: ScheduleId) -> bool:
    """Tell whether an instant of the schedule waits for its predecessor's job."""
    query = select(occurrences.c.id).where(occurrences.c.schedule_id == schedule_id, _WAITING)
    return connection.scalar(query) is not None


def of_job(connection: Connection, schedule_id: ScheduleId, job_id: JobId) -> Row:
    """Return the occurrence that made this job. Raises `NotFound`."""
    return _newest(connection, occurrences.c.schedule_id == schedule_id, occurrences.c.job_id == job_id)


def of_id(connection: Connection, schedule_id: ScheduleId, occurrence_id: UUID) -> Row:
    """Return an occurrence of the schedule. Raises `NotFound`."""
    return _newest(connection, occurrences.c.schedule_id == schedule_id, occurrences.c.id == occurrence_id)


def _newest(connection: Connection, *of_this: ColumnElement[bool]) -> Row:
    query = select(*SHOWN).where(*of_this).order_by(occurrences.c.id.desc()).limit(1)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFound("What was decided then is not kept any more.")
    return row  # type: ignore[return-value]  # as in `taken`


def prune(connection: Connection, *, keep: timedelta, limit: int) -> int:
    """Delete what was decided longer ago than `keep`, except what still waits, and return how much that was."""
    until = connection.scalars(select(func.statement_timestamp() - literal(keep, Interval))).one()
    old = (
        select(occurrences.c.id)
        .where(
            occurrences.c.id < id_after(until),
            occurrences.c.decided_at < until,
            occurrences.c.decision != Decision.WAITING.value,
        )
        .order_by(occurrences.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return connection.execute(delete(occurrences).where(occurrences.c.id.in_(old))).rowcount
