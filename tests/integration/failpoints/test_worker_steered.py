"""A worker that fails while it ends somebody's job, or its own life: a cancel is kept, and what is given back runs."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from jobs.model import JobId
from jobs.points import Action
from jobs.state import JobState
from tests.chaos.ledger import Call
from tests.integration.failpoints.client import Client
from tests.integration.failpoints.exercise import Exercise, kill
from tests.integration.failpoints.site import Site, fired

SIGNAL = "cancel.signal"
DRAINS = tuple(Exercise(("drain.give_back",), (action,)) for action in Action)


@pytest.fixture(scope="module")
def client(site: Site) -> Client:
    """A client of an API that nothing happens to, with a beat beside it."""
    site.beat()
    return site.client(site.api())


@pytest.mark.parametrize("exercise", [kill(SIGNAL)], ids=str)
def test_a_cancel_is_kept_when_the_worker_dies_over_it(exercise: Exercise, site: Site, client: Client) -> None:
    lane = next(site.lanes)
    armed = site.worker(lane, fail_points=exercise.armed)
    job_id = _running(site, client, lane)

    client.order(Call.CANCEL, job_id)
    site.died(armed)

    assert fired(armed) == exercise.pairs
    site.all_well([job_id], JobState.CANCELLED)


@pytest.mark.parametrize("exercise", [Exercise((SIGNAL,), stride=1)], ids=str)
def test_a_cancel_is_kept_when_its_signal_does_not_get_through(exercise: Exercise, site: Site, client: Client) -> None:
    lane = next(site.lanes)
    armed = site.worker(lane, fail_points=exercise.armed)
    ids = []

    while set(fired(armed)) < set(exercise.pairs):
        ids.append(_running(site, client, lane))
        client.order(Call.CANCEL, ids[-1])
        site.all_well(ids, JobState.CANCELLED)

    assert armed.pid
    armed.kill_all()


@pytest.mark.parametrize("exercises", [DRAINS], ids=["drain.give_back"])
def test_a_job_runs_whatever_becomes_of_the_drain_that_gives_it_back(
    exercises: tuple[Exercise, ...], site: Site, client: Client
) -> None:
    lanes = {exercise: next(site.lanes) for exercise in exercises}

    def drain(exercise: Exercise) -> JobId:
        armed = site.worker(lanes[exercise], fail_points=exercise.armed, drain_seconds=0)
        job_id = _running(site, client, lanes[exercise], "chaos.naps", 3)
        armed.kill("SIGTERM")
        site.died(armed)
        assert fired(armed) == exercise.pairs
        return job_id

    with ThreadPoolExecutor(len(exercises)) as threads:
        ids = list(threads.map(drain, exercises))

    site.worker(",".join(lanes.values()), worker_concurrency=len(lanes))
    site.all_well(ids)


def _running(site: Site, client: Client, lane: str, task: str = "chaos.stubborn", seconds: float = 60) -> JobId:
    """Return a job whose task has begun."""
    job_id = client.submit(task, lane, payload={"seconds": seconds})
    site.until(lambda: job_id in site.begun(), f"{job_id} runs")
    return job_id
