"""What an attempt may no longer do: when its job should stop, and once it was fenced."""

import pytest
from sqlalchemy import Engine

from jobs.model import Settlement, Verdict, new_job_id
from jobs.state import JobState, Outcome, Reason
from tests.factories import (
    cancelled,
    failure,
    release,
    rescue,
    retry,
    settle,
    success,
    throttled,
)
from tests.integration.jobs import scenes

CRASHED = failure(Reason.CRASHED, Outcome.LOST)
"""The verdict on an attempt that took its process down, the last time that is allowed."""

# A cancel that was asked for


@pytest.mark.parametrize("verdict", [retry(), throttled(), release(), rescue(), CRASHED, cancelled()])
def test_a_job_that_should_stop_does_not_go_on(engine: Engine, verdict: Verdict) -> None:
    attempt = scenes.running(engine)
    scenes.ask_for_cancel(engine, attempt)

    assert scenes.end(engine, attempt, verdict) is JobState.CANCELLED
    found = scenes.row(engine, attempt.job_id)
    assert found["finished_at"] is not None
    assert found["reason"] is None
    assert scenes.outcomes(engine, attempt.job_id) == ["cancelled"]
    assert scenes.told(engine, attempt.job_id) == ["accept", "start", "cancel_requested", "cancel"]


def test_work_that_was_done_is_done_although_a_cancel_was_asked_for(engine: Engine) -> None:
    attempt = scenes.running(engine)
    scenes.ask_for_cancel(engine, attempt)

    assert scenes.end(engine, attempt, success()) is JobState.SUCCEEDED
    assert scenes.row(engine, attempt.job_id)["result"] == {"ok": True}


def test_a_last_error_is_a_failure_although_a_cancel_was_asked_for(engine: Engine) -> None:
    attempt = scenes.running(engine)
    scenes.ask_for_cancel(engine, attempt)

    assert scenes.end(engine, attempt, failure()) is JobState.FAILED


# Fencing


@pytest.mark.parametrize("verdict", [success(), retry(), failure(), release(), rescue(), cancelled()])
def test_an_attempt_that_was_replaced_ends_nothing(engine: Engine, verdict: Verdict) -> None:
    old, new = scenes.taken_over(engine)

    assert scenes.end(engine, old, verdict) is None
    found = scenes.row(engine, old.job_id)
    assert (found["state"], found["attempt"], found["worker"]) == ("running", 2, "worker-2")
    assert found["result"] is None
    assert (found["error_count"], found["crash_count"]) == (0, 1)
    assert scenes.outcomes(engine, old.job_id) == ["lost", None]
    assert scenes.end(engine, new, success()) is JobState.SUCCEEDED


def test_a_refused_end_is_told_once(engine: Engine) -> None:
    old, _new = scenes.taken_over(engine)
    for _ in range(3):
        scenes.end(engine, old, success())
    scenes.end(engine, old, failure())

    fenced = [event for event in scenes.events_of(engine, old.job_id) if event["name"] == "fenced"]
    assert [event["facts"] for event in fenced] == [
        {"fenced_attempt": 1, "outcome": "succeeded"},
        {"fenced_attempt": 1, "outcome": "errored"},
    ]
    assert [(event["state"], event["attempt"]) for event in fenced] == [("running", 2)] * 2
    scenes.assert_sound(engine, old.job_id)


def test_an_end_that_is_told_again_is_no_fencing(engine: Engine) -> None:
    attempt = scenes.running(engine)
    scenes.end(engine, attempt, success())

    assert scenes.end(engine, attempt, success()) is None
    assert scenes.told(engine, attempt.job_id) == ["accept", "start", "succeed"]


def test_one_end_twice_in_one_call_counts_once(engine: Engine) -> None:
    attempt = scenes.running(engine)

    done = scenes.finish(engine, settle(attempt, retry()), settle(attempt, retry()))

    assert len(done) == 1
    assert scenes.row(engine, attempt.job_id)["error_count"] == 1
    assert scenes.told(engine, attempt.job_id) == ["accept", "start", "retry"]


def test_the_others_of_a_call_stand_when_one_is_refused(engine: Engine) -> None:
    old, _new = scenes.taken_over(engine)
    good = scenes.running(engine)

    done = scenes.finish(engine, settle(old), settle(good), Settlement(new_job_id(), 1, success()))

    assert [settled.job_id for settled in done] == [good.job_id]


def test_a_number_that_is_still_to_come_is_refused(engine: Engine) -> None:
    attempt = scenes.running(engine)

    assert scenes.finish(engine, Settlement(attempt.job_id, 2, success())) == []
    assert scenes.state(engine, attempt.job_id) is JobState.RUNNING
