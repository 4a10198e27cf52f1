"""An attempt's life: start, extend, report, finish, and what it may no longer do once it was fenced."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine, func, select

from jobs import attempts as life
from jobs import fencing, upkeep
from jobs.database import transaction
from jobs.model import Verdict, new_job_id
from jobs.state import FINAL, JobState, Outcome, Reason
from jobs.tables import jobs
from tests.factories import (
    BROKEN,
    cancelled,
    failure,
    new_job,
    release,
    rescue,
    retry,
    settle,
    success,
    throttled,
)
from tests.integration.jobs import scenes

MINUTE = timedelta(minutes=1)


# Start


def test_an_attempt_is_given_all_that_its_worker_needs(engine: Engine) -> None:
    job = new_job(
        task="billing.charge", payload='{"amount": 1}', queue="critical", priority=9, retry='{"max_retries": 7}',
        time_limit_seconds=30.0, soft_time_limit_seconds=20.0, request_id="request-1", traceparent="00-1-2-01",
    )  # fmt: skip
    scenes.accepted(engine, job)
    (attempt,) = scenes.start(engine, job.id, lease=MINUTE)

    for name in ("task", "payload", "queue", "priority", "time_limit_seconds", "soft_time_limit_seconds",
                 "request_id", "traceparent", "tenant"):  # fmt: skip
        assert getattr(attempt, name) == getattr(job, name), name
    assert (attempt.job_id, attempt.number, attempt.retry) == (job.id, 1, {"max_retries": 7})
    assert (attempt.error_count, attempt.crash_count, attempt.throttle_count) == (0, 0, 0)
    assert MINUTE <= attempt.lease_expires_at - attempt.started_at < MINUTE * 1.1


def test_a_started_job_is_running_in_its_workers_name(engine: Engine) -> None:
    attempt = scenes.running(engine)
    found = scenes.row(engine, attempt.job_id)

    assert (found["state"], found["worker"], found["attempt"]) == ("running", "worker-1", 1)
    assert (found["started_at"], found["lease_expires_at"]) == (attempt.started_at, attempt.lease_expires_at)
    assert found["rung_at"] is None
    (kept,) = scenes.attempts_of(engine, attempt.job_id)
    assert (kept["number"], kept["worker"], kept["started_at"]) == (1, "worker-1", attempt.started_at)
    assert kept["outcome"] is None
    scenes.assert_sound(engine, attempt.job_id)


def test_a_second_delivery_starts_no_attempt(engine: Engine) -> None:
    attempt = scenes.running(engine)

    assert scenes.start(engine, attempt.job_id, worker="worker-2") == []
    assert scenes.row(engine, attempt.job_id)["worker"] == "worker-1"
    assert scenes.told(engine, attempt.job_id) == ["accept", "start"]


def test_one_doorbell_twice_in_one_call_starts_one_attempt(engine: Engine) -> None:
    job_id = scenes.queued(engine)

    (attempt,) = scenes.start(engine, job_id, job_id)

    assert attempt.number == 1


def test_only_queued_jobs_start(engine: Engine) -> None:
    ready = [scenes.queued(engine) for _ in range(3)]
    others = [
        scenes.scheduled(engine),
        scenes.running(engine).job_id,
        *(scenes.ended(engine, verdict) for verdict in (success(), failure(), cancelled(), retry())),
        new_job_id(),
    ]

    begun = scenes.start(engine, *ready, *others)

    assert {attempt.job_id for attempt in begun} == set(ready)


def test_a_job_whose_time_has_passed_does_not_start(engine: Engine) -> None:
    job_id, other = scenes.queued(engine), scenes.queued(engine)
    scenes.change(engine, job_id, expires_at=func.now())
    scenes.change(engine, other, expires_at=func.now() + MINUTE)

    (begun,) = scenes.start(engine, job_id, other)

    assert begun.job_id == other
    assert scenes.state(engine, job_id) is JobState.QUEUED


def test_attempts_are_numbered_from_one_without_gaps(engine: Engine) -> None:
    job_id = scenes.queued(engine)
    for number in range(1, 6):
        (attempt,) = scenes.start(engine, job_id)
        assert attempt.number == number
        scenes.end(engine, attempt, release())

    assert scenes.outcomes(engine, job_id) == ["interrupted"] * 5
    scenes.assert_sound(engine, job_id)


def test_a_new_attempt_begins_without_the_progress_of_the_last(engine: Engine) -> None:
    attempt = scenes.running(engine)
    scenes.report(engine, attempt, 5)
    scenes.end(engine, attempt, release())
    scenes.start(engine, attempt.job_id)

    with engine.connect() as connection:
        (unset,) = connection.exec_driver_sql("SELECT progress IS NULL FROM jobs").one()
    assert unset


# Extend, look, report


def test_extend_prolongs_the_lease(engine: Engine) -> None:
    attempt = scenes.running(engine)
    scenes.let_lease_run_out(engine, attempt.job_id)

    assert scenes.held(engine, attempt) == [life.Held(attempt.job_id, 1, cancel_requested=False)]
    assert scenes.row(engine, attempt.job_id)["lease_expires_at"] > scenes.database_now(engine)


def test_extend_and_look_tell_of_a_cancel(engine: Engine) -> None:
    attempt, other = scenes.running(engine), scenes.running(engine)
    scenes.ask_for_cancel(engine, attempt)

    assert {one.job_id: one.cancel_requested for one in scenes.held(engine, attempt, other)} == {
        attempt.job_id: True,
        other.job_id: False,
    }
    with engine.connect() as connection:
        looked = life.look(connection, [(attempt.job_id, 1), (other.job_id, 1)])
    assert sorted(looked) == sorted(scenes.held(engine, attempt, other))


def test_look_writes_nothing(engine: Engine) -> None:
    attempt = scenes.running(engine)
    before = scenes.row(engine, attempt.job_id)
    with engine.connect() as connection:
        life.look(connection, [(attempt.job_id, 1)])

    assert scenes.row(engine, attempt.job_id) == before


def test_an_attempt_that_was_replaced_holds_nothing(engine: Engine) -> None:
    old, new = scenes.taken_over(engine)
    before = scenes.row(engine, old.job_id)

    assert [one.number for one in scenes.held(engine, old)] == []
    with engine.connect() as connection:
        assert life.look(connection, [(old.job_id, old.number)]) == []
    assert not scenes.report(engine, old, 1)
    assert scenes.row(engine, old.job_id) == before
    assert [one.number for one in scenes.held(engine, new)] == [2]


@pytest.mark.parametrize("verdict", [success(), failure(), retry(), release()])
def test_an_attempt_that_has_ended_holds_nothing(engine: Engine, verdict: Verdict) -> None:
    attempt = scenes.running(engine)
    scenes.end(engine, attempt, verdict)

    assert scenes.held(engine, attempt) == []
    assert not scenes.report(engine, attempt, 1)


def test_a_report_is_kept_and_changes_the_version(engine: Engine) -> None:
    attempt = scenes.running(engine)
    before = scenes.row(engine, attempt.job_id)["version"]

    assert scenes.report(engine, attempt, 3)
    found = scenes.row(engine, attempt.job_id)
    assert (found["progress"], found["version"]) == ({"step": 3}, before + 1)


def test_strays_are_found_by_their_workers_name(engine: Engine) -> None:
    mine = scenes.running(engine)
    other = scenes.start(engine, scenes.queued(engine), worker="worker-2")[0]
    waiting = scenes.queued(engine)
    with engine.connect() as connection:
        found = life.strays(connection, [mine.job_id, other.job_id, waiting], worker="worker-1")

    assert found == [(mine.job_id, 1)]


def test_a_row_that_somebody_holds_is_not_unlocked_and_one_that_is_gone_is(engine: Engine) -> None:
    held, free, gone = scenes.queued(engine), scenes.queued(engine), new_job_id()
    with engine.connect() as holder, engine.connect() as connection:
        holder.execute(select(jobs.c.id).where(jobs.c.id == held).with_for_update())

        assert life.unlocked(connection, [held, free, gone]) == [free, gone]
        holder.rollback()
        assert life.unlocked(connection, [held, free, gone]) == [held, free, gone]


# Finish


def test_success_stores_the_result_and_ends_the_job(engine: Engine) -> None:
    attempt = scenes.running(engine)

    assert scenes.finish(engine, settle(attempt, success('{"sum": 3}'))) == [
        life.Settled(attempt.job_id, 1, JobState.SUCCEEDED)
    ]
    found = scenes.row(engine, attempt.job_id)
    assert (found["state"], found["result"], found["error"], found["reason"]) == ("succeeded", {"sum": 3}, None, None)
    assert (found["worker"], found["lease_expires_at"]) == (None, None)
    assert attempt.started_at <= found["finished_at"] <= scenes.database_now(engine)
    (kept,) = scenes.attempts_of(engine, attempt.job_id)
    assert (kept["outcome"], kept["error"]) == ("succeeded", None)
    assert kept["started_at"] <= kept["finished_at"]
    assert scenes.told(engine, attempt.job_id) == ["accept", "start", "succeed"]
    scenes.assert_sound(engine, attempt.job_id)


def test_success_after_an_error_leaves_the_error_with_its_attempt_alone(engine: Engine) -> None:
    attempt = scenes.running(engine)
    scenes.end(engine, attempt, retry(seconds=0))
    with transaction(engine) as connection:
        upkeep.release_due(connection)
    (second,) = scenes.start(engine, attempt.job_id)
    assert scenes.row(engine, attempt.job_id)["error"] == BROKEN.as_json()
    scenes.end(engine, second, success())

    assert scenes.row(engine, attempt.job_id)["error"] is None
    assert [kept["error"] for kept in scenes.attempts_of(engine, attempt.job_id)] == [BROKEN.as_json(), None]


@pytest.mark.parametrize("outcome", [Outcome.ERRORED, Outcome.TIMED_OUT])
def test_a_retry_waits_counts_the_error_and_keeps_it(engine: Engine, outcome: Outcome) -> None:
    attempt = scenes.running(engine)

    assert scenes.end(engine, attempt, retry(seconds=60, outcome=outcome)) is JobState.RETRYING
    found, now = scenes.row(engine, attempt.job_id), scenes.database_now(engine)
    assert timedelta(seconds=50) < found["run_at"] - now <= MINUTE
    assert (found["error_count"], found["crash_count"], found["throttle_count"]) == (1, 0, 0)
    assert (found["error"], found["finished_at"], found["worker"]) == (BROKEN.as_json(), None, None)
    assert scenes.outcomes(engine, attempt.job_id) == [outcome.value]


def test_a_throttle_waits_and_counts_no_error(engine: Engine) -> None:
    attempt = scenes.running(engine)

    assert scenes.end(engine, attempt, throttled()) is JobState.RETRYING
    found = scenes.row(engine, attempt.job_id)
    assert (found["error_count"], found["crash_count"], found["throttle_count"]) == (0, 0, 1)
    assert scenes.outcomes(engine, attempt.job_id) == ["interrupted"]


@pytest.mark.parametrize("reason", Reason)
def test_a_failure_is_a_dead_letter_with_its_reason(engine: Engine, reason: Reason) -> None:
    attempt = scenes.running(engine)

    assert scenes.end(engine, attempt, failure(reason)) is JobState.FAILED
    found = scenes.row(engine, attempt.job_id)
    assert (found["reason"], found["error"], found["closed_at"]) == (reason.value, BROKEN.as_json(), None)
    assert found["finished_at"] is not None
    assert scenes.events_of(engine, attempt.job_id)[-1]["facts"] == {"outcome": "errored", "reason": reason.value}


def test_a_release_gives_the_job_back_without_a_doorbell_and_counts_nothing(engine: Engine) -> None:
    attempt = scenes.running(engine)
    run_at = scenes.row(engine, attempt.job_id)["run_at"]

    assert scenes.end(engine, attempt, release()) is JobState.QUEUED
    found = scenes.row(engine, attempt.job_id)
    assert (found["rung_at"], found["run_at"], found["finished_at"]) == (None, run_at, None)
    assert (found["error_count"], found["crash_count"], found["throttle_count"]) == (0, 0, 0)


def test_a_rescue_counts_a_crash_and_no_error(engine: Engine) -> None:
    attempt = scenes.running(engine)

    assert scenes.end(engine, attempt, rescue()) is JobState.QUEUED
    found = scenes.row(engine, attempt.job_id)
    assert (found["error_count"], found["crash_count"]) == (0, 1)
    assert scenes.outcomes(engine, attempt.job_id) == ["lost"]


def test_the_counts_reach_the_next_attempt(engine: Engine) -> None:
    job_id = scenes.queued(engine)
    for verdict in (retry(), throttled(), rescue(), retry(outcome=Outcome.TIMED_OUT)):
        scenes.change(engine, job_id, state="queued")
        (attempt,) = scenes.start(engine, job_id)
        scenes.end(engine, attempt, verdict)
    scenes.change(engine, job_id, state="queued")
    (last,) = scenes.start(engine, job_id)

    assert (last.error_count, last.crash_count, last.throttle_count) == (2, 1, 1)


def test_many_attempts_end_in_one_call_each_in_its_own_way(engine: Engine) -> None:
    verdicts = [success(), retry(), throttled(), failure(), release(), rescue(), cancelled()]
    begun = scenes.start(engine, *(scenes.queued(engine) for _ in verdicts))

    done = scenes.finish(engine, *(settle(a, v) for a, v in zip(begun, verdicts, strict=True)))

    states = {settled.job_id: settled.state.value for settled in done}
    assert [states[attempt.job_id] for attempt in begun] == [
        "succeeded", "retrying", "retrying", "failed", "queued", "queued", "cancelled",
    ]  # fmt: skip
    for attempt in begun:
        scenes.assert_sound(engine, attempt.job_id)
        found = scenes.row(engine, attempt.job_id)
        assert (found["finished_at"] is not None) == (found["state"] in FINAL)


def test_nothing_to_finish_is_no_work(engine: Engine) -> None:
    assert scenes.finish(engine) == []
    assert scenes.start(engine) == []
    assert scenes.held(engine) == []


@pytest.mark.parametrize("verdict", [success(), retry(), failure(), release(), rescue(), cancelled()])
def test_whether_its_worker_ended_an_attempt_can_be_asked_for(engine: Engine, verdict: Verdict) -> None:
    attempt = scenes.running(engine)
    asked = settle(attempt, verdict)

    with engine.connect() as connection:
        assert not fencing.was_ended_by_its_worker(connection, asked)
    scenes.end(engine, attempt, verdict)

    with engine.connect() as connection:
        assert fencing.was_ended_by_its_worker(connection, asked)
        assert not fencing.was_ended_by_its_worker(connection, replace(asked, number=2))


def test_an_attempt_that_was_taken_from_its_worker_was_not_ended_by_it(engine: Engine) -> None:
    old, _ = scenes.taken_over(engine)

    with engine.connect() as connection:
        assert not fencing.was_ended_by_its_worker(connection, settle(old))


def test_every_event_that_ends_an_attempt_was_tried_here() -> None:
    tried = {verdict.event for verdict in (success(), retry(), failure(), release(), rescue(), cancelled())}

    assert tried == set(life._FINISHING)
