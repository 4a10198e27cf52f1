"""Ring doorbells from a thread of its own, so that no request ever waits for the broker."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from jobs.errors import BrokerUnavailable
from jobs.failpoints import passed, reached
from jobs.model import Doorbell, JobId
from jobs.telemetry.metrics import Instruments
from tasks.publisher import DoorbellPublisher

log = structlog.get_logger()

BATCH: Final = 500
MOST_WAITING: Final = 50_000
"""Doorbells kept in memory; what is beyond is left to upkeep."""
PAUSE_AFTER_OUTAGE: Final = 1.0
"""Seconds in which the broker is not tried again; doorbells are handed to upkeep meanwhile."""
HANGS_AFTER: Final = 1.0
"""Seconds that a batch may take before the broker is thought away."""


class Dispatcher:
    """Takes doorbells from any thread and rings them in batches; gives back what it could not ring."""

    def __init__(
        self, publisher: DoorbellPublisher, give_back: Callable[[Sequence[JobId]], None], instruments: Instruments
    ) -> None:
        """Ring with `publisher`; call `give_back` with the jobs whose doorbells did not get through."""
        self._publisher = publisher
        self._give_back = give_back
        self._waiting: deque[Doorbell] = deque()
        self._news = threading.Condition()
        self._closing = False
        self._down_until = 0.0
        self._ringing_since = math.inf
        self._thread = threading.Thread(target=self._run, name="dispatch", daemon=True)
        self._rung = instruments["doorbells_rung"]
        self._failed = instruments["doorbells_failed"]
        self._unconfirmed = instruments["doorbells_unconfirmed"]

    def start(self) -> None:
        """Begin to ring."""
        self._thread.start()

    @property
    def is_away(self) -> bool:
        """Whether the broker does not take doorbells now; after a moment this ends, and the next ones decide."""
        now = time.monotonic()
        return now < self._down_until or now - self._ringing_since > HANGS_AFTER

    def ring(self, doorbells: Sequence[Doorbell]) -> None:
        """Have `doorbells` rung soon, and return at once."""
        with self._news:
            room = MOST_WAITING - len(self._waiting)
            self._waiting.extend(doorbells[:room])
            self._news.notify()
        if room < len(doorbells):
            self._failed.inc(len(doorbells) - room)
            log.warning("doorbells_left_to_upkeep", count=len(doorbells) - room)

    def close(self, timeout: float = 2.0) -> None:
        """Ring what is waiting, within `timeout` seconds, and stop."""
        with self._news:
            self._closing = True
            self._news.notify()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        while batch := self._take():
            if time.monotonic() < self._down_until:
                self._fail(batch, None)
                continue
            try:
                reached("dispatch.ring")
                self._ringing_since = time.monotonic()
                self._publisher.ring(batch)
                passed("dispatch.ring")
                reached("dispatch.count")
                self._rung.inc(len(batch))
            except BrokerUnavailable as error:
                self._unconfirmed.inc(self._publisher.unconfirmed)
                self._fail(batch, error)
            except Exception:
                log.exception("dispatch_failed")
                self._fail(batch, BrokerUnavailable())
            finally:
                self._ringing_since = math.inf
        self._publisher.close()

    def _take(self) -> list[Doorbell]:
        with self._news:
            while not self._waiting and not self._closing:
                self._news.wait()
            return [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]

    def _fail(self, batch: Sequence[Doorbell], error: BrokerUnavailable | None) -> None:
        if error is not None:
            self._down_until = time.monotonic() + PAUSE_AFTER_OUTAGE
            log.warning("broker_unavailable", reason=str(error), count=len(batch))
        self._failed.inc(len(batch))
        try:
            reached("dispatch.give_back")
            self._give_back([bell.id for bell in batch])
            passed("dispatch.give_back")
        except Exception as problem:  # noqa: BLE001 - upkeep finds the jobs by their age as well
            log.warning("doorbells_not_given_back", count=len(batch), reason=type(problem).__name__)
