"""Which workers are alive, by their own word and the database's clock."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Connection, Interval, RowMapping, Select, and_, delete, func, literal, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from jobs.tables import workers

BEATS_EVERY: Final = timedelta(seconds=5)
"""How often a worker gives a sign of life."""
SILENT_AFTER: Final = 2 * BEATS_EVERY
"""A worker that was not seen for longer may be gone, though it is counted a while yet."""
ALIVE_WITHIN: Final = timedelta(seconds=30)
"""A worker that was not seen for longer is not counted."""
LISTED_WITHIN: Final = timedelta(hours=1)
"""A worker that was not seen for longer is listed only on demand: each restart leaves a row for days."""
MOST_LISTED: Final = 1_000
"""Workers in one list, those seen last."""
BEAT: Final = "penstock-beat"
"""The application name of a beat's connections."""


def announce(
    connection: Connection,
    *,
    name: str,
    host: str,
    pid: int,
    queues: Sequence[str],
    slots: int,
    release: str,
    tasks: Sequence[str] = (),
) -> None:
    """Enter the worker with what it consumes and the tasks that it has, or enter it anew under the same name."""
    clock = func.clock_timestamp()
    facts: dict[str, Any] = {"host": host, "pid": pid, "slots": slots, "release": release}
    values = facts | {"queues": list(queues), "tasks": list(tasks), "rates": {}, "running": 0, "started_at": clock}
    values |= {"seen_at": clock, "stopped_at": None}
    connection.execute(
        upsert(workers).values(name=name, **values).on_conflict_do_update(index_elements=["name"], set_=values)
    )


def beat(connection: Connection, name: str, *, running: int, rates: Mapping[str, float] | None = None) -> None:
    """Record that the worker lives, how many attempts it has running, and how fast it finishes those of each queue."""
    values: dict[str, Any] = {"seen_at": func.clock_timestamp(), "running": running}
    if rates is not None:
        values["rates"] = dict(rates)
    connection.execute(update(workers).where(workers.c.name == name).values(values))


def leave(connection: Connection, name: str) -> None:
    """Record that the worker has stopped by itself."""
    connection.execute(
        update(workers).where(workers.c.name == name).values(stopped_at=func.clock_timestamp(), running=0)
    )


def _is_alive() -> Any:
    recent = func.clock_timestamp() - literal(ALIVE_WITHIN, Interval)
    return and_(workers.c.stopped_at.is_(None), workers.c.seen_at > recent)


def _known() -> Select[Any]:
    return select(workers, _is_alive().label("is_alive"))


def count_alive(connection: Connection) -> int:
    """Return how many workers were seen lately."""
    return connection.scalar(select(func.count()).select_from(workers).where(_is_alive())) or 0


def is_beat_connected(connection: Connection) -> bool:
    """Tell whether a beat holds a connection to this database: a beat is in no table."""
    # PostgreSQL's manual, pg_stat_activity: the name is shown of everybody's sessions.
    there = (
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = :name)"
    )
    return bool(connection.scalar(text(there), {"name": BEAT}))


def find(connection: Connection, name: str) -> RowMapping | None:
    """Return what is known of one worker, and whether it `is_alive`."""
    return connection.execute(_known().where(workers.c.name == name)).mappings().one_or_none()


def on_queue(connection: Connection, queue: str) -> Sequence[RowMapping]:
    """Return the workers, alive or not, that consume or consumed `queue`."""
    return connection.execute(_known().where(workers.c.queues.contains([queue]))).mappings().all()


def alive(connection: Connection) -> Sequence[RowMapping]:
    """Return all workers that were seen lately and have not stopped."""
    return connection.execute(_known().where(_is_alive())).mappings().all()


def listed(connection: Connection, *, seen_within: timedelta | None = LISTED_WITHIN) -> Sequence[RowMapping]:
    """Return the workers seen within this time, or all that are remembered, those seen last first.

    They are no more than `MOST_LISTED`.
    """
    query = _known().order_by(workers.c.seen_at.desc(), workers.c.name).limit(MOST_LISTED)
    if seen_within is not None:
        query = query.where(workers.c.seen_at > func.clock_timestamp() - literal(seen_within, Interval))
    return connection.execute(query).mappings().all()


def count_alive_by_queue(connection: Connection) -> dict[str, int]:
    """Return how many workers that were seen lately serve each queue."""
    served = select(func.unnest(workers.c.queues).label("queue")).where(_is_alive()).subquery()
    rows = connection.execute(select(served.c.queue, func.count()).group_by(served.c.queue))
    return {queue: count for queue, count in rows}  # noqa: C416 - dict() does not take rows for pairs


def prune(connection: Connection, *, keep: timedelta) -> int:
    """Delete workers that were not seen for so long, and return how many: each start of one makes a row."""
    until = func.clock_timestamp() - literal(keep, Interval)
    return connection.execute(delete(workers).where(workers.c.seen_at < until)).rowcount
