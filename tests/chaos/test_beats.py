"""The check of occurrences finds what is planted."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine

from jobs.database import reading, transaction
from jobs.planning import firing
from jobs.planning.words import CatchUp
from tests.chaos.beats import check_occurrences
from tests.integration.jobs.timetable import change, get, undecide
from tests.integration.jobs.timetable import put as put_schedule

SECONDS = 20


@pytest.fixture
def until(engine: Engine) -> datetime:
    """A schedule of each second has been fired for so long; return the last instant."""
    put_schedule(engine, every_seconds=1, catch_up=CatchUp.ALL)
    change(engine, "UPDATE schedules SET created_at = created_at - :by", by=timedelta(seconds=SECONDS))
    undecide(engine, SECONDS)
    with transaction(engine) as connection:
        firing.fire_due(connection)
    return get(engine).decided_until


def findings(engine: Engine, until: datetime) -> list[str]:
    with reading(engine) as connection:
        return check_occurrences(connection, until)


def test_what_is_in_order_is_in_order(engine: Engine, until: datetime) -> None:
    assert findings(engine, until) == []


MISSING = "DELETE FROM occurrences WHERE instant = (SELECT max(instant) FROM occurrences)"
NO_JOB = "DELETE FROM jobs WHERE id = (SELECT job_id FROM occurrences ORDER BY instant LIMIT 1)"
NO_OCCURRENCE = (
    "UPDATE occurrences SET decision = 'skipped', job_id = NULL WHERE instant = (SELECT min(instant) FROM occurrences)"
)
TWICE = (
    "INSERT INTO occurrences (id, schedule_id, instant, count, decision, reason, decided_at) "
    "SELECT gen_random_uuid(), schedule_id, instant, 1, 'skipped', 'missed', decided_at FROM occurrences LIMIT 1"
)
STRANGE = (
    "UPDATE occurrences SET instant = instant + interval '0.5 s' WHERE instant = (SELECT min(instant) FROM occurrences)"
)
PLANTED: dict[str, tuple[str, list[str]]] = {
    "an instant that is missing": (MISSING, ["was not decided", "has no occurrence"]),
    "a job that is gone": (NO_JOB, ["is not there"]),
    "a job that nobody recorded": (NO_OCCURRENCE, ["has no job", "has no occurrence"]),
    "an instant that was decided twice": (TWICE, ["was decided 2 times"]),
    "an instant that is none": (STRANGE, ["is no instant", "was not decided"]),
}


@pytest.mark.parametrize(("plant", "says"), PLANTED.values(), ids=PLANTED)
def test_what_is_planted_is_found(engine: Engine, until: datetime, plant: str, says: list[str]) -> None:
    change(engine, plant)

    found = findings(engine, until)

    assert len(found) == len(says), found
    for finding, words in zip(found, says, strict=True):
        assert words in finding


def test_two_jobs_of_one_instant_are_found(engine: Engine, until: datetime) -> None:
    change(engine, "DROP INDEX occurrences_once")
    change(
        engine,
        "INSERT INTO occurrences (id, schedule_id, instant, count, decision, reason, job_id, decided_at) "
        "SELECT gen_random_uuid(), schedule_id, instant, 1, decision, reason, job_id, decided_at "
        "FROM occurrences LIMIT 1",
    )

    assert [words in finding for words, finding in zip(
        ["was decided 2 times", "was fired 2 times", "has 2 occurrences"], findings(engine, until), strict=True
    )] == [True] * 3  # fmt: skip
