"""Scenes of a pool of processes, each in a process of its own: that of the tests has threads, and forks badly."""

import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

from celery import Celery
from kombu.asynchronous import Hub, set_event_loop

from worker.processes import Processes

SECONDS = 60.0


def _hang_up(inode: int) -> None:
    """Close, in the child, the pipe by whose end the pool learns that the child has ended; and live on."""
    for held in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if held.stat().st_ino == inode:
                os.close(int(held.name))


@contextmanager
def pooled() -> Iterator[tuple[Hub, Any]]:
    """A pool of one process, on an event loop."""
    hub = Hub()
    set_event_loop(hub)
    app = Celery("pool", set_as_current=False)
    pool = Processes(1, app=app, threads=False, initargs=(app, "pool"))
    pool.start()
    pool.register_with_event_loop(hub)
    try:
        yield hub, pool
    finally:
        pool.terminate()


def run_until(hub: Hub, seen: Callable[[], bool]) -> None:
    """Go round the loop until `seen`, for `SECONDS` at most."""
    deadline = time.monotonic() + SECONDS
    hub.call_repeatedly(0.05, lambda: None)
    while not seen():
        assert time.monotonic() < deadline
        hub.run_once()


def runs_a_job(hub: Hub, pool: Any) -> bool:
    """Tell whether the pool's only process does what it is given."""
    done: list[Any] = []
    pool.apply_async(os.getpid, callback=done.append)
    run_until(hub, lambda: bool(done))
    return done == [pool._pool._pool[0].pid]


def half_dead() -> None:
    """A child's end was heard of, it was not yet taken out of the pool, and the connection is lost."""
    with pooled() as (hub, pool):
        child = pool._pool._pool[0]
        pool.apply_async(_hang_up, (os.fstat(child._popen.sentinel).st_ino,))
        run_until(hub, lambda: getattr(child, "_sentinel_poll", 0) is None)
        assert pool._pool._pool == [child]

        pool.register_with_event_loop(hub)  # as after each loss of the broker's connection

        os.kill(child.pid, signal.SIGKILL)
        run_until(hub, lambda: pool.maintain_pool() or pool._pool._pool not in ([], [child]))
        assert runs_a_job(hub, pool)


def no_room() -> None:
    """The machine refuses a process in the place of one that died, and the connection is lost."""
    with pooled() as (hub, pool):
        (first,) = pool._pool._pool
        refused: list[int] = []

        def refuses() -> int:
            refused.append(1)
            raise BlockingIOError(errno.EAGAIN, "no room for another process")

        with mock.patch("os.fork", refuses):
            os.kill(first.pid, signal.SIGKILL)
            run_until(hub, lambda: bool(refused))
            pool.register_with_event_loop(hub)  # as after each loss of the broker's connection
            assert pool._pool._pool == []

        run_until(hub, lambda: pool.maintain_pool() or pool._pool._pool != [])
        assert runs_a_job(hub, pool)


if __name__ == "__main__":
    {"half_dead": half_dead, "no_room": no_room}[sys.argv[1]]()
