"""The building blocks of every move: lock in one order, guard by the table, tell what happened.

Each move of a job is one statement: the guarded UPDATE, the attempt's row and the event, or none of them.
Rows are locked in the order of their ids, so that two batches that overlap wait for each other in a line.
"""

from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Insert,
    Text,
    Update,
    func,
    insert,
    literal,
    null,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB

from jobs.state import TRANSITIONS, Event
from jobs.tables import events, jobs


def may(event: Event) -> ColumnElement[bool]:
    """Return the guard of `event`: the job is in one of its sources."""
    return guard(jobs.c.state.in_(sorted(TRANSITIONS[event].sources)))


def guard(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return `condition` in a form that PostgreSQL tests on the rows it has, and never looks for rows by.

    A statement that names its jobs by their keys must find them by their keys. A plan that was made while
    the table was small may take an index on the state instead, and read every running job for each batch.
    """
    return condition.is_(true())


def moved_to(event: Event, **facts: Any) -> dict[str, Any]:
    """Return the values of an UPDATE that applies `event`, its sequence number and the new version included."""
    return {
        "state": TRANSITIONS[event].target.value,
        "event_count": jobs.c.event_count + 1,
        "version": jobs.c.version + 1,
        **facts,
    }


#: What a job no longer has once it stops running.
NO_LEASE: dict[str, Any] = {"worker": None, "lease_expires_at": None}


def move(event: Event, chosen: CTE, **facts: Any) -> Update:
    """Return the UPDATE that applies `event` to the jobs `chosen` (a CTE with `id` that locked them)."""
    return update(jobs).where(jobs.c.id == chosen.c.id, may(event)).values(moved_to(event, **facts))


def told(moved: CTE, name: ColumnElement[str] | str, facts: ColumnElement[Any] | None = None) -> Insert:
    """Return the INSERT of one event for each row of `moved` (with id, event_count, state and attempt)."""
    return insert(events).from_select(
        ["job_id", "seq", "at", "name", "state", "attempt", "facts"],
        select(
            moved.c.id,
            moved.c.event_count,
            func.clock_timestamp(),
            literal(name, Text) if isinstance(name, str) else name,
            moved.c.state,
            moved.c.attempt,
            null().cast(JSONB) if facts is None else facts,
        ),
    )


#: The columns that `told` needs of a moved job.
TELLING: tuple[ColumnElement[Any], ...] = (jobs.c.id, jobs.c.event_count, jobs.c.state, jobs.c.attempt)
