"""The pool of processes stays well when a child's end and the loss of the broker's connection meet."""

import errno
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu.asynchronous import Hub, set_event_loop

from worker.processes import Processes

SECONDS = 20.0


def _hang_up(inode: int) -> None:
    """Close, in the child, the pipe by whose end the pool learns that the child has ended; and live on."""
    for held in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if held.stat().st_ino == inode:
                os.close(int(held.name))


@pytest.fixture
def hub() -> Iterator[Hub]:
    made = Hub()
    set_event_loop(made)
    yield made
    set_event_loop(None)
    made.close()


@pytest.fixture
def pool(hub: Hub) -> Iterator[Processes]:
    app = Celery("pool", set_as_current=False)
    made = Processes(1, app=app, threads=False, initargs=(app, "pool"))
    made.start()
    made.register_with_event_loop(hub)
    yield made
    made.terminate()


def run_until(hub: Hub, seen: Callable[[], bool]) -> None:
    """Go round the loop until `seen`, for `SECONDS` at most."""
    deadline = time.monotonic() + SECONDS
    hub.call_repeatedly(0.05, lambda: None)
    while not seen():
        assert time.monotonic() < deadline
        hub.run_once()


def test_a_child_that_ended_and_is_still_in_the_pool_is_no_error_when_the_pool_is_registered_again(
    hub: Hub, pool: Any
) -> None:
    child = pool._pool._pool[0]
    inode = os.fstat(child._popen.sentinel).st_ino
    pool.apply_async(_hang_up, (inode,))
    run_until(hub, lambda: getattr(child, "_sentinel_poll", 0) is None)
    assert pool._pool._pool == [child], "its end was heard of, and it was not yet taken out"

    pool.register_with_event_loop(hub)  # as after each loss of the broker's connection

    os.kill(child.pid, signal.SIGKILL)
    run_until(hub, lambda: pool.maintain_pool() or pool._pool._pool not in ([], [child]))
    done: list[Any] = []
    pool.apply_async(os.getpid, callback=done.append)
    run_until(hub, lambda: bool(done))
    assert done == [pool._pool._pool[0].pid]


def test_a_child_that_the_machine_has_no_room_for_is_started_later(
    hub: Hub, pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = pool._pool._pool
    refused: list[int] = []

    def refuses() -> int:
        refused.append(1)
        raise BlockingIOError(errno.EAGAIN, "no room for another process")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fork", refuses)
        os.kill(first.pid, signal.SIGKILL)
        run_until(hub, lambda: bool(refused))
        pool.register_with_event_loop(hub)  # as after each loss of the broker's connection
        assert pool._pool._pool == []

    run_until(hub, lambda: pool.maintain_pool() or pool._pool._pool != [])
    done: list[Any] = []
    pool.apply_async(os.getpid, callback=done.append)
    run_until(hub, lambda: bool(done))
    assert done == [pool._pool._pool[0].pid]
