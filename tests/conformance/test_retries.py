"""When a job runs again, and when it does not."""

import json

import pytest

from jobs.model import NewJob
from jobs.state import JobState
from tests.conformance.plant import Plant
from tests.services.local_processes import Worker


def test_a_job_that_errs_is_tried_again_until_it_succeeds(plant: Plant, worker: Worker) -> None:
    job_id = plant.submit("demo.flaky", failures=2)

    job = plant.finished(job_id)

    assert (job["state"], job["result"], job["error_count"]) == (JobState.SUCCEEDED, 3, 2)
    assert plant.outcomes(job_id) == ["errored", "errored", "succeeded"]
    assert plant.events(job_id) == ["accept", *["start", "retry", "enqueue"] * 2, "start", "succeed"]


def test_a_job_whose_retries_are_used_up_is_a_dead_letter(plant: Plant, worker: Worker) -> None:
    job = plant.finished(plant.submit("probe.retried", kind="plain"))

    assert (job["state"], job["reason"], job["attempt"]) == (JobState.FAILED, "exhausted", 3)


def test_a_jobs_own_policy_takes_the_place_of_its_tasks(plant: Plant, worker: Worker) -> None:
    own = json.dumps({"max_retries": 1, "backoff_seconds": 2, "jitter": False})
    new = NewJob(task="probe.retried", payload='{"kind": "plain"}', queue="default", retry=own)

    plant.accept(new)
    job = plant.finished(new.id)

    first, second = plant.attempts(new.id)
    waited = (second["started_at"] - first["finished_at"]).total_seconds()
    assert (job["state"], job["attempt"]) == (JobState.FAILED, 2)
    assert 2 <= waited < 4


@pytest.mark.parametrize(
    ("task", "kind", "attempts", "reason"),
    [
        ("probe.raises", "plain", 1, "exhausted"),
        ("probe.retried", "permanent", 1, "permanent"),
        ("probe.retried", "reject", 1, "permanent"),
        ("probe.listed", "os", 3, "exhausted"),
        ("probe.listed", "plain", 1, "permanent"),
        ("probe.expects", "plain", 3, "exhausted"),
        ("probe.expects", "refused", 1, "permanent"),
    ],
)
def test_a_tasks_own_options_say_which_errors_are_worth_a_retry(
    task: str, kind: str, attempts: int, reason: str, plant: Plant, worker: Worker
) -> None:
    job = plant.finished(plant.submit(task, kind=kind))

    assert (job["state"], job["attempt"], job["reason"]) == (JobState.FAILED, attempts, reason)


def test_ignore_ends_a_job_well(plant: Plant, worker: Worker) -> None:
    assert plant.finished(plant.submit("probe.raises", kind="ignore"))["state"] == JobState.SUCCEEDED


@pytest.mark.parametrize("eta", [False, True])
def test_celerys_retry_waits_as_long_as_the_task_asks(eta: bool, plant: Plant, worker: Worker) -> None:
    job_id = plant.submit("probe.asks", times=2, eta=eta)

    job = plant.finished(job_id)

    assert (job["state"], job["result"]) == (JobState.SUCCEEDED, 2)
    assert plant.attempts(job_id)[0]["error"]["type"] == "ValueError"


def test_celerys_retry_may_name_a_limit_of_its_own(plant: Plant, worker: Worker) -> None:
    job = plant.finished(plant.submit("probe.asks", times=5, most=1))

    assert (job["state"], job["attempt"], job["error"]["message"]) == (JobState.FAILED, 2, "again")


def test_being_put_off_burns_no_error(plant: Plant, worker: Worker) -> None:
    job_id = plant.submit("probe.throttled", times=2)

    job = plant.finished(job_id)

    assert (job["state"], job["result"], job["error_count"]) == (JobState.SUCCEEDED, 3, 0)
    assert plant.outcomes(job_id) == ["interrupted", "interrupted", "succeeded"]
