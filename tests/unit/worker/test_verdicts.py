"""What an attempt's ending means for its job."""

from datetime import timedelta

import pytest

from jobs.model import Failure
from jobs.retry import THROTTLE_LIMIT, RetryPolicy
from jobs.state import Event, Outcome, Reason
from tests.factories import attempt
from worker.execution import Ending, How
from worker.verdicts import judge, release

POLICY = RetryPolicy(max_retries=2, backoff_seconds=4, jitter=False)
FAILURE = Failure("ValueError", "it broke")


@pytest.mark.parametrize(
    ("how", "event", "outcome", "reason"),
    [
        (How.SUCCEEDED, Event.SUCCEED, Outcome.SUCCEEDED, None),
        (How.ERRED, Event.RETRY, Outcome.ERRORED, None),
        (How.ASKED_RETRY, Event.RETRY, Outcome.ERRORED, None),
        (How.GAVE_UP, Event.FAIL, Outcome.ERRORED, Reason.PERMANENT),
        (How.TIMED_OUT, Event.RETRY, Outcome.TIMED_OUT, None),
        (How.LOST, Event.RESCUE, Outcome.LOST, None),
        (How.CANCELLED, Event.CANCEL, Outcome.CANCELLED, None),
        (How.RELEASED, Event.RELEASE, Outcome.INTERRUPTED, None),
    ],
)
def test_a_first_attempts_ending_means(how: How, event: Event, outcome: Outcome, reason: Reason | None) -> None:
    verdict = judge(attempt(), Ending(how, failure=FAILURE), POLICY)

    assert (verdict.event, verdict.outcome, verdict.reason) == (event, outcome, reason)


@pytest.mark.parametrize("how", [How.ERRED, How.ASKED_RETRY, How.TIMED_OUT])
def test_an_error_after_the_last_retry_is_a_dead_letter(how: How) -> None:
    verdict = judge(attempt(error_count=2), Ending(how, failure=FAILURE), POLICY)

    assert (verdict.event, verdict.reason) == (Event.FAIL, Reason.EXHAUSTED)


def test_a_third_crash_is_a_dead_letter() -> None:
    verdict = judge(attempt(crash_count=2), Ending(How.LOST, failure=FAILURE), POLICY)

    assert (verdict.event, verdict.reason) == (Event.FAIL, Reason.CRASHED)


@pytest.mark.parametrize("how", [How.CANCELLED, How.TIMED_OUT, How.LOST])
def test_what_our_signals_did_to_a_cancelled_job_is_a_cancel(how: How) -> None:
    verdict = judge(attempt(), Ending(how, failure=FAILURE), POLICY, cancel_asked=True)

    assert (verdict.event, verdict.outcome) == (Event.CANCEL, Outcome.CANCELLED)


def test_a_task_that_had_succeeded_before_it_heard_of_the_cancel_has_succeeded() -> None:
    assert judge(attempt(), Ending(How.SUCCEEDED, result="1"), POLICY, cancel_asked=True).event is Event.SUCCEED


def test_the_job_overrides_its_task_and_the_attempt_overrides_both() -> None:
    own = attempt(retry={"max_retries": 0})
    asked = Ending(How.ASKED_RETRY, failure=FAILURE, retry_in=timedelta(seconds=7), most_retries=1)

    assert judge(own, Ending(How.ERRED, failure=FAILURE), POLICY).event is Event.FAIL
    verdict = judge(own, asked, POLICY)
    assert (verdict.event, verdict.retry_in) == (Event.RETRY, timedelta(seconds=7))


def test_being_put_off_counts_no_error_until_it_has_no_end() -> None:
    put_off = Ending(How.THROTTLED, failure=FAILURE, retry_in=timedelta(seconds=3))

    first = judge(attempt(error_count=2), put_off, POLICY)
    last = judge(attempt(error_count=2, throttle_count=THROTTLE_LIMIT), put_off, POLICY)

    assert (first.event, first.outcome, first.retry_in) == (Event.RETRY, Outcome.INTERRUPTED, timedelta(seconds=3))
    assert last.event is Event.FAIL


def test_an_ending_without_a_word_is_told_as_such() -> None:
    verdict = judge(attempt(), Ending(How.ERRED), POLICY)

    assert verdict.failure is not None
    assert verdict.failure.type == "Unknown"


def test_a_released_job_goes_back_to_its_queue() -> None:
    assert (release().event, release().outcome) == (Event.RELEASE, Outcome.INTERRUPTED)
