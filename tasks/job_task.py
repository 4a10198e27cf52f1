"""The class behind every task: plain Celery to the person who writes one, a job's attempt to us."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import celery
from celery.exceptions import Ignore

from tasks.context import JobContext, RetryIn, current_job, recorder


class NotSubmittedHere(RuntimeError):
    """Submit jobs over HTTP: a message that was published by hand carries no job."""


class JobTask(celery.Task[Any, Any]):
    """A task whose messages are doorbells.

    Its Celery options are its policy: `max_retries`, `retry_backoff`, `retry_backoff_max`, `retry_jitter`,
    `default_retry_delay`, `autoretry_for`, `dont_autoretry_for`, `throws`, `soft_time_limit`, `time_limit`,
    `queue`, `priority`.
    """

    abstract = True
    Strategy = "worker.doorbells:strategy"
    ignore_result = True
    max_retries = 3
    retry_backoff = 2
    retry_backoff_max = 600
    retry_jitter = True

    @property
    def job(self) -> JobContext:
        """The job whose attempt is running. Raises `RuntimeError` outside of one."""
        job = current_job.get()
        if job is None:
            raise RuntimeError(f"{self.name} runs outside of a job: self.job exists only in an attempt.")
        return job

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function; in an attempt, keep what it returned or raised."""
        recording = recorder.get()
        if recording is None:
            return super().__call__(*args, **kwargs)
        # Celery wraps the function of a task with `autoretry_for`: the wrapper would retry a PermanentError, and
        # by a wait of its own. The list and its options are read by our policy, so the wrapper is left out.
        return recording.call(getattr(self, "_orig_run", self.run), args, kwargs)

    def retry(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,  # noqa: FBT001, FBT002 - Celery's signature
        eta: datetime | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> RetryIn:
        """End this attempt and have the job run again, as Celery's `Task.retry` does.

        Nothing is published: the wait is kept in PostgreSQL. Changed arguments are refused, because a
        job keeps the payload that it was accepted with.
        """
        if args or kwargs or options:
            raise TypeError("A job keeps its payload and options: retry() takes exc, eta, countdown and max_retries.")
        delay = timedelta(seconds=countdown) if countdown is not None else None
        if eta is not None:
            at = eta if eta.tzinfo else eta.replace(tzinfo=UTC)  # Celery's zone is UTC here
            delay = max(at - datetime.now(UTC), timedelta(0))
        request = RetryIn(exc, delay, max_retries)
        if throw:
            raise request from exc
        return request

    def apply_async(self, *args: Any, **options: Any) -> NoReturn:  # noqa: ARG002 - refuses whatever it is given
        """Refuse: a doorbell without a row would run nothing."""
        raise NotSubmittedHere(
            f"{self.name} cannot be published with delay() or apply_async(): submit a job to POST /api/v1/jobs."
        )

    def replace(self, sig: Any) -> NoReturn:  # noqa: ARG002 - the same
        """Refuse Celery's replacement of a running task."""
        raise Ignore(f"{self.name} cannot be replaced while it runs: submit another job instead.")
