"""How a worker stops: it starts nothing more, lets what runs end for a while, and gives back what then still runs."""

import os
import signal
import threading
import time
from typing import Final

import structlog

from jobs.failpoints import passed, reached
from jobs.telemetry import logs
from worker.keeper import Keeper

log = structlog.get_logger()

GRACE_SECONDS: Final = 5.0
"""How much longer than it should a drain may take."""


class Drain:
    """The end of one worker."""

    def __init__(self, keeper: Keeper, seconds: float) -> None:
        """Let attempts run for `seconds` once it has begun."""
        self._keeper = keeper
        self._seconds = seconds
        self._thread = threading.Thread(target=self._run, name="drain", daemon=True)

    def begin(self) -> None:
        """Start nothing more, and when the time is over give the remaining jobs back and end their processes.

        Runs where a signal was caught, so whatever takes a lock is done by a thread.
        """
        self._keeper.drain()
        if self._thread.ident is None:
            self._thread.start()

    def wait(self) -> None:
        """Return when it is over; at once when it was not begun."""
        if self._thread.ident is not None:
            self._thread.join(self._seconds + GRACE_SECONDS)

    def _run(self) -> None:
        keeper = self._keeper
        deadline = time.monotonic() + self._seconds
        self._give_waiting_back()
        while time.monotonic() < deadline and keeper.busy:
            time.sleep(0.05)  # in a thread of its own; there is no event for "all slots are free"
            self._give_waiting_back()
        left = [running for running in keeper.held() if running.ending is None]
        processes = [running.pid for running in left if running.pid is not None and running.pid != os.getpid()]
        if left:
            log.warning("drain_gives_back", count=len(left))
            logs.info_each("attempt_given_back", [logs.facts_of(running.attempt) for running in left])
            reached("drain.give_back")
            keeper.give_back(left)
            passed("drain.give_back")
        for pid in processes:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def _give_waiting_back(self) -> None:
        """Give back what was started and is not in the pool yet; a start that was under way may still add to it."""
        waiting = []
        while True:
            try:
                waiting.append(self._keeper.launches.popleft())
            except IndexError:
                break
        self._keeper.give_back(waiting)
