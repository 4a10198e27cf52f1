"""The record of what tasks did: one JSON line when a function begins, one now and then while it runs, one when it ends.

One record is one `write` to a file opened with O_APPEND, so that the processes of all workers share it.
"""

import json
import os
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pydantic_core

PREFIX: Final = "chaos."
"""Of the names of tasks that write records: a job of one of them that succeeded must have an execution on record."""
RETURNED: Final = "returned"
PULSE_SECONDS: Final = 0.25
"""Between two signs of life of a function that runs."""
MOST_PULSE_SECONDS: Final = 1.0
"""The longest pause between two signs of life that counts in full: in a longer one the process was held still."""


Span = tuple[float, float]
"""From one instant to another, in seconds since 1970."""


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
    seen_at: list[float] = field(default_factory=list)
    """When it gave a sign of life."""

    def ran_after(self, instant: float, but: Sequence[Span] = ()) -> float:
        """Return for how many seconds it was seen to run after `instant`, those in the spans of `but` left out.

        While it was held still it did not run.
        """
        marks = [self.began_at, *self.seen_at] + ([] if self.ended_at is None else [self.ended_at])
        spans = [(max(earlier, instant), later) for earlier, later in pairwise(sorted(marks)) if later > instant]
        return sum(min(_length(span, but), MOST_PULSE_SECONDS) for span in spans)


def _length(span: Span, but: Sequence[Span]) -> float:
    """Return how long the span is where none of the others is."""
    at, until = span
    length = 0.0
    for since, over in sorted(but):
        length += max(0.0, min(since, until) - at)
        at = max(at, min(over, until))
    return length + until - at


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
        """Write down that the block began, that it runs, and how it ended; who dies in it leaves no end."""
        run = uuid.uuid4().hex
        facts = {"job_id": str(job_id), "attempt": attempt, "token": token, "task": task, "pid": os.getpid()}
        self.write(run=run, began_at=time.time(), **facts)
        try:
            with self._pulse(run):
                yield
        except BaseException as error:
            self.write(run=run, ended_at=time.time(), how=type(error).__name__)
            raise
        self.write(run=run, ended_at=time.time(), how=RETURNED)

    @contextmanager
    def _pulse(self, run: str) -> Iterator[None]:
        """Give a sign of life now and then, for as long as the block lasts."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(PULSE_SECONDS):
                self.write(run=run, seen_at=time.time())

        threading.Thread(target=beat, name="pulse", daemon=True).start()
        try:
            try:
                yield
            finally:
                over.set()
        finally:
            over.set()  # what interrupts a task may strike in the line above


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
        elif run in runs and "seen_at" in facts:
            runs[run].seen_at.append(facts["seen_at"])
        elif run in runs:
            runs[run].ended_at, runs[run].how = facts["ended_at"], facts["how"]
    return list(runs.values())


def proof(job_id: UUID, attempt: int, **more: Any) -> dict[str, Any]:
    """Return a result by which the checker sees whose it is."""
    return {"job_id": str(job_id), "attempt": attempt, **more}
