"""The end of an attempt that no longer counts: kept as an event of its job, once."""

from typing import Any

from sqlalchemy import Connection, literal, or_, select, update
from sqlalchemy.dialects.postgresql import JSONB

from jobs.model import Settlement
from jobs.state import Outcome
from jobs.tables import attempts, events, jobs
from jobs.transitions import TELLING, told


def tell_fenced(connection: Connection, settlement: Settlement) -> None:
    """Keep the refused end of an attempt as an event, once; the job itself is not changed."""
    number, outcome = settlement.number, settlement.verdict.outcome.value
    facts = {"fenced_attempt": number, "outcome": outcome}
    again = select(events.c.seq).where(
        events.c.job_id == settlement.job_id,
        events.c.name == "fenced",
        events.c.facts == literal(facts, JSONB),
    )
    ours = _ended_by_its_worker(settlement)
    seen = jobs.alias("seen")
    moved = (
        update(jobs)
        .where(jobs.c.id == settlement.job_id, ~again.exists(), ~ours.exists())
        # What `again` knows of the events is true only of the row that this statement saw when it began.
        .where(seen.c.id == jobs.c.id, seen.c.version == jobs.c.version)
        .values(event_count=jobs.c.event_count + 1, version=jobs.c.version + 1)
        .returning(*TELLING)
        .cte("moved")
    )
    statement = select(moved.c.id).add_cte(told(moved, "fenced", literal(facts, JSONB)).cte("told"))
    if connection.scalar(statement) is None:
        connection.execute(statement)  # told before, or the job changed meanwhile: a second look settles it


def _ended_by_its_worker(settlement: Settlement) -> Any:
    """Return the query for the attempt, if a settlement of its own worker ended it.

    Whoever else ends an attempt calls it lost. Its worker's word is not always kept to the letter: what gives a
    job back whose cancel was asked for cancels it, and a result that cannot be stored is an error.
    """
    outcome = settlement.verdict.outcome.value
    return select(attempts.c.number).where(
        attempts.c.job_id == settlement.job_id,
        attempts.c.number == settlement.number,
        or_(attempts.c.outcome == outcome, attempts.c.outcome != Outcome.LOST.value),
    )


def was_ended_by_its_worker(connection: Connection, settlement: Settlement) -> bool:
    """Tell whether the attempt was settled by its worker, and not taken from it.

    This settles an unknown COMMIT: a finish that was cut off either shows here or did not happen.
    """
    return connection.scalar(_ended_by_its_worker(settlement)) is not None
