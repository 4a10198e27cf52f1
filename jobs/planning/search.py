"""Lists of schedules, and of what was decided about one. By keyset: never counted, never skipped over."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, select, tuple_

from jobs import cursors
from jobs.errors import NotFound
from jobs.model import DEFAULT_TENANT
from jobs.planning import store
from jobs.planning.history import SHOWN
from jobs.planning.model import Schedule, ScheduleId
from jobs.planning.words import Decision, Source
from jobs.search import Page
from jobs.tables import occurrences, schedules


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which schedules a list shows; what is None does not narrow it."""

    task: str | None = None
    source: Source | None = None
    paused: bool | None = None


def list_schedules(
    connection: Connection,
    wanted: Filter,
    *,
    tenant: str = DEFAULT_TENANT,
    limit: int = 50,
    cursor: str | None = None,
) -> tuple[Sequence[Schedule], str | None]:
    """Return some schedules in the order of their names, and the next cursor. Raises `InvalidCursor`."""
    scope = cursors.scope("schedules", tenant, asdict(wanted))
    alive = (schedules.c.tenant == tenant, schedules.c.deleted_at.is_(None))
    query = store.query().where(*alive).order_by(schedules.c.name).limit(limit + 1)
    last = cursors.read(cursor, scope)
    if last is not None:
        query = query.where(schedules.c.name > last)
    if wanted.task is not None:
        query = query.where(schedules.c.task == wanted.task)
    if wanted.source is not None:
        query = query.where(schedules.c.source == wanted.source.value)
    if wanted.paused is not None:
        query = query.where(schedules.c.paused_at.is_not(None) == wanted.paused)
    found = [store.read(row) for row in connection.execute(query).mappings()]
    shown = found[:limit]
    return shown, cursors.write(shown[-1].name, scope) if len(found) > limit else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Which occurrences a list shows; what is None does not narrow it."""

    decision: Decision | None = None
    first: datetime | None = None
    """Those whose instants are all before it are left out."""
    last: datetime | None = None


def occurrences_query(
    schedule_id: ScheduleId, wanted: Span, *, limit: int, before: tuple[datetime, UUID] | None = None
) -> Select[Any]:
    """Return the query for the occurrences with the latest instants, before that of `before`."""
    order = (occurrences.c.instant.desc(), occurrences.c.id.desc())
    query = select(*SHOWN).where(occurrences.c.schedule_id == schedule_id).order_by(*order).limit(limit)
    if before is not None:
        query = query.where(tuple_(occurrences.c.instant, occurrences.c.id) < tuple_(*before))
    if wanted.decision is not None:
        query = query.where(occurrences.c.decision == wanted.decision.value)
    if wanted.first is not None:
        through = occurrences.c.through_at
        query = query.where((occurrences.c.instant >= wanted.first) | (through >= wanted.first))
    if wanted.last is not None:
        query = query.where(occurrences.c.instant <= wanted.last)
    return query


def list_occurrences(
    connection: Connection,
    name: str,
    wanted: Span,
    *,
    tenant: str = DEFAULT_TENANT,
    limit: int = 50,
    cursor: str | None = None,
) -> Page:
    """Return some occurrences of a schedule, deleted or not, the latest instants first.

    Raises `NotFound`, `InvalidCursor`.
    """
    schedule = store.look_up(connection, name, tenant=tenant)
    if schedule is None:
        raise NotFound(f"There is no schedule {name}, and none of this name was deleted lately.")
    scope = cursors.scope("occurrences", str(schedule.id), asdict(wanted))
    query = occurrences_query(schedule.id, wanted, limit=limit + 1, before=_position(cursors.read(cursor, scope)))
    rows = connection.execute(query).mappings().all()
    shown = rows[:limit]
    more = len(rows) > limit
    after = f"{shown[-1]['instant'].isoformat()} {shown[-1]['id'].hex}" if more else ""
    return Page(shown, cursors.write(after, scope) if more else None)  # type: ignore[arg-type]  # SQLAlchemy's RowMapping is a Mapping keyed by str


def _position(last: str | None) -> tuple[datetime, UUID] | None:
    if last is None:
        return None
    instant, _, occurrence_id = last.partition(" ")
    return datetime.fromisoformat(instant), UUID(hex=occurrence_id)
