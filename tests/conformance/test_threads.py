"""The pool of threads keeps the same promises, but for what needs a process to be killed."""

from collections.abc import Iterator

import pytest

from jobs.state import JobState
from tests.conformance.plant import Crew, Plant


@pytest.fixture(scope="module")
def threads(plant: Plant) -> Iterator[Crew]:
    with plant.crew(worker_pool="threads", worker_concurrency=4) as crew:
        yield crew


def test_a_thread_returns_its_result(plant: Plant, threads: Crew) -> None:
    rows = plant.all_finished(plant.echoes(50, threads.lane))

    assert {(row["state"], row["attempt"]) for row in rows} == {(JobState.SUCCEEDED, 1)}
    assert sorted(int(row["result"]) for row in rows) == list(range(50))


def test_a_thread_sees_its_own_job_and_not_its_neighbours(plant: Plant, threads: Crew) -> None:
    ids = [plant.submit("probe.request", threads.lane) for _ in range(20)]

    rows = plant.all_finished(ids)

    assert all(row["result"]["id"] == str(row["id"]) == row["result"]["celery_id"] for row in rows)
    assert {row["result"]["pid"] for row in rows} == {threads.worker.pid}


def test_a_thread_that_errs_is_tried_again(plant: Plant, threads: Crew) -> None:
    assert plant.finished(plant.submit("demo.flaky", threads.lane, failures=1))["result"] == 2


@pytest.mark.parametrize("kind", ["memory", "sys.exit", "interrupt"])
def test_what_would_end_a_process_does_not_end_the_worker(kind: str, plant: Plant, threads: Crew) -> None:
    job = plant.finished(plant.submit("probe.raises", threads.lane, kind=kind))

    assert job["state"] == JobState.FAILED
    assert plant.finished(plant.submit("demo.echo", threads.lane, message="next"))["state"] == JobState.SUCCEEDED


def test_a_thread_that_asks_is_told_of_a_cancel(plant: Plant, threads: Crew) -> None:
    job_id = plant.submit("demo.sleep", threads.lane, seconds=60)
    plant.running(job_id)

    plant.cancel(job_id)

    assert plant.finished(job_id, seconds=10)["state"] == JobState.CANCELLED
