"""`python -m tests.chaos.body FILE JOB ATTEMPT TASK`: a task's function that heeds nothing, in its own process."""

import signal
import sys
import threading
from pathlib import Path
from typing import Final
from uuid import UUID

from tests.chaos.recorder import Recorder

LONGEST: Final = 60.0
"""Seconds after which it ends by itself, whatever becomes of who began it."""


def main() -> None:
    """Run until killed."""
    file, job_id, attempt, task = sys.argv[1:]
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    with Recorder(Path(file)).execution(job_id=UUID(job_id), attempt=int(attempt), token="t", task=task):
        threading.Event().wait(LONGEST)


if __name__ == "__main__":
    main()
