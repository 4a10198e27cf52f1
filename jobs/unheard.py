"""Whether doorbells go unheard: jobs that are ready and were rung for, and that nobody starts."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import ARRAY, Connection, Interval, Select, Text, bindparam, exists, func, or_, select, text

from jobs.tables import RUNG, jobs, paused_queues

LOOKED_AT: Final = 100
"""Jobs of each queue that one look goes through, those first that were rung for the longest ago."""

_now = func.statement_timestamp()


def unheard_jobs() -> Select[Any]:
    """Return the query for one job of `queues` that was ready `age` ago, was rung for, and still waits."""
    named = func.unnest(bindparam("queues", type_=ARRAY(Text()))).table_valued("queue", name="named").render_derived()
    rung = (
        select(jobs.c.id, jobs.c.run_at, jobs.c.expires_at)
        .where(RUNG, jobs.c.queue == named.c.queue)
        .order_by(jobs.c.rung_at)
        .limit(LOOKED_AT)
        .lateral("rung")
    )
    return (
        select(rung.c.id)
        .select_from(named.join(rung, text("true")))
        .where(
            ~exists().where(paused_queues.c.queue == named.c.queue),
            rung.c.run_at < _now - bindparam("age", type_=Interval()),
            or_(rung.c.expires_at.is_(None), rung.c.expires_at > _now),
        )
        .limit(1)
    )


_UNHEARD: Final = unheard_jobs()


def is_any_unheard(connection: Connection, queues: Sequence[str], age: timedelta) -> bool:
    """Tell whether a job of `queues` has been ready for longer than `age`, was rung for, and still waits.

    Jobs that were not rung for are left out: nobody could have heard of them.
    """
    return connection.scalar(_UNHEARD, {"queues": list(queues), "age": age}) is not None
