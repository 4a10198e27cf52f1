"""A queue that is gone when a worker listens to it again ends the connection, and not the worker."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from kombu import Connection, Consumer
from kombu.asynchronous import Hub

from tasks.topology import declare, job_queue
from worker.steps import LaunchStep


@pytest.fixture
def connection(broker_url: str) -> Iterator[Any]:
    with Connection(broker_url) as connected:
        yield connected


@pytest.fixture
def hub(connection: Any) -> Iterator[Hub]:
    """An event loop that lets the errors of the connection through, as Celery's does."""
    made = Hub()
    made.propagate_errors = connection.connection_errors  # type: ignore[attr-defined]  # the stubs are older
    yield made
    made.close()


@pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
def test_listening_again_to_a_lost_queue_is_an_error_of_the_connection_from_a_timer_too(
    connection: Any, hub: Any
) -> None:
    declare(connection, ["default"])
    listener = Consumer(connection.channel(), [job_queue("default")], on_message=lambda _message: None)
    worker = SimpleNamespace(keeper=None, ears=None, bell=None)
    consumer = SimpleNamespace(controller=worker, task_consumer=listener)
    step = LaunchStep(consumer)
    with connection.channel() as other:
        other.queue_delete("default")

    hub.call_later(0, step._listen, consumer)

    with pytest.raises(ConnectionResetError):
        hub.run_once()
    assert issubclass(ConnectionResetError, connection.connection_errors)
