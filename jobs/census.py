"""How many jobs there are of each task, queue and state, and were, without counting them.

Triggers on the table of jobs write a mark for what each statement moved, in its own transaction: the marks are true
whoever wrote, and nobody waits for another's. `fold` adds them up. What is read is the sum and the marks that are
not in it yet, in one snapshot; so it costs the same however many jobs there are.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import BigInteger, Connection, Select, case, func, literal, select, text, union_all

from jobs.model import PRIORITIES
from jobs.state import JobState
from jobs.tables import RUNG, UNRUNG, census, census_marks, jobs

FOLDED: Final = 20_000
"""Marks that are added up at once."""
LOOKED_AT: Final = 1000
"""Ready jobs of a queue, of those whose doorbell is in the broker, that are asked how long they wait."""
CLOSED: Final = "closed"
"""The state, in the census alone, of a failed job that is off the list of dead letters."""

_ADDING_UP: Final = 0x43454E53
"""The advisory lock of those who add up."""
_LABELS: Final = ("task", "queue", "state")
_COUNTS: Final = ("entered", "gone", "born", "unrung")

FOLD: Final = text(f"""
WITH taken AS (
    DELETE FROM census_marks
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM census_marks LIMIT :limit))
    RETURNING {", ".join((*_LABELS, *_COUNTS))}
), added AS (
    INSERT INTO census AS whole ({", ".join((*_LABELS, *_COUNTS))})
    SELECT {", ".join(_LABELS)}, {", ".join(f"sum({name})" for name in _COUNTS)}
    FROM taken GROUP BY {", ".join(_LABELS)} ORDER BY {", ".join(_LABELS)}
    ON CONFLICT ({", ".join(_LABELS)}) DO UPDATE
    SET {", ".join(f"{name} = whole.{name} + excluded.{name}" for name in _COUNTS)}
)
SELECT count(*) FROM taken
""")  # noqa: S608 - made of the constants above


class Count(NamedTuple):
    """What is counted of the jobs of one task in one queue and state."""

    task: str
    queue: str
    state: str
    entered: int
    """Jobs that ever came into the state."""
    now: int
    """Jobs that are in it."""
    born: int
    """Jobs that were accepted in it."""
    unrung: int
    """Ready jobs that no doorbell speaks of."""


def fold(connection: Connection, limit: int = FOLDED) -> int:
    """Add up marks and return how many; none while somebody else is at it."""
    if not connection.scalar(select(func.pg_try_advisory_xact_lock(_ADDING_UP))):
        return 0
    return connection.scalar(FOLD, {"limit": limit}) or 0


def count_query() -> Select[Any]:
    """Return the query for everything that is counted."""
    names = (*_LABELS, *_COUNTS)
    parts = union_all(*(select(*(table.c[name] for name in names)) for table in (census, census_marks))).subquery()
    labels = [parts.c[name] for name in _LABELS]
    sums = {
        "entered": func.sum(parts.c.entered),
        "now": func.sum(parts.c.entered - parts.c.gone),
        "born": func.sum(parts.c.born),
        "unrung": func.sum(parts.c.unrung),
    }
    return select(*labels, *(one.cast(BigInteger).label(name) for name, one in sums.items())).group_by(*labels)


def count(connection: Connection) -> list[Count]:
    """Return everything that is counted, as of one moment."""
    return [Count(*row) for row in connection.execute(count_query())]


def ready(connection: Connection, queue: str) -> int:
    """Return how many jobs of the queue wait for a worker."""
    parts = [
        select(func.sum(table.c.entered - table.c.gone).label("now")).where(
            table.c.queue == queue, table.c.state == JobState.QUEUED.value
        )
        for table in (census, census_marks)
    ]
    return int(connection.scalar(select(func.sum(union_all(*parts).subquery().c.now))) or 0)


WAITS: Final = text(f"""
SELECT queue, greatest(coalesce(extract(epoch FROM clock_timestamp() - least(
    (SELECT min(first.run_at)
     FROM generate_series({PRIORITIES[0]}, {PRIORITIES[-1]}) AS each (priority)
     CROSS JOIN LATERAL (
         SELECT run_at FROM jobs
         WHERE jobs.queue = asked.queue AND jobs.priority = each.priority AND {UNRUNG}
         ORDER BY run_at LIMIT 1) AS first),
    (SELECT min(rung.run_at)
     FROM (SELECT run_at FROM jobs
           WHERE jobs.queue = asked.queue AND {RUNG}
           ORDER BY rung_at LIMIT {LOOKED_AT}) AS rung)
)), 0), 0)
FROM unnest(CAST(:queues AS text[])) AS asked (queue)
""")  # noqa: S608 - made of the constants above


def longest_waits(connection: Connection, queues: Sequence[str]) -> dict[str, float]:
    """Return for each of `queues` the seconds for which the ready job that waits the longest has waited; 0: none waits.

    Of the jobs whose doorbell is in the broker only the `LOOKED_AT` that were rung first are asked.
    """
    return {queue: float(seconds) for queue, seconds in connection.execute(WAITS, {"queues": list(queues)})}


def recount(connection: Connection) -> int:
    """Make the census true again after somebody wrote past the triggers, and return how many counts were wrong.

    Reads every job.
    """
    state = case((jobs.c.closed_at.is_(None), jobs.c.state), else_=literal(CLOSED))
    unrung = func.count().filter((jobs.c.state == JobState.QUEUED.value) & jobs.c.rung_at.is_(None))
    there = select(jobs.c.task, jobs.c.queue, state.label("state"), func.count().label("now"), unrung.label("unrung"))
    real = there.group_by(jobs.c.task, jobs.c.queue, state).subquery()
    known = count_query().subquery()
    names = [func.coalesce(real.c[name], known.c[name]).label(name) for name in _LABELS]
    more = func.coalesce(real.c.now, 0) - func.coalesce(known.c.now, 0)
    more_unrung = func.coalesce(real.c.unrung, 0) - func.coalesce(known.c.unrung, 0)
    same = [real.c[name] == known.c[name] for name in _LABELS]
    wrong = (
        select(*names, func.greatest(more, 0), func.greatest(-more, 0), literal(0, BigInteger), more_unrung)
        .select_from(real.join(known, same[0] & same[1] & same[2], full=True))
        .where((more != 0) | (more_unrung != 0))
    )
    marking = census_marks.insert().from_select([*_LABELS, *_COUNTS], wrong).returning(census_marks.c.task)
    return len(connection.execute(marking).all())
