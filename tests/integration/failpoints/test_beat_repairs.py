"""A beat that fails while it rings for stranded jobs or deletes old ones: none is forgotten, and none half deleted."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis
from sqlalchemy import Engine, func, insert, select, text

from deploy.stack.postgres import PostgresServer
from jobs.database import reading, transaction
from jobs.model import Acceptance, JobId, new_job_id
from jobs.planning.words import Decision, Why
from jobs.points import Action
from jobs.tables import attempts, events, idempotency_keys, job_logs, jobs, occurrences, schedules
from tests.factories import submission, success
from tests.integration.failpoints.conftest import open_site
from tests.integration.failpoints.exercise import Exercise
from tests.integration.failpoints.site import Site, fired
from tests.integration.jobs import scenes, timetable
from tests.services.fixtures import own_database

STRANDED = ("upkeep.stranded.commit", "upkeep.stranded.ring")
PRUNE = tuple(f"upkeep.{step}.commit" for step in ("prune", "prune_keys", "prune_occurrences", "prune_schedules"))

#: What these steps do, they do at once when a beat starts, and then not for a while. What ends a beat or its round
#: meets each step in a beat of its own.
RINGS = tuple(Exercise((point,), (action,)) for point in STRANDED for action in Action)
DELETIONS = tuple(
    [Exercise(PRUNE, (action,), stride=0) for action in (Action.BUG, Action.DELAY)]
    + [Exercise((point,), (action,)) for point in PRUNE for action in (Action.KILL, Action.OUTAGE, Action.CUT)]
    + [Exercise(("upkeep.prune.delete",), (action,), first=2) for action in Action]
)
EVERYTHING = (jobs, job_logs, events, attempts, idempotency_keys, occurrences, schedules)
A_BLINK = 0.00001
"""Days."""


@pytest.mark.parametrize("exercises", [RINGS], ids=["stranded"])
def test_jobs_whose_doorbells_are_gone_run_whatever_becomes_of_the_beat_that_rings_for_them(
    exercises: tuple[Exercise, ...], site: Site
) -> None:
    client, lane, ids = site.client(site.api()), next(site.lanes), []
    for exercise in exercises:
        ids.append(client.submit("chaos.quick", lane))
        _strand(site, lane, ids[-1])
        armed = site.beat(fail_points=exercise.armed)
        site.until(lambda armed=armed: fired(armed), f"{exercise} happens")  # type: ignore[misc]  # binds the loop's value
        armed.kill_all()
        assert fired(armed) == exercise.pairs

    site.beat()
    site.worker(lane)
    site.all_well(ids)


def _strand(site: Site, lane: str, job_id: JobId) -> None:
    """Wipe the broker, and return when the job was rung for so long ago that this shows."""
    with redis.Redis.from_url(site.broker_url) as broker:
        site.until(lambda: broker.keys(f"{lane}*"), "the doorbell is rung")
        broker.flushall()
    long_ago = select(jobs.c.rung_at < func.now() - text("interval '1.1 s'")).where(jobs.c.id == job_id)

    def is_stranded() -> bool:
        with reading(site.engine) as connection:
            return bool(connection.scalar(long_ago))

    site.until(is_stranded, "the job is stranded")


@pytest.fixture
def archive(postgres_server: PostgresServer, template_database: str, site: Site, tmp_path: Path) -> Iterator[Site]:
    """A site of its own: what is deleted cannot be checked against what clients were told."""
    with own_database(postgres_server, template_database) as url, open_site(url, site.broker_url, tmp_path) as made:
        yield made


@pytest.mark.parametrize("exercises", [DELETIONS], ids=["prune"])
def test_old_jobs_are_deleted_whole_or_not_at_all(exercises: tuple[Exercise, ...], archive: Site) -> None:
    for exercise in exercises:
        _make_old(archive.engine)
        armed = archive.beat(fail_points=exercise.armed, keep_finished_days=A_BLINK)
        archive.until(lambda a=armed, e=exercise: set(e.pairs) <= set(fired(a)), f"{exercise} happens")  # type: ignore[misc]  # binds the loop's values
        armed.kill_all()
        assert sorted(fired(armed)) == sorted(exercise.pairs)
        _assert_whole(archive.engine)

    archive.beat(keep_finished_days=A_BLINK)
    archive.until(lambda: not _left(archive.engine), "all is deleted")


def _make_old(engine: Engine) -> None:
    """Store jobs that ended an hour ago, under keys whose day is over, and a schedule that was deleted then."""
    for _ in range(3):
        (answer,) = scenes.submit(engine, submission(key=uuid.uuid4().hex))
        assert isinstance(answer, Acceptance)
        (attempt,) = scenes.start(engine, answer.receipts[0].id)
        scenes.log(engine, attempt.job_id, "began")
        scenes.end(engine, attempt, success())
    name = uuid.uuid4().hex
    timetable.put(engine, name, every_seconds=86_400)
    timetable.remove(engine, name)
    with transaction(engine) as connection:
        connection.execute(text("UPDATE schedules SET deleted_at = now() - interval '1 h'"))
        connection.execute(insert(occurrences).values(_old_occurrence()))
        connection.execute(text("UPDATE idempotency_keys SET expires_at = now() - interval '1 s'"))
        connection.execute(text("UPDATE jobs SET finished_at = now() - interval '1 h'"))


def _old_occurrence() -> dict[str, object]:
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    decided = {"decision": Decision.SKIPPED.value, "reason": Why.MISSED.value, "decided_at": long_ago}
    return {"id": new_job_id(), "schedule_id": uuid.uuid4(), "instant": long_ago, **decided}


def _assert_whole(engine: Engine) -> None:
    """Assert that each job is there with its log, its events and its attempt, or gone with them."""
    with reading(engine) as connection:
        columns = (jobs.c.id, job_logs.c.job_id, events.c.job_id, attempts.c.job_id)
        stored = [set(connection.scalars(select(column))) for column in columns]
    assert all(ids == stored[0] for ids in stored)


def _left(engine: Engine) -> int:
    with reading(engine) as connection:
        return sum(connection.scalar(select(func.count()).select_from(table)) or 0 for table in EVERYTHING)
