"""An API that fails somewhere between a request and the doorbell of its job: what was asked for is done, and once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select

from jobs.database import reading
from jobs.model import JobId
from jobs.state import JobState
from jobs.tables import jobs
from tests.chaos.ledger import Call
from tests.integration.failpoints.client import Client
from tests.integration.failpoints.exercise import Exercise, kill, together
from tests.integration.failpoints.site import Site, fired
from tests.services.api_process import ApiProcess

INTAKE = ("intake.claim", "intake.insert", "intake.commit", "intake.answer")
DISPATCH = ("dispatch.hand_over", "dispatch.ring", "dispatch.count")
GIVE_BACK = "dispatch.give_back"
CONTROL = ("control.commit", "control.ring", "replay.close", "replay.commit")
NOT_RUNG = ",".join(f"dispatch.ring=outage@{nth}" for nth in range(1, 7))

INTAKE_DEATHS = tuple(kill(point) for point in INTAKE)
DISPATCH_DEATHS = (*map(kill, DISPATCH), kill(GIVE_BACK, also=NOT_RUNG))
ERRORS = [Exercise(INTAKE), Exercise(DISPATCH), Exercise((GIVE_BACK,), stride=1, also=NOT_RUNG)]
CONTROL_DEATHS = tuple(kill(point) for point in CONTROL)


@pytest.fixture(scope="module")
def standing(site: Site) -> ApiProcess:
    """An API that nothing happens to; a worker and a beat serve all."""
    site.worker("default", worker_concurrency=4)
    site.beat()
    return site.api()


@pytest.mark.parametrize("exercises", [INTAKE_DEATHS, DISPATCH_DEATHS], ids=together)
def test_apis_that_are_killed_lose_no_job_and_make_none_twice(
    exercises: tuple[Exercise, ...], site: Site, standing: ApiProcess
) -> None:
    def die(exercise: Exercise) -> list[JobId]:
        armed = site.api(fail_points=exercise.armed)
        client = site.client(armed, standing)
        ids = [client.submit("chaos.quick") for _ in range(3)]
        site.died(armed)
        assert fired(armed)[-1:] == exercise.pairs
        client.submit_again()
        return ids

    ids = [job_id for made in at_once(die, exercises) for job_id in made]

    site.all_well(ids)


@pytest.mark.parametrize("exercise", ERRORS, ids=str)
def test_an_api_that_errs_loses_no_job_and_makes_none_twice(
    exercise: Exercise, site: Site, standing: ApiProcess
) -> None:
    armed = site.api(fail_points=exercise.armed)
    client = site.client(armed)
    ids: list[JobId] = []

    def all_fired() -> bool:
        ids.extend(client.submit("chaos.quick") for _ in range(4))
        return set(exercise.pairs) <= set(fired(armed))

    site.until(all_fired, f"{exercise} happens")
    site.all_well(ids)
    client.submit_again()
    assert armed.stop()


@pytest.mark.parametrize("exercises", [CONTROL_DEATHS], ids=together)
def test_apis_that_are_killed_while_they_steer_jobs_do_what_was_asked_once(
    exercises: tuple[Exercise, ...], site: Site, standing: ApiProcess
) -> None:
    calm = site.client(standing)
    waiting, letters = some_jobs(site, calm, len(exercises))

    def die(exercise: Exercise) -> None:
        armed = site.api(fail_points=exercise.armed)
        place = exercises.index(exercise)
        steer(site.client(armed, standing), waiting[place], letters[place])
        site.died(armed)
        assert fired(armed)[-1:] == exercise.pairs

    at_once(die, exercises)

    site.all_well(waiting)
    assert_replayed_once(site, letters)


@pytest.mark.parametrize("exercise", [Exercise(CONTROL)], ids=str)
def test_an_api_that_errs_while_it_steers_jobs_does_what_was_asked_once(
    exercise: Exercise, site: Site, standing: ApiProcess
) -> None:
    waiting, letters = some_jobs(site, site.client(standing), 2 * len(exercise.pairs))
    armed = site.api(fail_points=exercise.armed)
    client = site.client(armed)

    for job_id, letter in zip(waiting, letters, strict=True):
        steer(client, job_id, letter)

    assert set(exercise.pairs) <= set(fired(armed))
    site.all_well(waiting)
    assert_replayed_once(site, letters)
    assert armed.stop()


def at_once(do: Callable[[Exercise], Any], exercises: tuple[Exercise, ...]) -> Any:
    with ThreadPoolExecutor(len(exercises)) as threads:
        return list(threads.map(do, exercises))


def some_jobs(site: Site, client: Client, count: int) -> tuple[list[JobId], list[JobId]]:
    """Return jobs that wait for another day, and dead letters."""
    letters = [client.submit("chaos.fails") for _ in range(count)]
    site.all_well(letters, JobState.FAILED)
    return [client.submit("chaos.quick", delay_seconds=86_400) for _ in range(count)], letters


def steer(client: Client, waiting: JobId, letter: JobId) -> None:
    client.order(Call.CANCEL, waiting)
    client.order(Call.RETRY, waiting)
    client.order(Call.REPLAY, letter)


def assert_replayed_once(site: Site, letters: list[JobId]) -> None:
    closed = select(jobs.c.id).where(jobs.c.id.in_(letters), jobs.c.closed_at.is_not(None))
    with reading(site.engine) as connection:
        assert len(connection.execute(closed).all()) == len(letters)
        copies = [row.replay_of for row in connection.execute(select(jobs).where(jobs.c.replay_of.in_(letters)))]
    assert sorted(copies) == sorted(letters)
