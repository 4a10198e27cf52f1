"""What a running task may ask of the job that it works on.

Only the shape, for type checkers: at run time the worker puts the real thing on the task.
"""

from typing import Protocol
from uuid import UUID


class RunningJob(Protocol):
    """The job and its present attempt."""

    id: UUID
    attempt: int

    def check(self) -> None:
        """Return while this attempt may go on; raise `AttemptFenced` or `JobCancelled` when not."""

    def progress(self, done: float, total: float | None = None, note: str | None = None) -> None:
        """Report how far the job is."""
