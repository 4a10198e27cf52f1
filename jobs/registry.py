"""Which workers are alive, by their own word and the database's clock."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import Connection, Interval, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from jobs.tables import workers

ALIVE_WITHIN: Final = timedelta(seconds=30)
"""A worker that was not seen for longer is not counted."""


def announce(
    connection: Connection, *, name: str, host: str, pid: int, queues: Sequence[str], slots: int, release: str
) -> None:
    """Enter the worker, or enter it anew under the same name."""
    clock = func.clock_timestamp()
    facts = {"host": host, "pid": pid, "queues": list(queues), "slots": slots, "release": release}
    values = facts | {"running": 0, "started_at": clock, "seen_at": clock, "stopped_at": None}
    connection.execute(
        upsert(workers).values(name=name, **values).on_conflict_do_update(index_elements=["name"], set_=values)
    )


def beat(connection: Connection, name: str, *, running: int) -> None:
    """Record that the worker lives and how many attempts it has running."""
    connection.execute(
        update(workers).where(workers.c.name == name).values(seen_at=func.clock_timestamp(), running=running)
    )


def leave(connection: Connection, name: str) -> None:
    """Record that the worker has stopped by itself."""
    connection.execute(
        update(workers).where(workers.c.name == name).values(stopped_at=func.clock_timestamp(), running=0)
    )


def count_alive(connection: Connection) -> int:
    """Return how many workers were seen lately."""
    recent = func.clock_timestamp() - literal(ALIVE_WITHIN, Interval)
    query = select(func.count()).select_from(workers).where(workers.c.stopped_at.is_(None), workers.c.seen_at > recent)
    return connection.scalar(query) or 0
