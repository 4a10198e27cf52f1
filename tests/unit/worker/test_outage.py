"""While a worker looks for a broker, nothing that the last connection left behind may end it."""

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from amqp.exceptions import RecoverableConnectionError
from kombu import Connection
from kombu.asynchronous import Hub

from worker.outage import USUAL, Outage

WAIT = 3 * USUAL


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
        outage.rest(OSError("refused"), WAIT)

    assert read == ["read"]


def test_an_error_that_is_not_the_connections_is_not_swallowed(consumer: Any) -> None:
    def breaks() -> None:
        raise ZeroDivisionError

    consumer.hub.call_soon(breaks)

    with Outage(consumer) as outage, pytest.raises(ZeroDivisionError):
        outage.rest(OSError("refused"), WAIT)


def test_a_broker_that_keeps_us_waiting_does_not_keep_the_pool_waiting(consumer: Any) -> None:
    served = threading.Event()
    consumer.hub.call_later(USUAL, served.set)

    def connect(_errback: object) -> None:
        assert served.wait(10), "the event loop went on meanwhile"

    with Outage(consumer) as outage:
        outage.reach(connect)


def test_what_connecting_raises_is_raised_where_it_is_waited_for(consumer: Any) -> None:
    def connect(_errback: object) -> None:
        raise ZeroDivisionError

    with Outage(consumer) as outage, pytest.raises(ZeroDivisionError):
        outage.reach(connect)
