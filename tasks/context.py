"""What a running task may ask and say about its own job."""

from collections.abc import Callable
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, Final, Protocol

from celery.exceptions import Retry

from jobs.model import JobId


class JobLog(Protocol):
    """`self.job.log`: lines that are kept with the job, for who may read it; the process's own log has none of them.

    `event` says what happened, in words that are always the same; `facts` are JSON. Up to 1,000 lines and 64 KiB of one
    job are kept.
    """

    def debug(self, event: str, /, **facts: Any) -> None:
        """Keep a line that is of use only to who looks closely."""
        ...

    def info(self, event: str, /, **facts: Any) -> None:
        """Keep a line about what goes as it should."""
        ...

    def warning(self, event: str, /, **facts: Any) -> None:
        """Keep a line about what somebody may want to look at."""
        ...

    def error(self, event: str, /, **facts: Any) -> None:
        """Keep a line about what went wrong."""
        ...


class JobContext(Protocol):
    """`self.job` of a bound task, while an attempt runs."""

    @property
    def id(self) -> JobId:
        """The job; give it to other systems as their idempotency key."""
        ...

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1."""
        ...

    @property
    def fencing_token(self) -> str:
        """Grows with each attempt: a store that refuses smaller ones refuses attempts that were given up."""
        ...

    @property
    def log(self) -> JobLog:
        """What the task says about this job, to be read at `/jobs/{id}/logs`."""
        ...

    def is_cancelled(self) -> bool:
        """Tell whether the attempt should end: the job was cancelled, or the attempt fenced."""
        ...

    def check(self) -> None:
        """Raise `JobCancelled` or `AttemptFenced` when the attempt should end."""
        ...

    def progress(self, done: float, total: float | None = None, note: str | None = None) -> None:
        """Say how far the attempt has come."""
        ...

    def count(self, name: str, amount: float = 1, **labels: object) -> None:
        """Add `amount` to the counter `penstock_task_<name>_total` of this task, when the attempt has ended."""
        ...

    def gauge(self, name: str, value: float, **labels: object) -> None:
        """Set the gauge `penstock_task_<name>` of this task, when the attempt has ended."""
        ...

    def observe(self, name: str, value: float, **labels: object) -> None:
        """Sort `value` into the histogram `penstock_task_<name>` of this task, when the attempt has ended."""
        ...


current_job: Final[ContextVar[JobContext | None]] = ContextVar("current_job", default=None)
"""The job whose attempt runs in this thread."""


class RetryIn(Retry):
    """What `self.retry()` raises: run again by the policy, or after exactly `delay`."""

    def __init__(self, cause: BaseException | None, delay: timedelta | None, most_retries: int | None) -> None:
        """Carry the error that led here, the wait that was asked for, and a limit other than the policy's."""
        super().__init__("The task asked to be run again.", exc=cause if isinstance(cause, Exception) else None)
        self.delay = delay
        self.most_retries = most_retries

    def __reduce__(self) -> Any:
        """Travel between processes whole."""
        return type(self), (self.exc, self.delay, self.most_retries)


class Recorder:
    """Keeps what a task's function returned or raised, before Celery's tracer turns it into something else."""

    def __init__(self) -> None:
        """Nothing has been called yet."""
        self.called = False
        self.value: Any = None
        self.error: BaseException | None = None

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what the function returns, raise what it raises, and remember it."""
        self.called = True
        try:
            self.value = function(*args, **kwargs)
        except BaseException as error:
            self.error = error
            raise
        return self.value


recorder: Final[ContextVar[Recorder | None]] = ContextVar("recorder", default=None)
"""Set while an attempt runs in this thread."""
