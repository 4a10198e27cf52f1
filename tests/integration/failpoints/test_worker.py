"""A worker that fails somewhere between a doorbell and the end of its job: the job runs, and one attempt counts."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from jobs.model import JobId
from jobs.points import POINTS, Action, Process
from tests.integration.failpoints.exercise import Exercise, kill, together
from tests.integration.failpoints.site import LEASE_SECONDS, Site, fired
from tests.services.api_process import ApiProcess

START = ("start.receive", "start.write", "start.hold")
ATTEMPT = ("attempt.launch", "attempt.accept", "attempt.end", "settle.write", "settle.let_go")
POOL = ("attempt.run", "attempt.report")
LEASE = ("lease.extend", "lease.heed")
ACKNOWLEDGE = "start.acknowledge"
STRAYS = "start.give_strays_back"
LOSE = "attempt.lose"

#: What makes strays: jobs that were started, and whose worker does not know.
CUT_STARTS = ",".join(f"start.write=cut@{nth}" for nth in range(1, 40, 3))

#: What a job must do for its worker to come to a point; elsewhere any will do.
TASKS: dict[str, tuple[str, dict[str, Any]]] = {
    LOSE: ("chaos.dies", {"times": 1}),
    "lease.extend": ("chaos.naps", {"seconds": LEASE_SECONDS}),
    "lease.heed": ("chaos.naps", {"seconds": LEASE_SECONDS}),
}
ANY = ("chaos.naps", {"seconds": 0.02})

DEATHS = [
    (
        *map(kill, START),
        kill(ACKNOWLEDGE),
        kill(STRAYS, also=CUT_STARTS),
    ),
    (*map(kill, ATTEMPT), kill(LOSE), *(kill(point, at=2) for point in POOL), *map(kill, LEASE)),
]
ERRORS = [
    (
        Exercise(START),
        Exercise((ACKNOWLEDGE,)),
        Exercise((STRAYS,), stride=1, also=CUT_STARTS),
        Exercise(("start.hold",), (Action.DELAY,), delay=2 * LEASE_SECONDS),
    ),
    (
        Exercise(ATTEMPT),
        Exercise((LOSE,)),
        Exercise(POOL, first=2),
        Exercise(LEASE),
        Exercise(("lease.extend",), (Action.DELAY,), delay=2 * LEASE_SECONDS),
    ),
]


@pytest.fixture(scope="module")
def api(site: Site) -> ApiProcess:
    """An API and a beat that nothing happens to."""
    site.beat()
    return site.api()


@pytest.mark.parametrize("exercises", DEATHS, ids=together)
def test_workers_that_are_killed_lose_no_job_and_count_none_twice(
    exercises: tuple[Exercise, ...], site: Site, api: ApiProcess
) -> None:
    client = site.client(api)
    lanes = {exercise: next(site.lanes) for exercise in exercises}

    def die(exercise: Exercise) -> list[JobId]:
        armed = site.worker(lanes[exercise], fail_points=exercise.armed)
        task, payload = TASKS.get(exercise.points[0], ANY)
        ids = [client.submit(task, lanes[exercise], payload=payload) for _ in range(3)]
        if POINTS[exercise.points[0]].process is Process.POOL:
            site.until(lambda: fired(armed), f"{exercise} happens")
        else:
            site.died(armed)
        assert fired(armed)[-1:] == exercise.pairs
        armed.kill_all()
        return ids

    with ThreadPoolExecutor(len(exercises)) as threads:
        ids = [job_id for made in threads.map(die, exercises) for job_id in made]

    site.worker(",".join(lanes.values()), worker_concurrency=4)
    site.all_well(ids)


@pytest.mark.parametrize("exercises", ERRORS, ids=together)
def test_workers_that_err_lose_no_job_and_count_none_twice(
    exercises: tuple[Exercise, ...], site: Site, api: ApiProcess
) -> None:
    client = site.client(api)

    def err(exercise: Exercise) -> list[JobId]:
        lane = next(site.lanes)
        armed = site.worker(lane, fail_points=exercise.armed)
        task, payload = TASKS.get(exercise.points[0], ANY)
        ids: list[JobId] = []

        def all_fired() -> bool:
            if not site.unfinished(ids):
                ids.extend(client.submit(task, lane, payload=payload) for _ in range(3))
            return set(exercise.pairs) <= set(fired(armed))

        site.until(all_fired, f"{exercise} happens")
        site.until(lambda: not site.unfinished(ids), f"the jobs of {exercise} end")
        assert armed.pid
        armed.kill_all()
        return ids

    with ThreadPoolExecutor(len(exercises)) as threads:
        ids = [job_id for made in threads.map(err, exercises) for job_id in made]

    site.all_well(ids)
