"""Short ways to bring a schedule where a test needs it, through the real functions, each in its own transaction."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Engine, RowMapping, select, text

from jobs.database import transaction
from jobs.model import Idempotency, JobId
from jobs.planning import by_hand, editing, firing, store
from jobs.planning.editing import Make
from jobs.planning.history import Row
from jobs.planning.model import Definition, Schedule
from jobs.planning.orders import Outcome
from jobs.tables import occurrences, schedules
from tests.factories import QUEUE, TASK
from tests.integration.jobs.scenes import database_now

NAME: Final = "nightly"
TENANT: Final = "default"
MINUTE: Final = timedelta(minutes=1)
LATER: Final = datetime(2100, 1, 1, tzinfo=UTC)
A_LONG_TIME: Final = timedelta(days=10_000)


def definition(**changes: Any) -> Definition:
    """Return what runs once a minute unless told otherwise."""
    timing: dict[str, Any] = {} if changes.keys() & {"every_seconds", "once"} else {"cron": "* * * * *"}
    return Definition(**{"task": TASK, "queue": QUEUE} | timing | changes)


def put(engine: Engine, name: str = NAME, **changes: Any) -> Schedule:
    """Store a schedule."""
    with transaction(engine) as connection:
        stored, _ = editing.put(connection, name, lambda _found, _now: definition(**changes), editing.ANYBODY)
    return stored


def edit(engine: Engine, name: str = NAME, **changes: Any) -> Schedule:
    """Change these fields of a schedule that is there."""
    with transaction(engine) as connection:
        make: Make = lambda found, _: replace(found.definition, **changes)  # type: ignore[union-attr]  # noqa: E731 - it is there
        return editing.put(connection, name, make, editing.ANYBODY)[0]


def due(engine: Engine, seconds_ago: float = 1, name: str = NAME, **changes: Any) -> Schedule:
    """Store an hourly schedule, of which one instant was due so long ago and has not been decided."""
    return missed(engine, 1, seconds_ago, name, **changes)


def missed(
    engine: Engine, count: int, seconds_ago: float = 600, name: str = NAME, *, every: float = 3600, **changes: Any
) -> Schedule:
    """Store a schedule of which `count` instants have not been decided, the last of them due so long ago."""
    last = database_now(engine) - timedelta(seconds=seconds_ago)
    put(engine, name, every_seconds=every, anchor_at=last, **changes)
    undecide(engine, seconds_ago + (count - 0.5) * every, name)
    return get(engine, name)


def get(engine: Engine, name: str = NAME) -> Schedule:
    """Return the schedule as it is stored."""
    with engine.connect() as connection:
        return store.find(connection, name, tenant=TENANT)


def undecide(engine: Engine, seconds: float, name: str = NAME) -> None:
    """Forget what this schedule has decided lately: for so long nobody has looked at it."""
    change(
        engine,
        "UPDATE schedules SET decided_until = decided_until - :by, next_at = decided_until - :by WHERE name = :name",
        by=timedelta(seconds=seconds),
        name=name,
    )


def let_pass(engine: Engine, seconds: float, name: str = NAME) -> None:
    """Make it so much later for this schedule, which goes by an interval."""
    values: dict[str, Any] = {"by": timedelta(seconds=seconds), "name": name}
    for by in (values["by"] + A_LONG_TIME, -A_LONG_TIME):  # so that none meets another on the way
        change(
            engine,
            "UPDATE occurrences SET instant = instant - :by, through_at = through_at - :by, "
            "decided_at = decided_at - :by WHERE schedule_id = (SELECT id FROM schedules WHERE name = :name)",
            by=by,
            name=name,
        )
    change(
        engine,
        "UPDATE schedules SET anchor_at = anchor_at - :by, decided_until = decided_until - :by, "
        "next_at = next_at - :by, paused_at = paused_at - :by WHERE name = :name",
        **values,
    )


def change(engine: Engine, statement: str, **values: Any) -> None:
    """Write into the tables behind everyone's back."""
    with transaction(engine) as connection:
        connection.execute(text(statement), values)


def fire(engine: Engine, *, missed_after: timedelta = firing.MISSED_AFTER, limit: int = firing.BATCH) -> Outcome:
    """Do one round of a beat."""
    with transaction(engine) as connection:
        return firing.fire_due(connection, missed_after=missed_after, limit=limit)


def fire_waiting(engine: Engine) -> Outcome:
    """Fire what has waited long enough."""
    with transaction(engine) as connection:
        return firing.fire_waiting(connection)


def pause(engine: Engine, name: str = NAME) -> Schedule:
    """Pause the schedule."""
    with transaction(engine) as connection:
        return editing.pause(connection, name)


def resume(engine: Engine, name: str = NAME) -> Schedule:
    """Have the schedule go on."""
    with transaction(engine) as connection:
        return editing.resume(connection, name)


def remove(engine: Engine, name: str = NAME) -> None:
    """Delete the schedule."""
    with transaction(engine) as connection:
        editing.remove(connection, name)


def trigger(engine: Engine, name: str = NAME, key: Idempotency | None = None) -> Row:
    """Have a job made now and return the occurrence."""
    with transaction(engine) as connection:
        occurrence, _, _ = by_hand.trigger(connection, name, by_hand.Asker(submitter="somebody"), key)
    return occurrence


def backfill(engine: Engine, first: datetime, last: datetime, *, dry_run: bool = False) -> list[by_hand.Backfilled]:
    """Have jobs made for a span of the past."""
    with transaction(engine) as connection:
        return by_hand.backfill(connection, NAME, by_hand.Asker(), first=first, last=last, dry_run=dry_run)


def history(engine: Engine, name: str = NAME) -> list[RowMapping]:
    """Return what was decided about the schedule, in the order of the instants."""
    query = select(occurrences).join(schedules, schedules.c.id == occurrences.c.schedule_id)
    with engine.connect() as connection:
        return list(
            connection.execute(
                query.where(schedules.c.name == name).order_by(occurrences.c.instant, occurrences.c.id)
            ).mappings()
        )


def decided(engine: Engine, name: str = NAME) -> list[tuple[str, str]]:
    """Return each decision and its reason, in the order of the instants."""
    return [(row["decision"], row["reason"]) for row in history(engine, name)]


def jobs_of(engine: Engine, name: str = NAME) -> list[JobId]:
    """Return the jobs of the schedule, in the order of their instants."""
    return [row["job_id"] for row in history(engine, name) if row["job_id"]]
