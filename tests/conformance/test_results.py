"""What a task returns and raises is kept, whatever it is."""

from typing import Any

import pytest
from pytest_celery import CeleryTestSetup

from jobs.model import NewJob
from jobs.state import JobState
from tests.conformance.plant import Plant
from tests.services.local_processes import Worker


def test_the_setup_is_pytest_celerys_and_real(celery_setup: CeleryTestSetup, plant: Plant, worker: Worker) -> None:
    pool = celery_setup.app.pool  # others in this process have restarted the broker: its old connections are dead
    pool.resize(pool.limit, reset=True)

    assert celery_setup.ready(control=True)
    assert celery_setup.worker_cluster.nodes == (worker,)
    worker.assert_log_exists("ready.")


def test_an_echo_comes_back(plant: Plant, worker: Worker) -> None:
    job_id = plant.submit("demo.echo", message="hello")

    job = plant.finished(job_id)

    assert (job["state"], job["result"]) == (JobState.SUCCEEDED, "hello")
    assert plant.outcomes(job_id) == ["succeeded"]
    assert plant.events(job_id) == ["accept", "start", "succeed"]


def test_arguments_arrive_in_the_types_of_the_signature(plant: Plant, worker: Worker) -> None:
    job_id = plant.submit(
        "probe.types",
        key="0192e4a0-0000-7000-8000-000000000000",
        amount="12.50",
        at="2026-11-01T01:30:00-04:00",
        size="small",
        parcel={"to": "Ada", "grams": 20},
        wait="PT5S",
    )

    assert plant.finished(job_id)["result"] == {
        "key": "UUID",
        "amount": "Decimal",
        "at": "datetime",
        "size": "Size",
        "parcel": "Parcel",
        "wait": "timedelta",
    }


def test_a_payload_that_does_not_fit_fails_for_good_and_names_the_field(plant: Plant, worker: Worker) -> None:
    job_id = plant.submit("demo.echo", message=["not", "text"])

    job = plant.finished(job_id)

    assert (job["state"], job["reason"], job["attempt"]) == (JobState.FAILED, "permanent", 1)
    assert job["error"]["type"] == "jobs.errors.InvalidPayload"


def test_a_job_of_a_task_that_is_not_installed_here_is_not_started(plant: Plant, worker: Worker) -> None:
    buried, left = plant.buried("default"), worker.logs().count("doorbell_left")

    stranger = plant.submit("nobody.knows")
    after = plant.submit("demo.echo", message="after")

    assert plant.finished(after)["state"] == JobState.SUCCEEDED
    plant.until(lambda: worker.logs().count("doorbell_left") > left, "the doorbell is left to others")
    assert plant.job(stranger)["state"] == JobState.QUEUED
    assert plant.buried("default") == buried
    plant.cancel(stranger)


def test_a_task_sees_its_own_job(plant: Plant, worker: Worker) -> None:
    job_id = plant.submit("probe.request")

    seen = plant.finished(job_id)["result"]

    assert seen.pop("pid") in worker.children()
    assert seen == {
        "id": str(job_id),
        "celery_id": str(job_id),
        "attempt": 1,
        "retries": 0,
        "token": f"{job_id}:0000000001",
    }


def test_an_error_is_kept_with_its_type_message_and_trace(plant: Plant, worker: Worker) -> None:
    job_id = plant.submit("probe.raises", kind="plain")

    job = plant.finished(job_id)

    assert (job["state"], job["reason"]) == (JobState.FAILED, "exhausted")
    assert (job["error"]["type"], job["error"]["message"]) == ("ValueError", "it broke")
    assert "in throw" in job["error"]["trace"]
    assert plant.attempts(job_id)[0]["error"] == job["error"]


@pytest.mark.parametrize(
    ("kind", "kept"),
    [
        ("nul", "a\ufffdb"),
        ("backslashes", "a\\u0000 \\\ufffd"),
        ("nan", None),
        ("none", None),
        ("large", {"truncated": True, "bytes": 5002, "limit_bytes": 2000}),
    ],
)
def test_a_result_that_is_hard_to_store_is_kept_as_well_as_it_can_be(
    kind: str, kept: Any, plant: Plant, worker: Worker
) -> None:
    job_id = plant.submit("probe.returns", kind=kind)

    job = plant.finished(job_id)

    assert (job["state"], job["result"]) == (JobState.SUCCEEDED, kept)


@pytest.mark.parametrize("kind", ["object", "surrogate"])
def test_a_result_without_a_json_form_fails_the_job_for_good(kind: str, plant: Plant, worker: Worker) -> None:
    job_id = plant.submit("probe.returns", kind=kind)

    job = plant.finished(job_id)

    assert (job["state"], job["reason"]) == (JobState.FAILED, "permanent")
    assert "no JSON form" in job["error"]["message"]


@pytest.mark.parametrize(
    ("kind", "message"), [("nul", "a\ufffdb"), ("surrogate", "half \N{REPLACEMENT CHARACTER}"), ("long", "m" * 4000)]
)
def test_an_error_that_is_hard_to_store_is_kept_as_well_as_it_can_be(
    kind: str, message: str, plant: Plant, worker: Worker
) -> None:
    job_id = plant.submit("probe.raises", kind=kind)

    assert plant.finished(job_id)["error"]["message"] == message


def test_a_payload_too_large_for_a_pipe_arrives_whole(plant: Plant, worker: Worker) -> None:
    message = "a long way " * 20_000

    job = plant.finished(plant.submit("demo.echo", message=message))

    assert job["state"] == JobState.SUCCEEDED
    assert job["result"]["bytes"] == len(message) + 2


def test_progress_is_readable_while_the_task_runs_and_its_last_word_is_kept(plant: Plant, worker: Worker) -> None:
    job_id = plant.submit("demo.progress", steps=6, seconds=3)

    plant.until(lambda: (plant.job(job_id)["progress"] or {}).get("done", 0) >= 1, "progress shows")

    assert plant.job(job_id)["state"] == JobState.RUNNING
    assert plant.finished(job_id)["progress"] == {"done": 6, "total": 6, "note": "step 6 of 6"}


def test_the_jobs_own_trace_and_request_are_on_the_workers_lines(plant: Plant, worker: Worker) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    new = NewJob(
        task="probe.raises",
        payload='{"kind": "plain"}',
        queue="default",
        request_id="req-17",
        traceparent=f"00-{trace}-b7ad6b7169203331-01",
    )

    plant.finished(plant.accept(new)[0])

    lines = [line for line in worker.logs().splitlines() if str(new.id) in line]
    assert any("attempt_ended" in line and "req-17" in line for line in lines)
    assert not any("it broke" in line for line in lines)
