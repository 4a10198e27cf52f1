"""When a job runs again."""

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.model import Failure
from jobs.retry import (
    CRASH_LIMIT,
    MAX_DELAY,
    THROTTLE_LIMIT,
    RetryPolicy,
    after_crash,
    after_error,
    after_permanent_error,
    after_throttle,
)
from jobs.state import Event, Outcome, Reason
from tests.factories import BROKEN, attempt

seconds = st.floats(min_value=0, max_value=1e300, allow_nan=False)
policies = st.builds(
    RetryPolicy,
    max_retries=st.none() | st.integers(0, 50),
    backoff_seconds=seconds,
    backoff_max_seconds=seconds,
    jitter=st.booleans(),
    fixed_delay_seconds=st.none() | seconds,
)


def longest(low: float, high: float) -> float:
    return high


def shortest(low: float, high: float) -> float:
    return low


@given(policies, st.integers(0, 5000))
def test_no_delay_is_negative_or_longer_than_a_week(policy: RetryPolicy, retries: int) -> None:
    assert timedelta(0) <= policy.delay(retries) <= MAX_DELAY


@given(st.floats(0.1, 100), st.floats(1, 10_000), st.integers(0, 40))
def test_full_jitter_reaches_from_nothing_to_the_capped_exponential(base: float, cap: float, retries: int) -> None:
    policy = RetryPolicy(backoff_seconds=base, backoff_max_seconds=cap)

    assert policy.delay(retries, shortest) == timedelta(0)
    assert policy.delay(retries, longest) == timedelta(seconds=min(cap, base * 2**retries))
    assert timedelta(0) <= policy.delay(retries) <= policy.delay(retries, longest)


def test_without_jitter_the_delays_double_up_to_the_cap() -> None:
    policy = RetryPolicy(backoff_seconds=2, backoff_max_seconds=15, jitter=False)

    assert [policy.delay(n).total_seconds() for n in range(5)] == [2, 4, 8, 15, 15]


def test_jitter_spreads_over_the_whole_interval() -> None:
    policy = RetryPolicy(backoff_seconds=100, backoff_max_seconds=100)
    delays = [policy.delay(0).total_seconds() for _ in range(2000)]

    assert min(delays) < 5
    assert max(delays) > 95
    assert 45 < sum(delays) / len(delays) < 55


@given(st.integers(0, 100))
def test_a_fixed_delay_is_used_as_it_is(retries: int) -> None:
    assert RetryPolicy(fixed_delay_seconds=7.5).delay(retries) == timedelta(seconds=7.5)


@given(st.integers(0, 50), st.integers(1, 100))
def test_as_many_retries_as_the_policy_says(max_retries: int, errors: int) -> None:
    policy = RetryPolicy(max_retries=max_retries)

    assert policy.allows_retry_after(errors) == (errors <= max_retries)


@given(st.integers(1, 1_000_000))
def test_no_limit_means_no_limit(errors: int) -> None:
    assert RetryPolicy(max_retries=None).allows_retry_after(errors)


@pytest.mark.parametrize("override", [None, {}, {"max_retries": None, "backoff_seconds": None}])
def test_an_override_that_says_nothing_changes_nothing(override: dict[str, None] | None) -> None:
    policy = RetryPolicy(max_retries=7, fixed_delay_seconds=3)

    assert policy.overridden(override) == policy


def test_an_override_replaces_what_it_names_and_nothing_else() -> None:
    changed = RetryPolicy(max_retries=7, jitter=False).overridden({"max_retries": 0, "backoff_max_seconds": 5.0})

    assert changed == RetryPolicy(max_retries=0, backoff_max_seconds=5.0, jitter=False)


def test_a_job_that_asks_for_backoff_gets_it_from_a_task_with_a_fixed_delay() -> None:
    task = RetryPolicy(fixed_delay_seconds=60, jitter=False)

    assert task.overridden({"backoff_seconds": 1.0}).delay(1) == timedelta(seconds=2)
    assert task.overridden({"backoff_seconds": 1.0, "fixed_delay_seconds": 9.0}).delay(1) == timedelta(seconds=9)


def test_an_error_is_followed_by_a_retry_until_they_are_used_up() -> None:
    policy = RetryPolicy(max_retries=2, fixed_delay_seconds=1)
    verdicts = [after_error(attempt(error_count=errors), policy, BROKEN) for errors in range(3)]

    assert [verdict.event for verdict in verdicts] == [Event.RETRY, Event.RETRY, Event.FAIL]
    assert [verdict.reason for verdict in verdicts] == [None, None, Reason.EXHAUSTED]
    assert all(verdict.failure is BROKEN and verdict.outcome is Outcome.ERRORED for verdict in verdicts)


def test_the_first_retry_waits_at_most_the_base() -> None:
    policy = RetryPolicy(backoff_seconds=2, jitter=False)

    assert after_error(attempt(error_count=0), policy, BROKEN).retry_in == timedelta(seconds=2)
    assert after_error(attempt(error_count=1), policy, BROKEN).retry_in == timedelta(seconds=4)


@given(st.timedeltas())
def test_a_task_may_choose_its_own_delay_within_reason(wish: timedelta) -> None:
    verdict = after_error(attempt(), RetryPolicy(), BROKEN, outcome=Outcome.TIMED_OUT, retry_in=wish)

    assert verdict.outcome is Outcome.TIMED_OUT
    assert verdict.retry_in == min(max(wish, timedelta(0)), MAX_DELAY)


def test_a_permanent_error_ends_the_job_at_its_first_attempt() -> None:
    verdict = after_permanent_error(BROKEN)

    assert (verdict.event, verdict.outcome, verdict.reason) == (Event.FAIL, Outcome.ERRORED, Reason.PERMANENT)
    assert verdict.failure is BROKEN


@given(st.timedeltas())
def test_a_throttle_waits_as_told_and_burns_no_attempt(retry_after: timedelta) -> None:
    verdict = after_throttle(attempt(error_count=99), RetryPolicy(max_retries=0), BROKEN, retry_after)

    assert (verdict.event, verdict.outcome) == (Event.RETRY, Outcome.INTERRUPTED)
    assert verdict.retry_in == min(max(retry_after, timedelta(0)), MAX_DELAY)


def test_a_throttle_without_end_becomes_an_error() -> None:
    last = attempt(throttle_count=THROTTLE_LIMIT - 1)
    over = attempt(throttle_count=THROTTLE_LIMIT)
    policy = RetryPolicy(max_retries=0)

    assert after_throttle(last, policy, BROKEN, timedelta(0)).event is Event.RETRY
    assert after_throttle(over, policy, BROKEN, timedelta(0)).event is Event.FAIL
    assert after_throttle(over, policy, BROKEN, timedelta(0)).reason is Reason.EXHAUSTED


def test_the_third_crash_makes_a_dead_letter() -> None:
    verdicts = [after_crash(attempt(crash_count=crashes), BROKEN) for crashes in range(CRASH_LIMIT)]

    assert [verdict.event for verdict in verdicts] == [Event.RESCUE, Event.RESCUE, Event.FAIL]
    assert [verdict.reason for verdict in verdicts] == [None, None, Reason.CRASHED]
    assert all(verdict.outcome is Outcome.LOST for verdict in verdicts)


def test_crashes_and_errors_are_counted_apart() -> None:
    assert after_crash(attempt(error_count=99), BROKEN).event is Event.RESCUE
    assert after_error(attempt(crash_count=99), RetryPolicy(max_retries=1), BROKEN).event is Event.RETRY


def test_a_failure_is_kept_with_type_message_and_trace() -> None:
    assert Failure("KeyError", "'x'", "Traceback").as_json() == {
        "type": "KeyError",
        "message": "'x'",
        "trace": "Traceback",
    }


def test_an_endless_delay_is_a_week() -> None:
    assert RetryPolicy(fixed_delay_seconds=math.inf).delay(0) == MAX_DELAY
    assert RetryPolicy(backoff_seconds=math.inf, backoff_max_seconds=math.inf, jitter=False).delay(0) == MAX_DELAY
