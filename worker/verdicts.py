"""What an ending means for the job: the policy applied."""

from dataclasses import replace

from jobs.model import Attempt, Failure, Verdict
from jobs.retry import RetryPolicy, after_crash, after_error, after_permanent_error, after_throttle
from jobs.state import Event, Outcome
from worker.execution import Ending, How

_NO_DETAILS = Failure("Unknown", "The attempt ended without a word.")


def policy_of(policy: RetryPolicy, attempt: Attempt, ending: Ending) -> RetryPolicy:
    """Return the task's policy with the job's and then the attempt's own wishes in it."""
    chosen = policy.overridden(attempt.retry)
    return chosen if ending.most_retries is None else replace(chosen, max_retries=ending.most_retries)


def judge(attempt: Attempt, ending: Ending, policy: RetryPolicy, *, cancel_asked: bool = False) -> Verdict:
    """Return the verdict on an attempt that ended and was not fenced.

    When a cancel was asked for, whatever our own signals did to the task counts as cancelled; a task that
    had already succeeded stays succeeded.
    """
    failure = ending.failure or _NO_DETAILS
    policy = policy_of(policy, attempt, ending)
    if cancel_asked and ending.how in {How.CANCELLED, How.TIMED_OUT, How.LOST}:
        return Verdict(event=Event.CANCEL, outcome=Outcome.CANCELLED, failure=failure)
    match ending.how:
        case How.RELEASED:
            return release()
        case How.SUCCEEDED:
            return Verdict(event=Event.SUCCEED, outcome=Outcome.SUCCEEDED, result=ending.result)
        case How.CANCELLED:
            return Verdict(event=Event.CANCEL, outcome=Outcome.CANCELLED, failure=failure)
        case How.GAVE_UP:
            return after_permanent_error(failure)
        case How.THROTTLED if ending.retry_in is not None:
            return after_throttle(attempt, policy, failure, ending.retry_in)
        case How.TIMED_OUT:
            return after_error(attempt, policy, failure, outcome=Outcome.TIMED_OUT)
        case How.LOST:
            return after_crash(attempt, failure)
        case _:
            return after_error(attempt, policy, failure, retry_in=ending.retry_in)


def release() -> Verdict:
    """Return the verdict on an attempt that a stopping worker gives back."""
    return Verdict(event=Event.RELEASE, outcome=Outcome.INTERRUPTED)
