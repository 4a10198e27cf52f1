"""Time limits: the soft one raises, the hard one kills."""

import os
import signal
import time

import pytest

from jobs.model import NewJob
from jobs.state import JobState
from tests.conformance.plant import Plant
from tests.services.local_processes import Worker


def test_the_soft_limit_ends_the_attempt(plant: Plant, worker: Worker) -> None:
    job_id = plant.submit("probe.soft", seconds=20)

    job = plant.finished(job_id, seconds=10)

    assert (job["state"], job["reason"]) == (JobState.FAILED, "exhausted")
    assert plant.outcomes(job_id) == ["timed_out"]
    assert "SoftTimeLimitExceeded" in job["error"]["type"]


def test_a_task_may_use_the_soft_limit_to_end_in_good_order(plant: Plant, worker: Worker) -> None:
    job = plant.finished(plant.submit("probe.cleans_up", seconds=20), seconds=10)

    assert (job["state"], job["result"]) == (JobState.SUCCEEDED, "cleaned up")


def test_the_hard_limit_kills_the_process_and_counts_once(plant: Plant, worker: Worker) -> None:
    job_id = plant.submit("probe.hard", seconds=20)

    job = plant.finished(job_id, seconds=10)

    assert (job["state"], job["error_count"], job["crash_count"]) == (JobState.FAILED, 1, 0)
    assert plant.outcomes(job_id) == ["timed_out"]
    assert plant.events(job_id) == ["accept", "start", "fail"]


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        ({"soft_time_limit_seconds": 0.5}, "SoftTimeLimitExceeded"),
        ({"time_limit_seconds": 0.5}, "TimeLimitExceeded"),
    ],
)
def test_a_jobs_own_limit_takes_the_place_of_its_tasks(
    limits: dict[str, float], error: str, plant: Plant, worker: Worker
) -> None:
    began = time.monotonic()
    new = NewJob(task="probe.naps", payload='{"seconds": 20}', queue="default", **limits)  # type: ignore[arg-type]  # a dict of mixed values

    plant.accept(new)
    job = plant.finished(new.id, seconds=10)

    assert time.monotonic() - began < 5
    assert job["error"]["type"].endswith(error)
    assert plant.outcomes(new.id) == ["timed_out"]


def test_a_process_that_is_interrupted_when_its_attempt_has_ended_lives_on(plant: Plant) -> None:
    with plant.crew(worker_concurrency=1) as crew:
        first = plant.finished(plant.submit("probe.request", crew.lane))["result"]["pid"]

        os.kill(first, signal.SIGUSR1)
        rows = [plant.finished(plant.submit("probe.request", crew.lane)) for _ in range(3)]

        assert {row["result"]["pid"] for row in rows} == {first}
        assert {row["attempt"] for row in rows} == {1}


def test_a_jobs_hard_limit_may_lie_below_its_tasks_soft_one(plant: Plant, worker: Worker) -> None:
    new = NewJob(task="probe.soft", payload='{"seconds": 20}', queue="default", time_limit_seconds=0.5)

    plant.accept(new)

    assert plant.finished(new.id, seconds=10)["error"]["type"] == "TimeLimitExceeded"
