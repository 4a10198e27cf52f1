"""What SIGTERM does first: readiness ends at once, listening only later.

Whoever spreads requests over several APIs asks each for its readiness every few seconds, and sends requests to a
process until it has been told. uvicorn closes its sockets at the signal; this puts that off.
"""

import asyncio
import multiprocessing
import os
import signal
import threading
from types import FrameType

import structlog

from api.readiness import Readiness

log = structlog.get_logger()


def leave_late(readiness: Readiness, seconds: float) -> None:
    """Have the next SIGTERM end readiness, and what it did before happen `seconds` later; one more ends the wait.

    To be called in a running loop. Where no signal arrives, as in a thread, nothing changes.
    """
    before = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        return
    loop = asyncio.get_running_loop()

    def on_signal(number: int, frame: FrameType | None) -> None:
        again = readiness.is_leaving
        readiness.leave()
        if again or not seconds:
            before(number, frame)
        else:
            loop.call_soon_threadsafe(begin, number)

    def begin(number: int) -> None:
        log.info("api_leaves", listens_for_seconds=seconds)
        loop.call_later(seconds, before, number, None)

    signal.signal(signal.SIGTERM, on_signal)


def leave_with_parent() -> None:
    """Have this process stop when the one that started it, and sees to it, is gone; one without such goes on.

    It would serve on unseen otherwise, on a port that whoever starts the API again then finds taken.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def follow() -> None:
        parent.join()
        log.warning("api_is_orphaned")
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow, name="follow-parent", daemon=True).start()
