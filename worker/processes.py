"""Celery's pool of processes, which loses no time over one that died: every other job of the worker would wait."""

import gc
from typing import Any

import structlog
from celery.concurrency.asynpool import AsynPool
from celery.concurrency.prefork import TaskPool

log = structlog.get_logger()


class _Pool(AsynPool):
    _pool: list[Any]
    _queues: dict[Any, Any]
    _runs = False

    def __init__(self, *args: Any, **options: Any) -> None:
        """Start all processes. Raises `OSError` where the machine has no room for them."""
        super().__init__(*args, **options)
        self._runs = True

    def process_flush_queues(self, proc: Any) -> None:
        """Read what a process left in its pipe, if it left anything; Celery waits 10 ms to see."""
        if not proc.outq._reader.closed and proc.outq._reader.poll(0):
            super().process_flush_queues(proc)

    def _create_worker_process(self, i: int) -> Any:
        """Start a process. While the pool runs, the machine may refuse: the next look at the pool tries again.

        billiard 4.3 would keep the unborn one in the pool, with the pipes of its slot, for good.
        """
        try:
            return super()._create_worker_process(i)
        except (OSError, MemoryError) as error:
            unborn = self._pool[-1] if self._pool else None
            if not self._runs or unborn is None or unborn._popen is not None:
                raise
            self._pool.remove(unborn)
            self._queues[self._find_worker_queues(unborn)] = None
            log.warning("process_not_started", reason=type(error).__name__)
            return None

    def _track_child_process(self, proc: Any, hub: Any) -> None:
        """Watch for the end of a process, unless that was heard already: it may still be in the pool, not yet reaped.

        When the connection to the broker is lost at that very moment, all are registered anew. Celery 5.7 would hand
        the loop what it no longer has of such a process, and kombu's `ValueError` would end the worker.
        """
        was_heard = hasattr(proc, "_sentinel_poll") and proc._sentinel_poll is None
        if not was_heard:
            super()._track_child_process(proc, hub)


class Processes(TaskPool):
    """A pool of processes that replaces one quickly."""

    Pool = _Pool

    def on_start(self) -> None:
        """Start the processes.

        Celery collects garbage before each fork. What was loaded by now stays, and is not gone through again:
        that took 80 ms of the main process for each child that took the place of another.
        """
        gc.collect()
        gc.freeze()
        super().on_start()
