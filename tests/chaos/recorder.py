"""The record of what tasks did: one JSON line when a function begins, and one when it ends.

One record is one `write` to a file opened with O_APPEND, so that the processes of all workers share it.
"""

import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pydantic_core

PREFIX: Final = "chaos."
"""Of the names of tasks that write records: a job of one of them that succeeded must have an execution on record."""
RETURNED: Final = "returned"


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
            facts = pydantic_core.from_json(line) if line else None
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
