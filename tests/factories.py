"""Small builders of the values that pass between the parts; whatever a test does not care about is filled in."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from jobs.model import (
    Attempt,
    Failure,
    Idempotency,
    NewJob,
    Settlement,
    Submission,
    Verdict,
    new_job_id,
)
from jobs.state import Event, Outcome, Reason

TASK: Final = "demo.noop"
QUEUE: Final = "default"
BROKEN: Final = Failure("ValueError", "it broke", "Traceback: it broke")


def new_job(**changes: Any) -> NewJob:
    """Return a job that is ready to be accepted."""
    return NewJob(**{"task": TASK, "payload": "{}", "queue": QUEUE} | changes)


def submission(*jobs: NewJob, key: str | None = None, fingerprint: bytes = b"f" * 32) -> Submission:
    """Return a request for `jobs`, or for one of any kind."""
    return Submission(jobs or (new_job(),), Idempotency(key, fingerprint) if key else None)


def attempt(**changes: Any) -> Attempt:
    """Return the first attempt at a job, as `jobs.attempts.start` gives it."""
    now = datetime.now(UTC)
    facts: dict[str, Any] = {
        "job_id": new_job_id(),
        "number": 1,
        "task": TASK,
        "queue": QUEUE,
        "priority": 5,
        "payload": "{}",
        "error_count": 0,
        "crash_count": 0,
        "throttle_count": 0,
        "retry": None,
        "time_limit_seconds": None,
        "soft_time_limit_seconds": None,
        "tenant": "default",
        "request_id": None,
        "traceparent": None,
        "created_at": now,
        "run_at": now,
        "started_at": now,
        "lease_expires_at": now + timedelta(seconds=30),
    }
    return Attempt(**facts | changes)


def success(result: str | None = '{"ok": true}') -> Verdict:
    """Return the verdict on an attempt that did its work."""
    return Verdict(event=Event.SUCCEED, outcome=Outcome.SUCCEEDED, result=result)


def retry(*, seconds: float = 60, outcome: Outcome = Outcome.ERRORED) -> Verdict:
    """Return the verdict on an attempt that erred and is followed by another."""
    return Verdict(event=Event.RETRY, outcome=outcome, failure=BROKEN, retry_in=timedelta(seconds=seconds))


def throttled(*, seconds: float = 60) -> Verdict:
    """Return the verdict on an attempt that was told to come back later."""
    return retry(seconds=seconds, outcome=Outcome.INTERRUPTED)


def failure(reason: Reason = Reason.EXHAUSTED, outcome: Outcome = Outcome.ERRORED) -> Verdict:
    """Return the verdict on an attempt that was the last."""
    return Verdict(event=Event.FAIL, outcome=outcome, failure=BROKEN, reason=reason)


def release() -> Verdict:
    """Return the verdict on an attempt that a stopping worker gives back."""
    return Verdict(event=Event.RELEASE, outcome=Outcome.INTERRUPTED)


def rescue() -> Verdict:
    """Return the verdict on an attempt that took its process down."""
    return Verdict(event=Event.RESCUE, outcome=Outcome.LOST, failure=BROKEN)


def cancelled() -> Verdict:
    """Return the verdict on an attempt that stopped because someone asked for it."""
    return Verdict(event=Event.CANCEL, outcome=Outcome.CANCELLED)


def settle(begun: Attempt, verdict: Verdict | None = None) -> Settlement:
    """Return `verdict`, or success, addressed to the attempt `begun`."""
    return Settlement(begun.job_id, begun.number, verdict or success())
