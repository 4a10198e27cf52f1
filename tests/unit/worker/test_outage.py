"""While a worker looks for a broker, nothing that the last connection left behind may end it."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from amqp.exceptions import RecoverableConnectionError
from kombu import Connection
from kombu.asynchronous import Hub

from worker.outage import Outage


@pytest.fixture
def consumer() -> Iterator[Any]:
    """As much of Celery's consumer as serves the pool: an event loop, and what belongs to the connection."""
    deaf = SimpleNamespace(register_with_event_loop=lambda hub: None)
    errors = Connection("amqp://").connection_errors
    hub = Hub()
    yield SimpleNamespace(
        hub=hub,
        controller=deaf,
        register_with_event_loop=lambda hub: None,
        connection_errors=errors,
        timer_entries_before_start=None,
    )
    hub.close()


def test_a_read_that_the_dead_connection_had_put_off_does_not_end_the_wait(consumer: Any) -> None:
    read: list[str] = []

    def read_again(_hub: Hub) -> None:
        read.append("read")
        raise RecoverableConnectionError("Socket was disconnected")

    consumer.hub.call_soon(read_again, consumer.hub)
    with Outage(consumer) as outage:
        outage.serve(OSError("refused"))

    assert read == ["read"]


def test_an_error_that_is_not_the_connections_is_not_swallowed(consumer: Any) -> None:
    def breaks() -> None:
        raise ZeroDivisionError

    consumer.hub.call_soon(breaks)

    with Outage(consumer) as outage, pytest.raises(ZeroDivisionError):
        outage.serve(OSError("refused"))
