"""What the code that runs tasks finds around it: the catalogue, the app, a database of its own.

Made once before the pool starts; a forked child inherits it and opens its own connection at the first need.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded
from celery import Celery
from sqlalchemy import Engine

from tasks.catalogue import Catalogue


@dataclass
class PoolProcess:
    """The surroundings of an attempt."""

    app: Celery
    catalogue: Catalogue
    result_limit_bytes: int
    open_database: Callable[[], Engine]
    traced: Callable[[Any, Callable[[], Any]], Any] | None = None
    """What puts a span around an attempt; None: nobody wants traces."""
    _database: Engine | None = None
    _database_pid: int = 0

    def task(self, name: str) -> Any:
        """Return the Celery task of that name; None when it is not installed."""
        return self.app.tasks.get(name)

    def database(self) -> Engine:
        """Return this process's own engine; a connection that was inherited by a fork is never used."""
        if self._database is None or self._database_pid != os.getpid():
            if self._database is not None:
                self._database.dispose(close=False)
            self._database, self._database_pid = self.open_database(), os.getpid()
        return self._database


@contextmanager
def unstopped() -> Iterator[None]:
    """Run the block to its end although this process is told to stop by SIGTERM.

    Process managers signal a whole group (systemd, unless it is told otherwise; tini -g). The main process
    then drains, and lets the attempts of the pool end. It is the one to end a process of the pool, by SIGKILL.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are handled in the main thread; in a pool of threads that is Celery's
        return
    ours = os.getpid()

    def ignore(number: int, _frame: FrameType | None) -> None:
        if os.getpid() != ours:  # forked by the task, which may end it as it likes
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    # A handler, not SIG_IGN: that would be inherited by the programs that the task starts.
    before = signal.signal(signal.SIGTERM, ignore)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise SoftTimeLimitExceeded


def _let_pass(_number: int, _frame: FrameType | None) -> None:
    return


@contextmanager
def interruptible() -> Iterator[None]:
    """Have SIGUSR1 raise `SoftTimeLimitExceeded` in the block, and mean nothing to this process after it.

    A process is told while the word of its attempt's end is on its way, too. billiard's own handler would end it then,
    and with it the job that it is given next.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # nobody interrupts a thread
        return
    signal.signal(signal.SIGUSR1, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, _let_pass)


_here: list[PoolProcess] = []


def enter(surroundings: PoolProcess) -> None:
    """Make `surroundings` those of this process and of the children it will fork."""
    _here[:] = [surroundings]


def current() -> PoolProcess:
    """Return the surroundings of this process."""
    return _here[0]
