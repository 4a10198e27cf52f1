"""Queues: what waits in them, how fast they move, and the pause, in which jobs come in and none is started."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, Select, delete, func, select
from sqlalchemy.dialects.postgresql import insert as upsert

from jobs import census, registry
from jobs.model import id_before
from jobs.state import UNFINISHED, JobState
from jobs.tables import LEASED, jobs, paused_queues

RATE_SPAN: Final = timedelta(minutes=1)
"""How far back the rates look."""
MOST_SAMPLED: Final = 10_000
"""Accepted jobs from which a rate is told, the newest; when there were more in the span, it is a shorter one."""


def pause(connection: Connection, queue: str, *, by: str | None = None) -> None:
    """Start no job of `queue` from the commit on; what runs goes on. Pausing it again changes nothing."""
    row = {"queue": queue, "paused_at": func.clock_timestamp(), "paused_by": by}
    connection.execute(upsert(paused_queues).values(row).on_conflict_do_nothing())


def resume(connection: Connection, queue: str) -> None:
    """Let the jobs of `queue` start again; a beat rings for them. Harmless when it was not paused."""
    connection.execute(delete(paused_queues).where(paused_queues.c.queue == queue))


def paused(connection: Connection) -> dict[str, RowMapping]:
    """Return the paused queues by name, with since when and by whose key."""
    return {row["queue"]: row for row in connection.execute(select(paused_queues)).mappings()}


def is_paused(connection: Connection, queue: str) -> bool:
    """Tell whether nothing of `queue` is started."""
    return connection.scalar(select(paused_queues.c.queue).where(paused_queues.c.queue == queue)) is not None


@dataclass(slots=True)
class Queue:
    """What is known of one queue at one moment."""

    name: str
    paused_at: datetime | None = None
    paused_by: str | None = None
    counts: Counter[JobState] = field(default_factory=Counter)
    oldest_at: datetime | None = None
    """When the job was due that has been ready for the longest."""
    in_per_second: float = 0.0
    out_per_second: float = 0.0
    workers: int = 0
    slots: int = 0
    slots_busy: int = 0
    """Of all its workers, whatever queue their jobs came from."""


def newest_query(since: datetime) -> Select[Any]:
    """Return the query for how many of the newest jobs each queue got since then, and since when these were made."""
    newest = select(jobs.c.queue, jobs.c.created_at).where(jobs.c.id > id_before(since), jobs.c.created_at > since)
    sample = newest.order_by(jobs.c.id.desc()).limit(MOST_SAMPLED).subquery()
    return select(sample.c.queue, func.count(), func.min(sample.c.created_at)).group_by(sample.c.queue)


def look(connection: Connection, names: Sequence[str]) -> list[Queue]:
    """Return the queues of these `names`, in their order, and then all others in which there is something.

    It costs the same however many jobs there are; see `jobs.census` for how exact the longest wait is.
    """
    now: datetime = connection.scalars(select(func.clock_timestamp())).one()
    found = {name: Queue(name) for name in names}

    def queue(name: str) -> Queue:
        return found.setdefault(name, Queue(name))

    for name, row in paused(connection).items():
        queue(name).paused_at, queue(name).paused_by = row["paused_at"], row["paused_by"]
    for one in census.count(connection):
        if one.now and one.state in UNFINISHED:
            queue(one.queue).counts[JobState(one.state)] += one.now
    for name, seconds in census.longest_waits(connection, list(found)).items():
        if found[name].counts[JobState.QUEUED]:
            found[name].oldest_at = now - timedelta(seconds=seconds)
    _add_intake(connection, now, found)
    for worker in registry.alive(connection):
        for name in worker["queues"]:
            _add_worker(queue(name), worker)
    return list(found.values())


def _add_intake(connection: Connection, now: datetime, found: dict[str, Queue]) -> None:
    rows = connection.execute(newest_query(now - RATE_SPAN)).all()
    total = sum(count for _, count, _ in rows)
    span = RATE_SPAN if total < MOST_SAMPLED else now - min(first for _, _, first in rows)
    for name, count, _ in rows:
        if name in found:
            found[name].in_per_second = count / max(span.total_seconds(), 0.001)


def _add_worker(queue: Queue, worker: RowMapping) -> None:
    queue.workers += 1
    queue.slots += worker["slots"]
    queue.slots_busy += worker["running"]
    queue.out_per_second += worker["rates"].get(queue.name, 0.0)


def running_of(connection: Connection, *, tenant: str, limit: int) -> Sequence[RowMapping]:
    """Return the running jobs of the tenant, those first whose lease ends first."""
    columns = [jobs.c[name] for name in ("id", "task", "queue", "attempt", "worker", "started_at", "lease_expires_at")]
    query = select(*columns).where(LEASED, jobs.c.tenant == tenant)
    return connection.execute(query.order_by(jobs.c.lease_expires_at).limit(limit)).mappings().all()
