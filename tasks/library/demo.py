"""Tasks to try Penstock with: each shows one thing that can happen to a job."""

import os
import signal
import time
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Final
from uuid import UUID

from celery import shared_task
from pydantic import BaseModel, Field

from jobs.errors import PermanentError
from tasks.context import JobContext

#: How long a sleeping task may take to notice that it was cancelled. Seconds.
SLICE_SECONDS = 0.2

#: The types of Celery know whole seconds only.
QUICK_RETRIES: Final[dict[str, Any]] = {"max_retries": 10, "retry_backoff": 0.2, "retry_backoff_max": 2}


class DemoError(Exception):
    """This demo task fails on purpose."""

    def __init__(self, message: str | None = None) -> None:
        """Carry `message`, or the class's docstring."""
        super().__init__(message or type(self).__doc__)


class Colour(StrEnum):
    """A choice."""

    RED = "red"
    GREEN = "green"
    BLUE = "blue"


class Point(BaseModel):
    """A thing with parts."""

    x: float
    y: float


class TypedAnswer(BaseModel):
    """The arguments as the task got them."""

    types: dict[str, str]
    """Name of each argument's Python type."""
    id: UUID
    amount: Decimal
    at: datetime
    colour: Colour
    point: Point


def doze(job: JobContext, seconds: float) -> None:
    """Sleep for `seconds`, but no longer than the job may go on."""
    ends = time.monotonic() + seconds
    job.check()
    while (left := ends - time.monotonic()) > 0:
        time.sleep(min(SLICE_SECONDS, left))  # to take time is this task's whole work
        job.check()


@shared_task(name="demo.echo")
def echo(message: str) -> str:
    """Return the message."""
    return message


@shared_task(name="demo.noop")
def noop() -> None:
    """Do nothing, as fast as a job can."""


@shared_task(name="demo.sleep", bind=True, soft_time_limit=3660, time_limit=3690)
def sleep(self: Any, seconds: Annotated[float, Field(ge=0, le=3600)]) -> float:
    """Sleep, and return for how many seconds; stops early when the job is cancelled."""
    doze(self.job, seconds)
    return seconds


@shared_task(name="demo.flaky", bind=True, **QUICK_RETRIES)
def flaky(self: Any, failures: Annotated[int, Field(ge=0, le=100)]) -> int:
    """Fail in the first so many attempts, then return the number of the attempt that succeeded."""
    job: JobContext = self.job
    if job.attempt <= failures:
        raise DemoError(f"Attempt {job.attempt} of {failures} that fail.")
    return job.attempt


@shared_task(name="demo.fail")
def fail(permanent: bool = True) -> None:  # noqa: FBT001, FBT002 - a payload's field has a name where it is written
    """Fail: for good, or with an error that is worth a retry."""
    if permanent:
        raise PermanentError("This demo task fails for good.")
    raise DemoError


@shared_task(name="demo.crash")
def crash() -> None:
    """Kill the process that runs this job."""
    os.kill(os.getpid(), signal.SIGKILL)


@shared_task(name="demo.progress", bind=True, soft_time_limit=3660, time_limit=3690)
def progress(
    self: Any,
    steps: Annotated[int, Field(ge=1, le=10_000)] = 10,
    seconds: Annotated[float, Field(ge=0, le=3600)] = 1,
) -> int:
    """Report and log progress step by step over so many seconds, and return the number of steps."""
    for step in range(1, steps + 1):
        doze(self.job, seconds / steps)
        self.job.progress(step, steps, f"step {step} of {steps}")
        self.job.log.info("step_done", step=step)
    return steps


@shared_task(name="demo.typed")
def typed(id: UUID, amount: Decimal, at: datetime, colour: Colour, point: Point) -> TypedAnswer:  # noqa: A002 - the payload's field
    """Return the arguments with their types, as the task got them."""
    arguments = {"id": id, "amount": amount, "at": at, "colour": colour, "point": point}
    types = {name: type(value).__name__ for name, value in arguments.items()}
    return TypedAnswer(types=types, id=id, amount=amount, at=at, colour=colour, point=point)
