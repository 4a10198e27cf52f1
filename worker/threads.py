"""Celery's pool of threads, for a worker that has to stop: a thread cannot be ended, so nobody waits for it.

Celery waits for every task that runs, however long. Here the drain decides: what then still runs has been given
back, and the process ends with it.
"""

import logging
import os
import sys
from typing import Any

from celery import bootsteps
from celery.concurrency.thread import TaskPool


class Threads(TaskPool):
    """A pool of threads that ends without those that still run."""

    executor: Any

    def on_stop(self) -> None:
        """Start nothing more, and wait for nobody."""
        self.executor.shutdown(wait=False, cancel_futures=True)

    @property
    def is_left_running(self) -> bool:
        """Whether a thread still runs its task."""
        return any(thread.is_alive() for thread in self.executor._threads)


class DrainStep(bootsteps.StartStopStep):  # type: ignore[misc]  # typed as Any: its stubs miss what we need
    """Waits for the drain before the pool of threads is stopped; a pool of processes does that by itself."""

    requires = ("celery.worker.components:Pool",)

    def stop(self, worker: Any) -> None:
        """Return when what runs has ended or was given back."""
        if isinstance(worker.pool, Threads):
            worker.drain.wait()


def end_with(code: int) -> None:
    """End the process now: the interpreter would wait for the threads."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
