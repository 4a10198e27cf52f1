"""What differs on RabbitMQ: confirms that do not come, and doorbells that come again for want of an acknowledgement."""

import pytest

from jobs.model import JobId
from jobs.points import Action
from tests.integration.failpoints.exercise import Exercise, kill
from tests.integration.failpoints.site import Site, fired
from tests.services.api_process import ApiProcess

CONFIRM = "dispatch.confirm"
HANDLING = ("start.receive", "start.acknowledge")
SURVIVABLE = (Action.OUTAGE, Action.DELAY, Action.CUT)


@pytest.fixture(scope="module")
def standing(rabbit_site: Site) -> ApiProcess:
    """An API that nothing happens to; a worker and a beat serve all."""
    rabbit_site.worker("default", worker_concurrency=4)
    rabbit_site.beat()
    return rabbit_site.api()


@pytest.mark.parametrize("exercise", [kill(CONFIRM)], ids=str)
def test_an_api_that_is_killed_before_the_confirm_loses_no_job_and_makes_none_twice(
    exercise: Exercise, rabbit_site: Site, standing: ApiProcess
) -> None:
    armed = rabbit_site.api(fail_points=exercise.armed)
    client = rabbit_site.client(armed, standing)

    ids = [client.submit("chaos.quick") for _ in range(3)]
    rabbit_site.died(armed)

    assert fired(armed) == exercise.pairs
    client.submit_again()
    rabbit_site.all_well(ids)


@pytest.mark.parametrize("exercise", [Exercise((CONFIRM,))], ids=str)
def test_an_api_whose_confirms_fail_loses_no_job_and_makes_none_twice(
    exercise: Exercise, rabbit_site: Site, standing: ApiProcess
) -> None:
    armed = rabbit_site.api(fail_points=exercise.armed)
    client = rabbit_site.client(armed)
    ids: list[JobId] = []

    def all_fired() -> bool:
        ids.extend(client.submit("chaos.quick") for _ in range(4))
        return set(exercise.pairs) <= set(fired(armed))

    rabbit_site.until(all_fired, f"{exercise} happens")
    rabbit_site.all_well(ids)
    client.submit_again()
    assert armed.pid


@pytest.mark.parametrize("exercise", [Exercise(HANDLING, SURVIVABLE), *map(kill, HANDLING)], ids=str)
def test_doorbells_that_come_again_start_no_job_twice(
    exercise: Exercise, rabbit_site: Site, standing: ApiProcess
) -> None:
    lane = next(rabbit_site.lanes)
    armed = rabbit_site.worker(lane, fail_points=exercise.armed)
    client = rabbit_site.client(standing)
    ids: list[JobId] = []

    def all_fired() -> bool:
        if not rabbit_site.unfinished(ids):
            ids.extend(client.submit("chaos.naps", lane, payload={"seconds": 0.02}) for _ in range(3))
        return set(exercise.pairs) <= set(fired(armed))

    rabbit_site.until(all_fired, f"{exercise} happens")
    if Action.KILL in exercise.actions:
        rabbit_site.died(armed)
        armed = rabbit_site.worker(lane)
    rabbit_site.all_well(ids)
    assert armed.pid
