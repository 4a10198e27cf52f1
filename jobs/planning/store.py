"""Schedules as rows: finding, locking and writing them. Every edit and every firing holds the row's lock."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, Final

import pydantic_core
from sqlalchemy import (
    ARRAY,
    Connection,
    Interval,
    RowMapping,
    Select,
    Text,
    Uuid,
    bindparam,
    column,
    delete,
    exists,
    func,
    literal,
    null,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSON, JSONB
from sqlalchemy.dialects.postgresql import insert as upsert

from jobs.calendar.zones import ZONE_DATA_VERSION
from jobs.errors import NotFound
from jobs.model import JobId
from jobs.planning.model import FIELDS, Definition, Schedule
from jobs.planning.words import CatchUp, Overlap, Source
from jobs.state import UNFINISHED
from jobs.tables import jobs, occurrences, schedules
from jobs.transitions import guard

_AS_TEXT: Final = ("payload", "retry")
"""JSON that travels as text."""
_COLUMNS: Final = [one.cast(Text).label(one.name) if one.name in _AS_TEXT else one for one in schedules.c]
#: As in the partial index, word for word.
DUE: Final = text("next_at IS NOT NULL AND paused_at IS NULL")
_OWN: Final = tuple(one.name for one in schedules.c if one.name not in {*FIELDS, "zone_data"})
#: Whoever writes a schedule has found its next instant by these.
_BY: Final = {"zone_data": ZONE_DATA_VERSION}


def clock(connection: Connection) -> datetime:
    """Return the instant at which this transaction began, by the database's clock: the one that decides."""
    now = connection.scalar(select(func.now()))
    assert isinstance(now, datetime)  # noqa: S101 - tells the type checker what PostgreSQL's now() is
    return now


def query() -> Select[Any]:
    """Return the query for whole schedules; `read` takes its rows."""
    return select(*_COLUMNS)


def read(row: RowMapping) -> Schedule:
    """Return the schedule of a row of `query`."""
    definition = {name: row[name] for name in FIELDS} | {
        "tags": tuple(row["tags"]),
        "catch_up": CatchUp(row["catch_up"]),
        "overlap": Overlap(row["overlap"]),
    }
    own = {name: row[name] for name in _OWN} | {
        "source": Source(row["source"]),
        "open_jobs": tuple(row["open_jobs"]),
        "kept": tuple(row["kept"]),
    }
    return Schedule(definition=Definition(**definition), **own)


def find(connection: Connection, name: str, *, tenant: str, lock: bool = False) -> Schedule:
    """Return the schedule; with `lock` nobody else fires or edits it meanwhile. Raises `NotFound`."""
    found = look_up(connection, name, tenant=tenant, lock=lock)
    if found is None or found.deleted_at is not None:
        raise NotFound(f"There is no schedule {name}.")
    return found


def look_up(connection: Connection, name: str, *, tenant: str, lock: bool = False) -> Schedule | None:
    """Return the schedule as `find` does, also one that was deleted; None where there is none."""
    wanted = query().where(schedules.c.tenant == tenant, schedules.c.name == name)
    row = connection.execute(wanted.with_for_update() if lock else wanted).mappings().one_or_none()
    return read(row) if row else None


def declared(connection: Connection, *, tenant: str) -> list[Schedule]:
    """Return the schedules that code declares, locked."""
    of_code = (schedules.c.source == Source.CODE.value, schedules.c.deleted_at.is_(None))
    wanted = query().where(schedules.c.tenant == tenant, *of_code)
    rows = connection.execute(wanted.order_by(schedules.c.name).with_for_update()).mappings()
    return [read(row) for row in rows]


def _written(definition: Definition) -> dict[str, Any]:
    values = asdict(definition)
    as_text = {name: values[name] for name in _AS_TEXT}
    return values | {
        name: null() if text is None else literal(text, Text).cast(JSONB) for name, text in as_text.items()
    }


def add(connection: Connection, schedule: Schedule) -> bool:
    """Store a new schedule; False: the tenant has one of this name by now."""
    own = {name: getattr(schedule, name) for name in _OWN} | _BY
    statement = upsert(schedules).values(**own, **_written(schedule.definition))
    return connection.scalar(statement.on_conflict_do_nothing().returning(schedules.c.id)) is not None


def change(connection: Connection, schedule: Schedule) -> None:
    """Write what an edit made of a schedule whose lock is held."""
    own = {name: getattr(schedule, name) for name in _OWN if name != "id"} | _BY
    connection.execute(
        update(schedules).where(schedules.c.id == schedule.id).values(**own, **_written(schedule.definition))
    )


def prune(connection: Connection, *, keep: timedelta, limit: int) -> int:
    """Delete schedules that were deleted longer ago than `keep` and have no history left; return how many."""
    has_history = exists().where(occurrences.c.schedule_id == schedules.c.id)
    old = (
        select(schedules.c.id)
        .where(schedules.c.deleted_at < func.statement_timestamp() - literal(keep, Interval), ~has_history)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return connection.execute(delete(schedules).where(schedules.c.id.in_(old))).rowcount


def unfinished(connection: Connection, ids: Iterable[JobId]) -> set[JobId]:
    """Return which of these jobs have not finished; one that was pruned has."""
    wanted = list(ids)
    if not wanted:
        return set()
    named = jobs.c.id == func.any(bindparam("ids", wanted, type_=ARRAY(Uuid())))
    return set(connection.scalars(select(jobs.c.id).where(named, guard(jobs.c.state.in_(sorted(UNFINISHED))))))


def lock_jobs(connection: Connection, ids: Iterable[JobId]) -> set[JobId]:
    """Lock these jobs and return which of them nobody else held."""
    wanted = list(ids)
    if not wanted:
        return set()
    named = jobs.c.id == func.any(bindparam("ids", wanted, type_=ARRAY(Uuid())))
    return set(connection.scalars(select(jobs.c.id).where(named).order_by(jobs.c.id).with_for_update(skip_locked=True)))


_MOVED: Final = ("id", "decided_until", "next_at", "kept", "open_jobs")


def _advance_statement() -> Any:
    rows = func.json_to_recordset(bindparam("rows", type_=Text()).cast(JSON))
    new = rows.table_valued(*(column(name, schedules.c[name].type) for name in _MOVED), name="new")
    new = new.render_derived(with_types=True)
    values: dict[str, Any] = {name: new.c[name] for name in _MOVED if name != "id"} | _BY
    return update(schedules).where(schedules.c.id == new.c.id).values(values).returning(func.clock_timestamp())


_ADVANCE: Final = _advance_statement()


def advance(connection: Connection, moved: Sequence[Schedule]) -> datetime:
    """Write how far the instants of schedules whose locks are held were decided, and return what time it is now."""
    rows = [{name: getattr(one, name) for name in _MOVED} for one in moved]
    at = connection.scalars(_ADVANCE, {"rows": pydantic_core.to_json(rows).decode()}).first()
    assert isinstance(at, datetime)  # noqa: S101 - as in `clock`; the rows are locked, so they are there
    return at


def until_next_due(connection: Connection, after: datetime | None = None) -> float | None:
    """Return the seconds until the next schedule is due, by the database's clock; None: none is.

    With `after` the next is the first that is due later than that.
    """
    until = func.extract("epoch", schedules.c.next_at - func.clock_timestamp())
    query = select(until).where(DUE).order_by(schedules.c.next_at).limit(1)
    seconds = connection.scalar(query if after is None else query.where(schedules.c.next_at > after))
    return None if seconds is None else float(seconds)
