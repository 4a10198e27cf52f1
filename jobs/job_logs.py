"""The lines that a task writes about its own job with `self.job.log`; kept with the job, bounded, pruned with it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

import pydantic_core
from sqlalchemy import Connection, Text, bindparam, delete, func, select
from sqlalchemy.dialects.postgresql import JSONB, insert

from jobs.model import JobId, Level
from jobs.state import JobState
from jobs.storable import storable, storable_json
from jobs.tables import job_logs, jobs

MOST_LINES: Final = 1_000
"""Lines kept of one job, of all its attempts together."""
MOST_BYTES: Final = 64 * 1024
"""Bytes kept of one job: events and facts, as UTF-8."""
LONGEST_EVENT: Final = 500
"""Characters."""
LARGEST_FACTS: Final = 4_096
"""Bytes, as JSON."""
APART: Final = 10_000
"""By how much the numbers of two attempts' first lines differ: more than one attempt can write."""
FULL: Final = "log_limit_reached"
"""The last line of a log that is full; what comes after it is not kept."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line, as it is kept."""

    at: datetime
    level: Level
    event: str
    facts: str | None
    """A JSON object."""

    @property
    def size(self) -> int:
        """Return how many bytes it counts for."""
        return len(self.event.encode()) + len((self.facts or "").encode())


def line(at: datetime, level: Level, event: str, facts: dict[str, Any]) -> Line:
    """Return the line as it can be kept: what is too long is cut, what is no JSON is shown as Python shows it."""
    return Line(at, level, storable(str(event))[:LONGEST_EVENT], _document(facts) if facts else None)


def _document(facts: dict[str, Any]) -> str:
    try:
        document = storable_json(pydantic_core.to_json(facts, fallback=repr, inf_nan_mode="null").decode())
    except Exception as error:  # noqa: BLE001 - a repr() of the task's may raise anything, and a line must not end an attempt
        return json.dumps({"unreadable": type(error).__name__})
    size = len(document.encode())
    return document if size <= LARGEST_FACTS else json.dumps({"truncated": True, "bytes": size})


class Room(NamedTuple):
    """How much more of one job can be kept."""

    lines: int
    bytes: int

    def fits(self, size: int) -> bool:
        """Tell whether a line of so many bytes can be kept."""
        return self.lines > 0 and self.bytes >= size

    def less(self, size: int) -> "Room":
        """Return what is left after a line of so many bytes."""
        return Room(self.lines - 1, self.bytes - size)


def make_room(connection: Connection, job_id: JobId, number: int) -> Room:
    """Have earlier attempts take half of the bound at the most, their last lines staying; return what is free."""
    counted = _counted(job_id)
    older = (
        select(counted.c.seq)
        .where(
            (counted.c.lines > MOST_LINES // 2) | (counted.c.bytes > MOST_BYTES // 2), counted.c.seq < number * APART
        )
        .scalar_subquery()
    )
    connection.execute(delete(job_logs).where(job_logs.c.job_id == job_id, job_logs.c.seq.in_(older)))
    kept = select(func.count(), func.coalesce(func.sum(job_logs.c.bytes), 0)).where(job_logs.c.job_id == job_id)
    lines, size = connection.execute(kept).one()
    return Room(MOST_LINES - lines, MOST_BYTES - size)


def _counted(job_id: JobId) -> Any:
    """Return each line of a job with how many lines and bytes it and all later ones are."""
    latest_first = job_logs.c.seq.desc()
    return (
        select(
            job_logs.c.seq,
            func.row_number().over(order_by=latest_first).label("lines"),
            func.sum(job_logs.c.bytes).over(order_by=latest_first).label("bytes"),
        )
        .where(job_logs.c.job_id == job_id)
        .subquery("counted")
    )


def write(connection: Connection, job_id: JobId, number: int, first: int, lines: Sequence[Line]) -> bool:
    """Keep `lines`, of which the first is number `first` of its attempt; False: the attempt was fenced.

    The same lines again, after a COMMIT whose answer was cut off, are kept once.
    """
    held = select(jobs.c.id).where(jobs.c.id == job_id, jobs.c.attempt == number, jobs.c.state == JobState.RUNNING)
    # Shared: what takes the job from this attempt waits until the lines are committed.
    if connection.scalar(held.with_for_update(read=True)) is None:
        return False
    rows = [
        {
            "job_id": job_id,
            "seq": number * APART + place,
            "attempt": number,
            "at": line.at,
            "level": line.level.value,
            "event": line.event,
            "facts": line.facts,
            "bytes": line.size,
        }
        for place, line in enumerate(lines, first)
    ]
    facts = bindparam("facts", type_=Text()).cast(JSONB)
    connection.execute(insert(job_logs).values(facts=facts).on_conflict_do_nothing(), rows)
    return True
