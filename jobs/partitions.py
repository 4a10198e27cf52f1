"""What happened to jobs is kept by the month, and a month whose jobs are gone is dropped whole.

The tables of `HISTORY` are partitioned by the job's id, which holds the time of its submission. A month is made before
it begins. One whose rows nobody may want any more is dropped, which costs the same however many there are; what is
left of its jobs (a dead letter that nobody closed) moves to the default partition first. That one also takes whatever
has no month of its own, so that no row is ever refused.

Any number of processes may `roll` at once: each change is a short transaction, and made by one of them.
"""

import calendar
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final, NamedTuple, TypeVar
from uuid import UUID

import structlog
from sqlalchemy import (
    Connection,
    Delete,
    Engine,
    Table,
    TableClause,
    column,
    delete,
    func,
    insert,
    select,
    table,
    text,
)
from sqlalchemy.exc import DBAPIError

from jobs.database import transaction
from jobs.grants import copy_rights
from jobs.model import JobId, id_before
from jobs.tables import attempts, events, job_logs, jobs

log = structlog.get_logger()

T = TypeVar("T")

HISTORY: Final[tuple[Table, ...]] = (job_logs, events, attempts)

SHORTEST_BY_MONTH: Final = timedelta(days=28)
"""Where finished jobs are kept for less, their history is deleted with them: to wait for its month would double it."""
AHEAD: Final = 2
"""Months after this one that are made."""
MOVED: Final = 1000
"""Jobs whose history may be left of a month that is dropped: it moves while others wait."""

_PATIENCE: Final = "100ms"
"""For how long a change waits for a table; others may wait behind it. The next round tries again."""
_LOCK: Final = 0x50415254
"""Names the advisory lock of those who change partitions: the letters "PART"."""
BEFORE_ALL: Final = UUID(int=0)
_AFTER_ALL: Final = UUID(int=2**128 - 1)


class Part(NamedTuple):
    """A partition that holds the jobs from `begins` to before `ends`."""

    name: str
    begins: JobId
    ends: JobId


_PARTS: Final = text("""
    SELECT relname, pg_get_expr(relpartbound, pg_class.oid) FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = to_regclass(:parent)
""")
_RANGE: Final = re.compile(r"FOR VALUES FROM \((.+)\) TO \((.+)\)")


def parts_of(connection: Connection, history: Table) -> list[Part]:
    """Return the table's partitions, the oldest first, the default one left out."""
    rows = connection.execute(_PARTS, {"parent": history.name})
    bounded = [(name, bounds) for name, said in rows if (bounds := _RANGE.fullmatch(said))]
    found = [Part(name, _id(bounds[1], BEFORE_ALL), _id(bounds[2], _AFTER_ALL)) for name, bounds in bounded]
    return sorted(found, key=lambda part: part.begins)


def _id(said: str, unbounded: JobId) -> JobId:
    return UUID(said.strip("'")) if said.startswith("'") else unbounded


class Rolled(NamedTuple):
    """How many partitions were made, and dropped."""

    made: int
    dropped: int


def roll(engine: Engine, keep: timedelta) -> Rolled:
    """Make the months to come, drop those of which no job was submitted in the last `keep`, and return how many.

    What somebody holds, or this process may not change, stays as it is and is told in the log.
    """
    made = dropped = 0
    for history in HISTORY:
        made += _tried(engine, history, partial(make_ahead, history=history)) or 0
        for part in _tried(engine, history, partial(old_parts, history=history, keep=keep)) or ():
            dropped += _tried(engine, history, partial(drop, history=history, part=part)) or 0
    return Rolled(made, dropped)


def _tried(engine: Engine, history: Table, step: Callable[[Connection], T]) -> T | None:
    try:
        with transaction(engine) as connection:
            return step(connection)
    except DBAPIError as error:
        log.warning("partitions_not_changed", table=history.name, reason=type(error.orig).__name__)
        return None


def default_of(history: Table) -> TableClause:
    """Return the partition of the rows that have no month of their own."""
    return table(f"{history.name}_default", *(column(one.name, one.type) for one in history.columns))


def make_ahead(connection: Connection, history: Table) -> int:
    """Make the partitions of this month and the next that are missing, and return how many.

    Waits for nobody who reads or writes. A month of which rows are in the default partition stays there. Raises what
    `is_held` knows when a table that must be locked is held.
    """
    if not _may_change(connection):
        return 0
    there = parts_of(connection, history)
    missing = [
        month
        for month in months(_now(connection))
        if not any(p.begins < month.ends and month.begins < p.ends for p in there)
    ]
    return sum(_make(connection, history, month) for month in missing)


def months(now: datetime) -> Iterator[Part]:
    """Give the month of `now` and the `AHEAD` after it, as partitions of any table; its name comes before theirs."""
    for number in range(AHEAD + 1):
        year, month = divmod(now.year * 12 + now.month - 1 + number, 12)
        yield Part(f"{year}_{month + 1:02}", _first_id(year, month), _first_id(year, month + 1))


def _first_id(year: int, month: int) -> JobId:
    """Return what no id of the month, or of a later one, is less than; January is 0, and 12 the next year's."""
    return UUID(int=calendar.timegm((year + month // 12, month % 12 + 1, 1, 0, 0, 0)) * 1000 << 80)


def _make(connection: Connection, history: Table, month: Part) -> int:
    default = default_of(history)
    late = select(default.c.job_id).where(default.c.job_id >= month.begins, default.c.job_id < month.ends).limit(1)
    if connection.execute(late).first() is not None:
        return 0
    name = f"{history.name}_{month.name}"
    # Made first and attached then: to create it in its place would lock out everybody who writes.
    connection.execute(text(f"CREATE TABLE {name} (LIKE {history.name} INCLUDING ALL)"))
    copy_rights(connection, history.name, name)  # a dump reads each partition by its own name
    bounds = f"FROM ('{month.begins}') TO ('{month.ends}')"
    connection.execute(text(f"ALTER TABLE {history.name} ATTACH PARTITION {name} FOR VALUES {bounds}"))
    return 1


def old_parts(connection: Connection, history: Table, keep: timedelta) -> list[Part]:
    """Return the partitions of which every job was submitted more than `keep` ago; none while another is at it."""
    if not _may_change(connection):
        return []
    until = id_before(_now(connection) - keep)
    return [part for part in parts_of(connection, history) if part.ends <= until]


def drop(connection: Connection, history: Table, part: Part) -> bool:
    """Drop the partition with the history of jobs that are gone; that of at most `MOVED` others is kept.

    False: more jobs of it are there, or another process is at it; nothing was done. Raises what `is_held` knows when
    somebody holds the table for longer than others should wait.
    """
    if not _may_change(connection) or len(_left(connection, part)) > MOVED:
        return False
    _lock(connection, history, part)
    left = _left(connection, part)
    if part not in parts_of(connection, history) or len(left) > MOVED:
        return False
    connection.execute(text(f"ALTER TABLE {history.name} DETACH PARTITION {part.name}"))
    if left:
        _move(connection, history, part, left)
    connection.execute(text(f"DROP TABLE {part.name}"))
    return True


def _lock(connection: Connection, history: Table, part: Part) -> None:
    """Have the table and both partitions to ourselves.

    Every statement locks the table before its partitions: in another order we would wait for those who wait for us.
    Only a vacuum holds a partition alone, so none may run, before others wait behind us.
    """
    leaves = (part.name, f"{history.name}_default")
    for name in leaves:
        connection.execute(text(f"LOCK TABLE ONLY {name} IN SHARE UPDATE EXCLUSIVE MODE NOWAIT"))
    for name in (history.name, *leaves):
        connection.execute(text(f"LOCK TABLE ONLY {name} IN ACCESS EXCLUSIVE MODE"))


def _left(connection: Connection, part: Part) -> Sequence[JobId]:
    there = select(jobs.c.id).where(jobs.c.id >= part.begins, jobs.c.id < part.ends)
    return connection.scalars(there.order_by(jobs.c.id).limit(MOVED + 1)).all()


def _move(connection: Connection, history: Table, part: Part, left: Sequence[JobId]) -> None:
    names = [one.name for one in history.columns]
    rows = table(part.name, *(column(one.name, one.type) for one in history.columns))
    # By the key, whatever the planner thinks of a table that nobody analysed.
    connection.execute(text("SET LOCAL enable_seqscan = off"))
    connection.execute(
        insert(history).from_select(names, select(*(rows.c[name] for name in names)).where(rows.c.job_id.in_(left)))
    )


def deletion(history: Table, ids: Sequence[JobId], keep: timedelta) -> Delete:
    """Return the DELETE of what must go with the jobs `ids`: all of it, or what no month will take with it."""
    if keep < SHORTEST_BY_MONTH:
        return delete(history).where(history.c.job_id.in_(ids))
    default = default_of(history)
    return delete(default).where(default.c.job_id.in_(ids))


def _may_change(connection: Connection) -> bool:
    """Tell whether nobody else changes partitions, until this transaction ends, and wait no longer than others can."""
    connection.execute(text(f"SET LOCAL lock_timeout = '{_PATIENCE}'"))
    return bool(connection.scalar(select(func.pg_try_advisory_xact_lock(_LOCK))))


def _now(connection: Connection) -> datetime:
    now = connection.scalar(select(func.now()))
    assert isinstance(now, datetime)  # noqa: S101 - tells the type checker what PostgreSQL's now() is
    return now
