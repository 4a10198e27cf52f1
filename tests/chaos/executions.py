"""Tasks for runs under faults. Each writes down when it began and when it ended, whatever the tables say of it.

A worker finds them with `PENSTOCK_TASK_MODULES=tests.chaos.executions`; the file is named by `CHAOS_EXECUTIONS`. One
record is one `write` to a file opened with O_APPEND, so that the processes of all workers share it.
"""

import json
import os
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

from billiard.exceptions import SoftTimeLimitExceeded
from celery import shared_task
from pydantic import Field

from jobs.errors import PermanentError
from tasks.context import JobContext

FILE: Final = "CHAOS_EXECUTIONS"
PREFIX: Final = "chaos."
"""Of the names of these tasks: a job of one of them that succeeded must have an execution on record."""
RETURNED: Final = "returned"

_QUICK: Final[dict[str, Any]] = {"max_retries": 10, "retry_backoff": 0.1, "retry_backoff_max": 1}
_SLICE_SECONDS: Final = 0.1
_MEGABYTE: Final = 1 << 20

Seconds = Annotated[float, Field(ge=0, le=600)]


@dataclass(slots=True)
class Execution:
    """One run of a task's function, by the clock of its host, in seconds since 1970."""

    job_id: UUID
    attempt: int
    token: str
    task: str
    pid: int
    began_at: float
    ended_at: float | None = None
    """None: it never came to its end."""
    how: str | None = None
    """`returned`, or the type of the error that ended it."""


class ChaosError(Exception):
    """This task errs on purpose."""


class Recorder:
    """Appends to the file of executions."""

    def __init__(self, path: Path) -> None:
        """Append to `path`."""
        self._path = path

    def write(self, **facts: Any) -> None:
        """Append one record. Begun with a line feed: a record that was cut off does not spoil the next."""
        line = b"\n" + json.dumps(facts, separators=(",", ":")).encode() + b"\n"
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(file, line)
        finally:
            os.close(file)

    @contextmanager
    def execution(self, *, job_id: UUID, attempt: int, token: str, task: str) -> Iterator[None]:
        """Write down that the block began and how it ended; a process that dies in it leaves only the beginning."""
        run = uuid.uuid4().hex
        facts = {"job_id": str(job_id), "attempt": attempt, "token": token, "task": task, "pid": os.getpid()}
        self.write(run=run, began_at=time.time(), **facts)
        try:
            yield
        except BaseException as error:
            self.write(run=run, ended_at=time.time(), how=type(error).__name__)
            raise
        self.write(run=run, ended_at=time.time(), how=RETURNED)


def read_executions(path: Path) -> list[Execution]:
    """Return what is on record, in the order of beginning. A record that was cut off is passed over."""
    runs: dict[str, Execution] = {}
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            facts = json.loads(line) if line else None
        except ValueError:
            continue
        if facts is None:
            continue
        run = facts.pop("run")
        if "began_at" in facts:
            runs[run] = Execution(**facts | {"job_id": UUID(facts["job_id"])})
        elif run in runs:
            runs[run].ended_at, runs[run].how = facts["ended_at"], facts["how"]
    return list(runs.values())


def proof(job_id: UUID, attempt: int, **more: Any) -> dict[str, Any]:
    """Return a result by which the checker sees whose it is."""
    return {"job_id": str(job_id), "attempt": attempt, **more}


@contextmanager
def recorded(task: Any) -> Iterator[JobContext]:
    """Give the job of the bound `task`, and write down what becomes of the block."""
    job: JobContext = task.job
    recorder = Recorder(Path(os.environ[FILE]))
    with recorder.execution(job_id=job.id, attempt=job.attempt, token=job.fencing_token, task=task.name):
        yield job


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
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            try:
                time.sleep(left)
            except SoftTimeLimitExceeded:
                continue
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
