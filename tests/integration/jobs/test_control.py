"""What people may do to a job: cancel, retry, replay, discard."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, func

from jobs import control, intake
from jobs.database import transaction
from jobs.errors import NotFound, StaleTransition, UniqueKeyTaken
from jobs.model import Acceptance, Doorbell, JobId, new_job_id
from jobs.state import FINAL, TRANSITIONS, Event, JobState
from tests.factories import cancelled, failure, new_job, rescue, retry, submission, success
from tests.integration.jobs import scenes


def cancel(engine: Engine, job_id: JobId) -> JobState:
    with transaction(engine) as connection:
        return control.cancel(connection, job_id)


def redrive(engine: Engine, job_id: JobId) -> Doorbell:
    with transaction(engine) as connection:
        return control.retry(connection, job_id)


def close(engine: Engine, job_id: JobId, **changes: Any) -> None:
    with transaction(engine) as connection:
        control.close(connection, job_id, **changes)


def expired(engine: Engine, **changes: Any) -> JobId:
    job_id = scenes.queued(engine, **changes)
    scenes.change(engine, job_id, state="expired", finished_at=func.now(), rung_at=None)
    return job_id


def in_state(engine: Engine, state: JobState, **changes: Any) -> JobId:
    """Return a new job that came to `state` as jobs do."""
    match state:
        case JobState.SCHEDULED:
            return scenes.scheduled(engine, **changes)
        case JobState.QUEUED:
            return scenes.queued(engine, **changes)
        case JobState.RUNNING:
            return scenes.running(engine, **changes).job_id
        case JobState.EXPIRED:
            return expired(engine, **changes)
        case _:
            ends = {"retrying": retry(), "succeeded": success(), "failed": failure(), "cancelled": cancelled()}
            return scenes.ended(engine, ends[state], **changes)


# Cancel


@pytest.mark.parametrize("state", [JobState.SCHEDULED, JobState.QUEUED, JobState.RETRYING])
def test_a_waiting_job_is_cancelled_at_once(engine: Engine, state: JobState) -> None:
    job_id = in_state(engine, state)

    assert cancel(engine, job_id) is JobState.CANCELLED
    found = scenes.row(engine, job_id)
    assert found["state"] == "cancelled"
    assert found["finished_at"] is not None
    assert abs(found["finished_at"] - found["cancel_requested_at"]) < timedelta(seconds=1)
    assert found["rung_at"] is None
    assert scenes.told(engine, job_id)[-1] == "cancel"
    assert scenes.start(engine, job_id) == []


def test_a_running_job_is_asked_to_end(engine: Engine) -> None:
    job_id = scenes.running(engine).job_id

    assert [cancel(engine, job_id) for _ in range(3)] == [JobState.RUNNING] * 3
    found = scenes.row(engine, job_id)
    assert found["state"] == "running"
    assert found["cancel_requested_at"] is not None
    assert scenes.told(engine, job_id) == ["accept", "start", "cancel_requested"]
    scenes.assert_sound(engine, job_id)


def test_cancelling_again_changes_nothing(engine: Engine) -> None:
    job_id = scenes.queued(engine)
    cancel(engine, job_id)
    before = scenes.row(engine, job_id)

    assert cancel(engine, job_id) is JobState.CANCELLED
    assert scenes.row(engine, job_id) == before


@pytest.mark.parametrize("state", sorted(FINAL - {JobState.CANCELLED}))
def test_a_finished_job_cannot_be_cancelled(engine: Engine, state: JobState) -> None:
    job_id = in_state(engine, state)

    with pytest.raises(StaleTransition) as caught:
        cancel(engine, job_id)
    assert caught.value.state == state
    assert scenes.state(engine, job_id) is state


# Retry


@pytest.mark.parametrize("state", sorted(TRANSITIONS[Event.REDRIVE].sources))
def test_a_job_is_sent_to_work_again(engine: Engine, state: JobState) -> None:
    job_id = in_state(engine, state, task="a.b", queue="critical", priority=8)

    assert redrive(engine, job_id) == Doorbell(job_id, "a.b", "critical", 8)
    found = scenes.row(engine, job_id)
    assert found["state"] == "queued"
    assert abs(found["rung_at"] - found["run_at"]) < timedelta(seconds=1)
    assert found["run_at"] <= scenes.database_now(engine)
    for name in ("finished_at", "closed_at", "expires_at", "cancel_requested_at", "reason"):
        assert found[name] is None, name
    assert scenes.told(engine, job_id)[-1] == "redrive"
    (attempt,) = scenes.start(engine, job_id)
    assert attempt.number == found["attempt"] + 1
    scenes.assert_sound(engine, job_id)


@pytest.mark.parametrize("state", sorted(set(JobState) - TRANSITIONS[Event.REDRIVE].sources))
def test_a_job_that_has_no_way_back_is_left_alone(engine: Engine, state: JobState) -> None:
    job_id = in_state(engine, state)
    before = scenes.row(engine, job_id)

    with pytest.raises(StaleTransition) as caught:
        redrive(engine, job_id)
    assert caught.value.state == state
    assert str(caught.value) == f"The job is {state}; only cancelled, expired, failed, retrying jobs can be retried."
    assert scenes.row(engine, job_id) == before


def test_a_retried_job_has_its_counts_anew_and_its_history_still(engine: Engine) -> None:
    attempt = scenes.running(engine)
    for verdict in (rescue(), failure()):
        scenes.end(engine, attempt, verdict)
        (attempt,) = scenes.start(engine, attempt.job_id) or (attempt,)
    redrive(engine, attempt.job_id)
    (again,) = scenes.start(engine, attempt.job_id)

    assert (again.number, again.error_count, again.crash_count, again.throttle_count) == (3, 0, 0, 0)
    assert scenes.outcomes(engine, attempt.job_id) == ["lost", "errored", None]


def test_a_closed_dead_letter_that_is_retried_can_become_one_again(engine: Engine) -> None:
    job_id = in_state(engine, JobState.FAILED)
    close(engine, job_id)
    redrive(engine, job_id)
    (attempt,) = scenes.start(engine, job_id)
    scenes.end(engine, attempt, failure())

    close(engine, job_id)
    assert scenes.told(engine, job_id).count("discarded") == 2


def test_a_job_whose_unique_key_was_taken_meanwhile_is_not_retried(engine: Engine) -> None:
    job_id = in_state(engine, JobState.FAILED, unique_key="order-1")
    scenes.queued(engine, unique_key="order-1")

    with pytest.raises(UniqueKeyTaken):
        redrive(engine, job_id)
    assert scenes.state(engine, job_id) is JobState.FAILED
    scenes.assert_sound(engine, job_id)


def test_a_retrying_job_with_a_unique_key_is_retried_now(engine: Engine) -> None:
    job_id = in_state(engine, JobState.RETRYING, unique_key="order-1")

    assert redrive(engine, job_id).id == job_id


# Replay


def test_a_copy_is_a_new_job_with_its_lineage(engine: Engine) -> None:
    asked = {
        "task": "a.b", "payload": '{"n": 1, "text": "ü"}', "queue": "critical", "priority": 8, "tags": ("x", "y, z"),
        "unique_key": "order-1", "retry": '{"max_retries": 7}', "time_limit_seconds": 30.0,
        "soft_time_limit_seconds": 20.0, "tenant": "default",
    }  # fmt: skip
    job_id = in_state(engine, JobState.FAILED, **asked)
    with transaction(engine) as connection:
        copied = control.copy(connection, job_id, priority=9, submitter="key-2")
        (answer,) = intake.accept(connection, [submission(copied)])

    assert isinstance(answer, Acceptance)
    assert copied.id != job_id
    found, original = scenes.row(engine, copied.id), scenes.row(engine, job_id)
    for name in asked.keys() - {"priority"}:
        assert found[name] == original[name], name
    assert (found["replay_of"], found["priority"], found["submitter"]) == (job_id, 9, "key-2")
    assert (found["state"], found["attempt"], found["error"]) == ("queued", 0, None)


@pytest.mark.parametrize("state", JobState)
def test_only_finished_jobs_are_copied(engine: Engine, state: JobState) -> None:
    job_id = in_state(engine, state)
    with transaction(engine) as connection:
        if state in FINAL:
            assert control.copy(connection, job_id).replay_of == job_id
            return
        with pytest.raises(StaleTransition) as caught:
            control.copy(connection, job_id)
    assert caught.value.state == state


# Close


def test_a_dead_letter_is_discarded_once(engine: Engine) -> None:
    job_id = in_state(engine, JobState.FAILED)
    close(engine, job_id)

    found = scenes.row(engine, job_id)
    assert (found["state"], found["reason"]) == ("failed", "exhausted")
    assert found["closed_at"] is not None
    assert scenes.told(engine, job_id)[-1] == "discarded"
    with pytest.raises(NotFound):
        close(engine, job_id)
    scenes.assert_sound(engine, job_id)


def test_a_dead_letter_that_was_replayed_says_as_what(engine: Engine) -> None:
    job_id, other = in_state(engine, JobState.FAILED), new_job_id()
    close(engine, job_id, replayed_as=other)

    last = scenes.events_of(engine, job_id)[-1]
    assert (last["name"], last["facts"]) == ("replayed", {"replayed_as": str(other)})


@pytest.mark.parametrize("state", sorted(set(JobState) - {JobState.FAILED}))
def test_only_dead_letters_are_closed(engine: Engine, state: JobState) -> None:
    job_id = in_state(engine, state)
    before = scenes.row(engine, job_id)

    with pytest.raises(NotFound):
        close(engine, job_id)
    assert scenes.row(engine, job_id) == before


# Somebody else's


@pytest.mark.parametrize("action", [control.cancel, control.retry, control.copy, control.close])
def test_a_job_that_is_not_yours_is_not_there(engine: Engine, action: Any) -> None:
    theirs = in_state(engine, JobState.FAILED, tenant="theirs")
    before = scenes.row(engine, theirs)

    for job_id in (theirs, new_job_id()):
        with transaction(engine) as connection, pytest.raises(NotFound):
            action(connection, job_id, tenant="mine")
    assert scenes.row(engine, theirs) == before


def test_a_new_job_can_be_made_to_wait_for_its_hour(engine: Engine) -> None:
    job_id = in_state(engine, JobState.SUCCEEDED)
    with transaction(engine) as connection:
        copied = control.copy(connection, job_id, delay=timedelta(hours=1))

    assert copied.delay == timedelta(hours=1)
    assert copied.id > new_job(id=job_id).id
