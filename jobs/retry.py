"""When a job runs again: pure arithmetic over policy, counts and errors.

Full jitter, ``uniform(0, min(cap, base * 2 ** n))``, after Marc Brooker, "Exponential Backoff And
Jitter", AWS Architecture Blog, 2015.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, Self

from jobs.model import Attempt, Failure, Verdict
from jobs.state import Event, Outcome, Reason

CRASH_LIMIT: Final = 3
"""Worker losses after which a job is a dead letter."""

THROTTLE_LIMIT: Final = 1000
"""Times that a job may be put off by the other side before that counts as an error; ends endless loops."""

MAX_DELAY: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a job is tried again, and how long it waits before each retry."""

    max_retries: int | None = 3
    """Retries after the first attempt; None: without end."""
    backoff_seconds: float = 2.0
    """The base of the exponential; the first retry waits at most this long."""
    backoff_max_seconds: float = 600.0
    jitter: bool = True
    fixed_delay_seconds: float | None = None
    """Set: every retry waits exactly this long, and the exponential is not used."""

    def overridden(self, override: Mapping[str, Any] | None) -> Self:
        """Return the policy with a job's own wishes in place of the task's."""
        if not override:
            return self
        chosen = {name: value for name, value in override.items() if value is not None}
        if "backoff_seconds" in chosen:
            chosen.setdefault("fixed_delay_seconds", None)
        return replace(self, **chosen)

    def allows_retry_after(self, error_count: int) -> bool:
        """Tell whether the attempt that brought the errors to `error_count` may be followed by another."""
        return self.max_retries is None or error_count <= self.max_retries

    def delay(self, retries: int, uniform: Callable[[float, float], float] = random.uniform) -> timedelta:
        """Return how long to wait before retry number `retries + 1`."""
        longest = MAX_DELAY.total_seconds()  # compared as seconds: a timedelta cannot hold every float
        if self.fixed_delay_seconds is not None:
            return timedelta(seconds=min(self.fixed_delay_seconds, longest))
        ceiling = min(self.backoff_max_seconds, self.backoff_seconds * 2.0 ** min(retries, 60), longest)
        return timedelta(seconds=uniform(0.0, ceiling) if self.jitter else ceiling)


def after_error(
    attempt: Attempt,
    policy: RetryPolicy,
    failure: Failure,
    *,
    outcome: Outcome = Outcome.ERRORED,
    retry_in: timedelta | None = None,
) -> Verdict:
    """Return what an ordinary error means: another attempt, or a dead letter when the retries are used up."""
    errors = attempt.error_count + 1
    if not policy.allows_retry_after(errors):
        return Verdict(event=Event.FAIL, outcome=outcome, failure=failure, reason=Reason.EXHAUSTED)
    delay = policy.delay(errors - 1) if retry_in is None else _bounded(retry_in)
    return Verdict(event=Event.RETRY, outcome=outcome, failure=failure, retry_in=delay)


def after_permanent_error(failure: Failure) -> Verdict:
    """Return what an error means that no retry will help."""
    return Verdict(event=Event.FAIL, outcome=Outcome.ERRORED, failure=failure, reason=Reason.PERMANENT)


def after_throttle(attempt: Attempt, policy: RetryPolicy, failure: Failure, retry_after: timedelta) -> Verdict:
    """Return what being asked for patience means: a later attempt, and no error counted."""
    if attempt.throttle_count >= THROTTLE_LIMIT:
        return after_error(attempt, policy, failure)
    return Verdict(event=Event.RETRY, outcome=Outcome.INTERRUPTED, failure=failure, retry_in=_bounded(retry_after))


def _bounded(wish: timedelta) -> timedelta:
    return min(max(wish, timedelta(0)), MAX_DELAY)


def after_crash(attempt: Attempt, failure: Failure) -> Verdict:
    """Return what the loss of the process means: back to the queue, or a dead letter after three."""
    if attempt.crash_count + 1 >= CRASH_LIMIT:
        return Verdict(event=Event.FAIL, outcome=Outcome.LOST, failure=failure, reason=Reason.CRASHED)
    return Verdict(event=Event.RESCUE, outcome=Outcome.LOST, failure=failure)
