"""The ladder of a cancel: asked, interrupted, killed. Each step is taken by the task that it takes, and by no other."""

import json
from collections.abc import Iterator

import pytest

from deploy.stack.postgres import PostgresServer
from jobs.model import JobId, NewJob
from jobs.state import JobState
from tests.conformance.plant import Crew, Plant
from tests.services.crashes import bring_back

LONG = 60


@pytest.fixture(scope="module")
def crew(plant: Plant) -> Iterator[Crew]:
    """Workers that give a task more time for each step than it takes to ask."""
    with plant.crew(worker_concurrency=2, cancel_grace_seconds=3) as crew:
        yield crew


def signals(crew: Crew, job_id: JobId) -> list[str]:
    """Return the signals that were sent to the process of the job, in order."""
    lines = [json.loads(line) for line in crew.worker.logs().splitlines() if "attempt_told_to_end" in line]
    return [line["signal"] for line in lines if line["job_id"] == str(job_id)]


@pytest.mark.parametrize(
    ("task", "sent", "error"),
    [
        ("demo.sleep", [], "jobs.errors.JobCancelled"),
        ("probe.naps", ["SIGUSR1"], "billiard.exceptions.SoftTimeLimitExceeded"),
        ("probe.stubborn", ["SIGUSR1", "SIGKILL"], "WorkerLost"),
    ],
    ids=["one that asks is told", "one that waits is interrupted", "one that will not hear is killed"],
)
def test_each_task_takes_the_ladder_as_far_as_it_must(
    task: str, sent: list[str], error: str, plant: Plant, crew: Crew
) -> None:
    neighbour = plant.submit("probe.naps", crew.lane, seconds=10)
    job_id = plant.submit(task, crew.lane, seconds=LONG)
    plant.running(neighbour)
    plant.running(job_id)

    plant.cancel(job_id)
    job = plant.finished(job_id)

    assert (job["state"], job["error"]["type"]) == (JobState.CANCELLED, error)
    assert signals(crew, job_id) == sent
    assert plant.outcomes(job_id) == ["cancelled"]
    assert plant.events(job_id) == ["accept", "start", "cancel_requested", "cancel"]
    assert plant.finished(neighbour)["state"] == JobState.SUCCEEDED
    assert plant.outcomes(neighbour) == ["succeeded"]


def test_a_task_that_ends_its_work_when_it_is_interrupted_has_succeeded(plant: Plant, crew: Crew) -> None:
    new = NewJob(
        task="probe.cleans_up", payload=f'{{"seconds": {LONG}}}', queue=crew.lane, soft_time_limit_seconds=LONG
    )
    plant.accept(new)
    plant.running(new.id)

    plant.cancel(new.id)
    job = plant.finished(new.id)

    assert (job["state"], job["result"]) == (JobState.SUCCEEDED, "cleaned up")
    assert signals(crew, new.id) == ["SIGUSR1"]


def test_a_thread_is_only_asked_and_what_it_finishes_is_finished(plant: Plant) -> None:
    with plant.crew(worker_pool="threads", worker_concurrency=2, cancel_grace_seconds=0.3) as threads:
        asks = plant.submit("demo.sleep", threads.lane, seconds=LONG)
        naps = plant.submit("probe.naps", threads.lane, seconds=3)
        plant.running(asks)
        plant.running(naps)

        plant.cancel(asks)
        plant.cancel(naps)

        assert plant.finished(asks)["state"] == JobState.CANCELLED
        assert plant.finished(naps)["state"] == JobState.SUCCEEDED
        assert plant.finished(plant.submit("demo.echo", threads.lane, message="next"))["state"] == JobState.SUCCEEDED


def test_a_worker_that_stops_on_the_ladder_leaves_its_job_cancelled(plant: Plant) -> None:
    with plant.crew(worker_concurrency=1, cancel_grace_seconds=600, drain_seconds=1) as crew:
        job_id = plant.submit("probe.naps", crew.lane, seconds=LONG)
        plant.running(job_id)

        plant.cancel(job_id)
        plant.until(lambda: "cancel_seen" in crew.worker.logs(), "the worker knows")
        crew.worker.restart()

        assert plant.job(job_id)["state"] == JobState.CANCELLED
        assert plant.outcomes(job_id) == ["cancelled"]
        assert plant.finished(plant.submit("demo.echo", crew.lane, message="next"))["state"] == JobState.SUCCEEDED


@pytest.mark.parametrize(("task", "sent"), [("probe.naps", 1), ("probe.stubborn", 2)])
def test_the_ladder_is_climbed_while_postgresql_is_away(
    task: str, sent: int, plant: Plant, postgres_server: PostgresServer
) -> None:
    with plant.crew(worker_concurrency=1, cancel_grace_seconds=2) as crew:
        job_id = plant.submit(task, crew.lane, seconds=LONG)
        plant.running(job_id)
        plant.cancel(job_id)
        plant.until(lambda: "cancel_seen" in crew.worker.logs(), "the worker knows")

        postgres_server.kill()
        try:
            plant.until(lambda: len(signals(crew, job_id)) == sent, "the task is ended all the same")
        finally:
            bring_back(postgres_server)

        plant.engine.dispose()
        assert plant.finished(job_id)["state"] == JobState.CANCELLED
        assert plant.outcomes(job_id) == ["cancelled"]
        assert plant.events(job_id)[-2:] == ["cancel_requested", "cancel"]


def test_a_cancel_that_is_asked_for_while_postgresql_restarts_is_heard_afterwards(
    plant: Plant, crew: Crew, postgres_server: PostgresServer
) -> None:
    job_id = plant.submit("demo.sleep", crew.lane, seconds=LONG)
    plant.running(job_id)

    plant.restart(postgres_server)
    plant.cancel(job_id)

    assert plant.finished(job_id)["state"] == JobState.CANCELLED
