"""A cancel ends a job wherever it is, and is never forgotten."""

import pytest

from jobs.model import NewJob
from jobs.state import JobState
from tests.conformance.plant import Plant
from tests.services.local_processes import Worker


def test_a_waiting_job_that_was_cancelled_never_starts(plant: Plant) -> None:
    lane = plant.lane()
    job_id = plant.submit("demo.echo", lane, message="never")

    assert plant.cancel(job_id) == JobState.CANCELLED
    late = plant.worker(queue=lane)
    after = plant.submit("demo.echo", lane, message="after")
    plant.finished(after)
    plant.dismiss(late)

    assert plant.job(job_id)["state"] == JobState.CANCELLED
    assert plant.attempts(job_id) == []


def test_a_task_that_asks_is_told_and_ends_by_itself(plant: Plant, worker: Worker) -> None:
    job_id = plant.submit("demo.sleep", seconds=60)
    plant.running(job_id)

    plant.cancel(job_id)
    job = plant.finished(job_id, seconds=10)

    assert job["state"] == JobState.CANCELLED
    assert job["error"]["type"] == "jobs.errors.JobCancelled"
    assert plant.events(job_id) == ["accept", "start", "cancel_requested", "cancel"]


@pytest.mark.parametrize(("task", "error"), [("probe.naps", "SoftTimeLimitExceeded"), ("probe.stubborn", "WorkerLost")])
def test_a_task_that_does_not_ask_is_interrupted_and_one_that_goes_on_is_killed(
    task: str, error: str, plant: Plant, worker: Worker
) -> None:
    job_id = plant.submit(task, seconds=60)
    plant.running(job_id)

    plant.cancel(job_id)
    job = plant.finished(job_id, seconds=15)

    assert job["state"] == JobState.CANCELLED
    assert job["error"]["type"].endswith(error)
    assert plant.outcomes(job_id) == ["cancelled"]


def test_a_job_that_waits_for_its_retry_can_be_cancelled(plant: Plant, worker: Worker) -> None:
    new = NewJob(
        task="probe.retried",
        payload='{"kind": "plain"}',
        queue="default",
        retry='{"max_retries": 5, "fixed_delay_seconds": 600}',
    )
    plant.accept(new)
    plant.reaches(new.id, JobState.RETRYING)

    assert plant.cancel(new.id) == JobState.CANCELLED


def test_a_cancel_outlives_all_workers(plant: Plant) -> None:
    with plant.crew(worker_concurrency=1, lease_seconds=1.5, cancel_grace_seconds=600) as crew:
        job_id = plant.submit("probe.naps", crew.lane, seconds=60)
        plant.running(job_id)

        plant.cancel(job_id)
        crew.worker.container.kill_all()
        crew.worker.restart()

        assert plant.finished(job_id)["state"] == JobState.CANCELLED
        assert plant.outcomes(job_id) == ["lost"]
