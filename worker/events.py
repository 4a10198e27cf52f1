"""Events for monitors, sent from a thread: whoever has something to tell never waits for the broker.

Celery 5.7 publishes them from the worker's event loop, a heartbeat each two seconds, and repeats a heartbeat until
it gets through: a broker that hangs would hold up every job of the worker. What cannot be sent is dropped here.
"""

import threading
import time
from collections import deque
from typing import Any, Final

import structlog
from celery.events.dispatcher import EventDispatcher
from celery.worker.control import control_command
from kombu import Connection, Producer

log = structlog.get_logger()

MOST_WAITING: Final = 1000
"""Events that wait to be sent; when there are more, the oldest are dropped."""
FAREWELL: Final = 0.5
"""Seconds that the last event has to get out."""
ASKED_FOR: Final = 30.0
"""Seconds for which the events of jobs are sent after someone has asked for them; Flower asks every five seconds."""
_JOBS: Final = "task"
"""What Celery calls the group of those events."""


@control_command()  # type: ignore[untyped-decorator]  # Celery ships no types for it
def enable_events(state: Any) -> dict[str, str]:
    """Send the events of jobs for a while. Celery's command of this name sends them until the worker ends."""
    post: EventPost = state.consumer.event_dispatcher
    post.ask()
    return {"ok": "task events enabled"}


class EventPost(EventDispatcher):
    """Celery's dispatcher, over a connection of its own, used by its thread alone."""

    app: Any
    exchange: Any
    serializer: str
    headers: dict[str, Any]
    delivery_mode: int
    _closed: bool
    groups: set[str]
    _asked_at = float("-inf")

    @property
    def tells_of_jobs(self) -> bool:
        """Whether somebody wants the events of jobs."""
        return bool(self.enabled) and (not self.groups or _JOBS in self.groups)

    def ask(self) -> None:
        """Send the events of jobs from now on, for `ASKED_FOR` seconds."""
        self._asked_at = time.monotonic()
        if self.groups:
            self.groups.add(_JOBS)

    def enable(self) -> None:
        """Begin to send."""
        super().enable()
        self._waiting: deque[tuple[Any, str]] = deque(maxlen=MOST_WAITING)
        self._news = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(self._waiting, self._news), name="events", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop sending, when what waits is out or its time is over."""
        super().close()
        self._news.set()
        self._thread.join(FAREWELL)

    def _publish(self, event: Any, _producer: Any, routing_key: str, **_retries: Any) -> None:
        self._waiting.append((event, routing_key))
        self._news.set()

    def _run(self, waiting: deque[tuple[Any, str]], news: threading.Event) -> None:
        connection: Connection = self.app.connection_for_write(heartbeat=0)
        while not self._closed or waiting:
            news.wait()
            news.clear()
            if self.groups and time.monotonic() - self._asked_at > ASKED_FOR:
                self.groups.discard(_JOBS)  # who asked is gone; a heartbeat each two seconds brings us here
            try:
                self._send_all(connection, waiting)
            except Exception as error:  # noqa: BLE001 - each transport fails in its own ways; nothing depends on events
                log.warning("events_dropped", count=len(waiting) + 1, reason=type(error).__name__)
                waiting.clear()
                connection.collect(socket_timeout=FAREWELL)
        connection.collect(socket_timeout=FAREWELL)

    def _send_all(self, connection: Connection, waiting: deque[tuple[Any, str]]) -> None:
        producer = Producer(connection.default_channel, exchange=self.exchange, serializer=self.serializer)
        while waiting:
            event, routing_key = waiting.popleft()
            producer.publish(
                event,
                routing_key=routing_key,
                retry=False,
                headers=self.headers,
                delivery_mode=self.delivery_mode,
            )
