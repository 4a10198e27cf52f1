"""A beat that fails while it fires schedules: each instant is decided once, and its job made once."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import func, select, text

from jobs.database import reading, transaction
from jobs.tables import jobs, schedules
from tests.chaos.beats import check_occurrences, write_schedules
from tests.integration.failpoints.exercise import Exercise, kill
from tests.integration.failpoints.site import Site, fired

FIRE = ("fire.record", "fire.submit", "fire.advance", "fire.commit")
DEATHS = tuple(map(kill, FIRE))
SCHEDULES = 4
"""Each of them due every second."""


@pytest.mark.parametrize("exercises", [(*DEATHS, Exercise(FIRE, stride=1))], ids=["fire"])
def test_every_instant_is_decided_once_whatever_becomes_of_the_beat_that_decides(
    exercises: tuple[Exercise, ...], site: Site
) -> None:
    site.worker("default", worker_concurrency=4)
    write_schedules(site.engine, SCHEDULES)
    for exercise in exercises:
        armed = site.beat(fail_points=exercise.armed)
        site.until(lambda a=armed, e=exercise: set(e.pairs) <= set(fired(a)), f"{exercise} happens")  # type: ignore[misc]  # binds the loop's values
        armed.kill_all()

    site.beat()
    until = _caught_up(site)
    with reading(site.engine) as connection:
        assert check_occurrences(connection, until) == []
    _delete_schedules(site)
    with reading(site.engine) as connection:
        ids = list(connection.scalars(select(jobs.c.id)))
    site.all_well(ids, tried=("attempts-numbered", "events-numbered", "one-completion"))


def _caught_up(site: Site) -> datetime:
    """Return an instant up to which every schedule has decided."""
    with reading(site.engine) as connection:
        now = connection.scalars(select(func.clock_timestamp())).one()
    assert isinstance(now, datetime)
    behind = select(func.count()).where(schedules.c.decided_until < now - timedelta(seconds=1))

    def is_caught_up() -> bool:
        with reading(site.engine) as connection:
            return not connection.scalar(behind)

    site.until(is_caught_up, "every schedule has caught up")
    return now - timedelta(seconds=1)


def _delete_schedules(site: Site) -> None:
    """Have no more jobs made; those that there are end."""
    with transaction(site.engine) as connection:
        connection.execute(text("DELETE FROM schedules"))
