"""Tasks for runs under faults. Each writes down when it began and when it ended, whatever the tables say of it.

A worker finds them with `PENSTOCK_TASK_MODULES=tests.chaos.executions`; the file is named by `CHAOS_EXECUTIONS`.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

from billiard.exceptions import SoftTimeLimitExceeded
from celery import shared_task
from pydantic import Field

from jobs.errors import PermanentError
from tasks.context import JobContext
from tests.chaos.recorder import Recorder, proof

FILE: Final = "CHAOS_EXECUTIONS"

_QUICK: Final[dict[str, Any]] = {"max_retries": 10, "retry_backoff": 0.1, "retry_backoff_max": 1}
_SLICE_SECONDS: Final = 0.1
_MEGABYTE: Final = 1 << 20

Seconds = Annotated[float, Field(ge=0, le=600)]


class ChaosError(Exception):
    """This task errs on purpose."""


@contextmanager
def recorded(task: Any) -> Iterator[JobContext]:
    """Give the job of the bound `task`, and write down what becomes of the block."""
    job: JobContext = task.job
    recorder = Recorder(Path(os.environ[FILE]))
    with recorder.execution(job_id=job.id, attempt=job.attempt, token=job.fencing_token, task=task.name):
        yield job


def _sleep_on(seconds: float) -> None:
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0:
        try:
            time.sleep(left)
        except SoftTimeLimitExceeded:
            continue


@shared_task(name="chaos.quick", bind=True, **_QUICK)
def quick(self: Any) -> dict[str, Any]:
    """Do nothing."""
    with recorded(self) as job:
        return proof(job.id, job.attempt)


@shared_task(name="chaos.naps", bind=True, **_QUICK)
def naps(self: Any, seconds: Seconds) -> dict[str, Any]:
    """Sleep in one piece: nobody is asked anything."""
    with recorded(self) as job:
        time.sleep(seconds)
        return proof(job.id, job.attempt)


@shared_task(name="chaos.dozes", bind=True, **_QUICK)
def dozes(self: Any, seconds: Seconds) -> dict[str, Any]:
    """Sleep, and look between whether the job was cancelled or the attempt fenced."""
    with recorded(self) as job:
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            time.sleep(min(_SLICE_SECONDS, left))
            job.check()
        return proof(job.id, job.attempt)


@shared_task(name="chaos.stubborn", bind=True, **_QUICK)
def stubborn(self: Any, seconds: Seconds) -> dict[str, Any]:
    """Sleep, and go on sleeping whatever is raised: a cancel has to kill it."""
    with recorded(self) as job:
        _sleep_on(seconds)
        return proof(job.id, job.attempt)


@shared_task(name="chaos.clings", bind=True, **_QUICK)
def clings(self: Any, seconds: Seconds, worker: str) -> dict[str, Any]:
    """Sleep as the stubborn do, in the first attempt and on this worker; else do nothing."""
    with recorded(self) as job:
        if job.attempt == 1 and os.environ["PENSTOCK_NODE_NAME"].startswith(f"{worker}@"):
            _sleep_on(seconds)
        return proof(job.id, job.attempt)


@shared_task(name="chaos.errs", bind=True, **_QUICK)
def errs(self: Any, times: Annotated[int, Field(ge=0, le=10)]) -> dict[str, Any]:
    """Err in the first so many attempts."""
    with recorded(self) as job:
        if job.attempt <= times:
            raise ChaosError(f"attempt {job.attempt} of {times} that err")
        return proof(job.id, job.attempt)


@shared_task(name="chaos.fails", bind=True)
def fails(self: Any) -> None:
    """Err for good: a dead letter."""
    with recorded(self):
        raise PermanentError("this task fails for good")


@shared_task(name="chaos.dies", bind=True)
def dies(self: Any, times: Annotated[int, Field(ge=0, le=10)] = 1) -> dict[str, Any]:
    """Kill its own process in the first so many attempts."""
    with recorded(self) as job:
        if job.attempt <= times:
            os.kill(os.getpid(), signal.SIGKILL)
        return proof(job.id, job.attempt)


@shared_task(name="chaos.grows", bind=True)
def grows(
    self: Any,
    megabytes: Annotated[int, Field(ge=1, le=65_536)],
    times: Annotated[int, Field(ge=0, le=10)] = 1,
) -> dict[str, Any]:
    """Take so much memory in the first so many attempts: for a process that a cgroup holds below that, its end."""
    with recorded(self) as job:
        # Written to: the kernel counts only the pages that somebody wrote.
        held = [b"x" * _MEGABYTE for _ in range(megabytes if job.attempt <= times else 0)]
        return proof(job.id, job.attempt, megabytes=len(held))


@shared_task(name="chaos.large", bind=True, **_QUICK)
def large(self: Any, size: Annotated[int, Field(ge=0, le=1_000_000)]) -> dict[str, Any]:
    """Return a result of so many characters."""
    with recorded(self) as job:
        return proof(job.id, job.attempt, filler="x" * size)
