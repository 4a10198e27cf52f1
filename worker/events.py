"""Events for monitors, sent from a thread: whoever has something to tell never waits for the broker.

Celery 5.7 publishes them from the worker's event loop, a heartbeat each two seconds, and repeats a heartbeat until
it gets through: a broker that hangs would hold up every job of the worker. What cannot be sent is dropped here.
"""

import threading
from collections import deque
from typing import Any, Final

import structlog
from celery.events.dispatcher import EventDispatcher
from kombu import Connection, Producer

log = structlog.get_logger()

MOST_WAITING: Final = 1000
"""Events that wait to be sent; when there are more, the oldest are dropped."""
FAREWELL: Final = 0.5
"""Seconds that the last event has to get out."""


class EventPost(EventDispatcher):
    """Celery's dispatcher, over a connection of its own, used by its thread alone."""

    app: Any
    exchange: Any
    serializer: str
    headers: dict[str, Any]
    delivery_mode: int
    _closed: bool

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
