"""What a worker does while there is no broker: its jobs go on, end, and are settled.

Celery 5.7 sleeps between two tries to connect: nobody reads the pool's results, keeps time limits or
launches what has begun. And it drops what the pool has not begun, as the broker is expected to repeat its
messages; ours are begun in the database, and are not repeated while their lease is extended.
"""

import itertools
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Final, Self

import structlog
from celery.worker import state

log = structlog.get_logger()

PAUSES: Final = (0.2, 0.5, 1.0, 2.0, 3.0)
"""Seconds between two tries to reach the broker; the last is repeated."""
USUAL: Final = 0.2
"""Seconds that connecting may take before the pool is served meanwhile."""
LOOK_EVERY: Final = 1.0
"""Seconds after which a worker that is told to stop notices, whatever else happens."""


class Outage:
    """Serves the pool while a consumer tries to connect."""

    def __init__(self, consumer: Any) -> None:
        """Serve the pool of `consumer`."""
        self._consumer = consumer
        self._pauses: Iterator[float] = itertools.chain(PAUSES, itertools.repeat(PAUSES[-1]))
        self._timers: set[Any] = set()
        self._began_with: set[Any] = set()
        self._is_serving = False
        self._given_up = threading.Event()

    def __enter__(self) -> Self:
        """Nothing happens before the first refusal."""
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Leave the pool to the event loop, which registers it anew; limits that were set meanwhile stay."""
        self._given_up.set()
        if not self._is_serving:
            return
        timer = self._consumer.hub.timer
        for entry in self._timers:
            timer.cancel(entry)
        known = self._consumer.timer_entries_before_start
        if known is not None:  # what Celery takes for timers of the connection, it cancels with the connection
            known |= _entries(timer) - self._began_with

    def reach(self, connect: Callable[[Callable[..., None]], object]) -> None:
        """Return when `connect` has; it is given kombu's `errback`. Raises what it raises.

        It runs in a thread: a broker that takes connections and says nothing would hold up the pool at each try.
        """
        hub = self._consumer.hub
        raised: list[BaseException] = []

        def work() -> None:
            try:
                connect(self._pause)
            except BaseException as error:  # noqa: BLE001 - it is raised again where it is waited for
                raised.append(error)
            hub.call_soon(lambda: None)  # wakes the loop

        thread = threading.Thread(target=work, name="connect", daemon=True)
        thread.start()
        thread.join(USUAL)
        if thread.is_alive():
            self._serve(hub)
        while thread.is_alive():
            state.maybe_shutdown()
            self._run_once(hub)
        thread.join()
        if raised:
            raise raised[0]

    def rest(self, error: BaseException, seconds: float) -> None:
        """Leave a broker that refuses alone for a while."""
        self._tell(error, seconds)
        self.reach(lambda _errback: self._given_up.wait(seconds))

    def _pause(self, error: BaseException, _interval: float = 0) -> None:
        """Wait until it is time for the next try, unless nobody waits for it any more."""
        pause = next(self._pauses)
        self._tell(error, pause)
        if self._given_up.wait(pause):
            raise error

    def _tell(self, error: BaseException, pause: float) -> None:
        log.warning("broker_unavailable", doing="consume", reason=type(error).__name__, next_try_in_seconds=pause)

    def _run_once(self, hub: Any) -> None:
        """Go round the loop; what the dead connection had put off there fails, and is done with."""
        try:
            hub.run_once()
        except self._consumer.connection_errors as error:
            log.info("leftover_of_connection", reason=type(error).__name__)

    def _serve(self, hub: Any) -> None:
        self._is_serving = True
        self._began_with = _entries(hub.timer)
        self._consumer.controller.register_with_event_loop(hub)
        self._consumer.register_with_event_loop(hub)
        hub.call_repeatedly(LOOK_EVERY, lambda: None)
        self._timers = _entries(hub.timer) - self._began_with


def _entries(timer: Any) -> set[Any]:
    return {scheduled.entry for scheduled in timer.queue}


def finish_writing(pool: Any) -> None:
    """Bring what is half written to a child to its end; the event loop that wrote it is gone."""
    processes: Any = getattr(pool, "_pool", None)
    for writing in list(getattr(processes, "_active_writers", ())):
        for job in list(processes._cache.values()):
            if job._writer is not None and job._writer() is writing:
                processes._flush_writer(job._write_to, writing)
