"""A beat that fires and somebody who edits, at the same moment on two connections: one job for an instant, or none.

The first has done its work and not committed yet when the second begins. A beat passes by what another holds; an
edit waits for it. Then the first commits, or takes everything back, and beats have another look.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Final, NamedTuple

import pytest
from sqlalchemy import Connection, Engine, func, select

from jobs import intake
from jobs.database import transaction
from jobs.errors import NotFound
from jobs.model import NewJob, Submission
from jobs.planning import by_hand, editing, firing, store
from jobs.planning.model import Definition, Schedule
from jobs.planning.words import Overlap
from jobs.tables import jobs, occurrences
from tests.factories import success
from tests.integration.jobs import scenes
from tests.integration.jobs.timetable import NAME, TENANT, definition, due, fire, jobs_of, let_pass, pause, remove

Move = Callable[[Connection], object]
Scene = Callable[[Engine], object]


def fires(connection: Connection) -> None:
    firing.fire_due(connection)


def fires_what_waits(connection: Connection) -> None:
    firing.fire_waiting(connection)


def _half_as_often(found: Schedule | None, _now: object) -> Definition:
    assert found is not None
    return replace(found.definition, every_seconds=7200.0)


def _a_second_later(found: Schedule | None, _now: object) -> Definition:
    assert found is not None
    assert found.definition.anchor_at is not None
    return replace(found.definition, anchor_at=found.definition.anchor_at + timedelta(seconds=1))


def _more_urgent(found: Schedule | None, _now: object) -> Definition:
    assert found is not None
    return replace(found.definition, priority=9)


def changes_the_timing(connection: Connection) -> None:
    editing.put(connection, NAME, _half_as_often, editing.ANYBODY)


def moves_the_instants(connection: Connection) -> None:
    editing.put(connection, NAME, _a_second_later, editing.ANYBODY)


def changes_the_job(connection: Connection) -> None:
    editing.put(connection, NAME, _more_urgent, editing.ANYBODY)


def pauses(connection: Connection) -> None:
    editing.pause(connection, NAME)


def resumes(connection: Connection) -> None:
    editing.resume(connection, NAME)


def deletes(connection: Connection) -> None:
    editing.remove(connection, NAME)


def puts(connection: Connection) -> None:
    editing.put(connection, NAME, lambda *_: definition(every_seconds=3600), editing.ANYBODY)


def triggers(connection: Connection) -> None:
    by_hand.trigger(connection, NAME, by_hand.Asker())


def backfills(connection: Connection) -> None:
    found = store.find(connection, NAME, tenant=TENANT)
    at = found.definition.anchor_at
    assert at is not None
    by_hand.backfill(connection, NAME, by_hand.Asker(), first=at, last=at, dry_run=False)


def is_due(engine: Engine) -> None:
    due(engine)


def is_paused(engine: Engine) -> None:
    due(engine)
    pause(engine)


def is_deleted(engine: Engine) -> None:
    due(engine)
    remove(engine)


def is_waiting(engine: Engine) -> None:
    """Have an instant wait for a job that has finished by now; nothing else is due."""
    due(engine, overlap=Overlap.WAIT)
    fire(engine)
    let_pass(engine, 3600)
    fire(engine)
    (attempt,) = scenes.start(engine, *jobs_of(engine))
    scenes.end(engine, attempt, success())


class Pair(NamedTuple):
    """Two moves, and what is to be decided about the instants in the end, where the first commits."""

    scene: Scene
    first: Move
    second: Move
    decided: list[str]


ON_TIME: Final = "fired on_time"
PAIRS: Final = {
    "fire, fire": Pair(is_due, fires, fires, [ON_TIME]),
    "fire, change the timing": Pair(is_due, fires, changes_the_timing, [ON_TIME]),
    "change the timing, fire": Pair(is_due, changes_the_timing, fires, [ON_TIME]),
    "fire, move the instants": Pair(is_due, fires, moves_the_instants, [ON_TIME]),
    "move the instants, fire": Pair(is_due, moves_the_instants, fires, ["skipped edited"]),
    "fire, change the job": Pair(is_due, fires, changes_the_job, [ON_TIME]),
    "change the job, fire": Pair(is_due, changes_the_job, fires, [ON_TIME]),
    "fire, pause": Pair(is_due, fires, pauses, [ON_TIME]),
    "pause, fire": Pair(is_due, pauses, fires, []),
    "fire, resume": Pair(is_paused, fires, resumes, ["skipped paused"]),
    "resume, fire": Pair(is_paused, resumes, fires, ["skipped paused"]),
    "fire, delete": Pair(is_due, fires, deletes, [ON_TIME]),
    "delete, fire": Pair(is_due, deletes, fires, ["skipped deleted"]),
    "fire, trigger": Pair(is_due, fires, triggers, [ON_TIME, "fired triggered"]),
    "trigger, fire": Pair(is_due, triggers, fires, [ON_TIME, "fired triggered"]),
    "fire, backfill": Pair(is_due, fires, backfills, [ON_TIME]),
    "backfill, fire": Pair(is_due, backfills, fires, ["fired backfilled"]),
    "backfill, backfill": Pair(is_due, backfills, backfills, ["fired backfilled"]),
    "trigger, delete": Pair(is_due, triggers, deletes, ["skipped deleted", "fired triggered"]),
    "put again, fire": Pair(is_deleted, puts, fires, ["skipped deleted"]),
    "fire, put again": Pair(is_deleted, fires, puts, ["skipped deleted"]),
    "delete, trigger": Pair(is_due, deletes, triggers, ["skipped deleted"]),
    "delete, backfill": Pair(is_due, deletes, backfills, ["skipped deleted"]),
    "fire what waits, fire what waits": Pair(is_waiting, fires_what_waits, fires_what_waits, [ON_TIME, "fired waited"]),
    "fire what waits, pause": Pair(is_waiting, fires_what_waits, pauses, [ON_TIME, "fired waited"]),
    "pause, fire what waits": Pair(is_waiting, pauses, fires_what_waits, [ON_TIME, "waiting overlap"]),
    "fire what waits, delete": Pair(is_waiting, fires_what_waits, deletes, [ON_TIME, "fired waited"]),
    "delete, fire what waits": Pair(is_waiting, deletes, fires_what_waits, [ON_TIME, "skipped deleted"]),
    "fire what waits, trigger": Pair(
        is_waiting, fires_what_waits, triggers, [ON_TIME, "fired waited", "waiting triggered"]
    ),
    "trigger, fire what waits": Pair(
        is_waiting, triggers, fires_what_waits, [ON_TIME, "fired waited", "skipped overlap"]
    ),
}


def alone(engine: Engine, move: Move) -> None:
    """Make the move, unless what it is about is gone."""
    try:
        with transaction(engine) as connection:
            move(connection)
    except NotFound:
        return


def meet(engine: Engine, first: Move, second: Move, *, commit: bool) -> None:
    """Let `second` begin while `first` is done and not committed."""
    with engine.connect() as connection, ThreadPoolExecutor(1) as pool:
        first(connection)
        other = pool.submit(alone, engine, second)
        _wait_until_stuck_or_done(engine, other)
        connection.commit() if commit else connection.rollback()
        other.result(30)


def _wait_until_stuck_or_done(engine: Engine, second: Future[None]) -> None:
    while not second.done():
        try:
            scenes.wait_for_lock(engine, seconds=0.05)
        except TimeoutError:
            continue
        return


def told(engine: Engine) -> list[str]:
    """Return all decisions with their reasons, also of a schedule that is gone, in the order of the instants."""
    order = (occurrences.c.instant, occurrences.c.id)
    with engine.connect() as connection:
        rows = connection.execute(select(occurrences.c.decision, occurrences.c.reason).order_by(*order))
        return [f"{decision} {reason}" for decision, reason in rows]


def assert_one_job_for_an_instant(engine: Engine) -> None:
    """Assert that each job has its occurrence, each fired occurrence its job, and no instant two of them."""
    with engine.connect() as connection:
        made = set(connection.scalars(select(jobs.c.id)))
        fired = list(connection.scalars(select(occurrences.c.job_id).where(occurrences.c.job_id.is_not(None))))
        most = connection.scalar(
            select(func.count())
            .where(occurrences.c.decision != "skipped")
            .group_by(occurrences.c.schedule_id, occurrences.c.instant)
            .order_by(func.count().desc())
            .limit(1)
        )
    assert sorted(made) == sorted(fired)
    assert most in {None, 1}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_of_a_pair_each_instant_is_decided_once(engine: Engine, pair: Pair) -> None:
    pair.scene(engine)

    meet(engine, pair.first, pair.second, commit=True)
    for beat in (fires, fires_what_waits):
        alone(engine, beat)

    assert told(engine) == pair.decided
    assert_one_job_for_an_instant(engine)


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_the_second_of_a_pair_has_its_way_when_the_first_takes_everything_back(engine: Engine, pair: Pair) -> None:
    pair.scene(engine)
    meet(engine, pair.first, pair.second, commit=False)
    for beat in (fires, fires_what_waits):
        alone(engine, beat)
    met = told(engine)
    assert_one_job_for_an_instant(engine)

    alone(engine, deletes)
    for table in (occurrences, jobs):
        with transaction(engine) as connection:
            connection.execute(table.delete())
    pair.scene(engine)
    alone(engine, pair.second)
    for beat in (fires, fires_what_waits):
        alone(engine, beat)

    assert met == told(engine), "as if the first had never been"


@pytest.mark.parametrize("acknowledged", [pauses, deletes], ids=["pause", "delete"])
def test_no_job_is_made_once_an_end_was_acknowledged(engine: Engine, acknowledged: Move) -> None:
    due(engine)
    alone(engine, acknowledged)

    for _ in range(3):
        alone(engine, fires)

    assert scenes.stored(engine) == 0


def test_a_beat_waits_for_nobody(engine: Engine) -> None:
    due(engine, name="held")
    due(engine)
    with engine.connect() as holder:
        store.find(holder, "held", tenant=TENANT, lock=True)

        fire(engine)

    assert len(jobs_of(engine)) == 1
    assert jobs_of(engine, "held") == []


def test_a_beat_that_stands_still_loses_its_hold(engine: Engine) -> None:
    due(engine)
    with engine.connect() as connection:
        firing.fire_due(connection)
        limit = connection.scalar(select(func.current_setting("idle_in_transaction_session_timeout")))
        connection.rollback()

    assert limit == "5s"


def test_intake_and_firing_together_take_a_unique_key_once(engine: Engine) -> None:
    due(engine, unique_key="one")
    job = NewJob(task="demo.noop", payload="{}", queue="default", unique_key="one")

    def accepts(connection: Connection) -> None:
        intake.accept(connection, [Submission((job,))])

    meet(engine, accepts, fires, commit=True)

    assert told(engine) == ["skipped refused"]
    assert scenes.stored(engine) == 1
