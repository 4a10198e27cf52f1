"""What ends a worker's connection to the broker, and not the worker."""

from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from celery import Celery

from tests.services.proxy import Proxy
from worker.consumer import DoorbellConsumer


@pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
def test_a_broker_that_is_not_back_in_time_within_one_connect_is_the_loss_of_the_connection(broker_url: str) -> None:
    with Proxy("127.0.0.1", urlsplit(broker_url).port or 0) as proxy:
        app = Celery("consumer", broker=proxy.through(broker_url), set_as_current=False)
        app.conf.broker_connection_timeout = 0.5
        consumer = DoorbellConsumer(None, app=app, controller=SimpleNamespace(use_eventloop=False))
        connection = app.connection_for_read()
        lost = connection.connect()
        proxy.refuse()
        with pytest.raises(consumer.connection_errors):
            connection.drain_events(timeout=5)  # as the event loop finds out while the next one is being made

        with pytest.raises(consumer.connection_errors) as refused:
            connection.default_channel  # noqa: B018 - it connects: Celery's next step asks for it
        lost.collect()

    assert refused.type not in app.connection_for_read().connection_errors
