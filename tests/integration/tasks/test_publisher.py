"""Doorbells reach the broker whole, or the caller is told that this is not certain."""

from collections.abc import Iterator
from typing import Any

import pytest
from kombu import Connection

from deploy.stack.rabbitmq import RabbitServer
from deploy.stack.valkey import ValkeyServer
from jobs.errors import BrokerUnavailable
from jobs.model import Doorbell, new_job_id
from tasks import messages
from tasks.publisher import DoorbellPublisher
from tasks.topology import declare, depth, transport_options
from tests.services.brokers import each_broker

QUEUES = ("default", "bulk")


def bells(count: int, queue: str = "default") -> list[Doorbell]:
    return [Doorbell(new_job_id(), "demo.noop", queue, number % 10) for number in range(count)]


@pytest.fixture
def publisher(broker_url: str) -> Iterator[DoorbellPublisher]:
    made = DoorbellPublisher(broker_url, QUEUES)
    yield made
    made.close()


@pytest.fixture
def broker(broker_url: str) -> Iterator[Connection]:
    with Connection(broker_url, transport_options=transport_options(broker_url)) as connection:
        yield connection


@each_broker
def test_every_doorbell_is_in_its_queue_and_can_be_read(publisher: DoorbellPublisher, broker: Connection) -> None:
    rung = bells(1200)
    publisher.ring(rung)
    publisher.ring(bells(3, "bulk"))

    assert (depth(broker, "default"), depth(broker, "bulk")) == (1200, 3)
    channel: Any = broker.channel()
    first = channel.basic_get("default", no_ack=True)
    assert messages.read(first.headers).priority == 9
    assert messages.read(first.headers).jobs[0] in {bell.id for bell in rung if bell.priority == 9}


@each_broker
def test_declaring_twice_is_harmless_and_a_queue_that_is_gone_is_empty(broker: Connection) -> None:
    declare(broker, QUEUES)
    declare(broker, QUEUES)

    assert depth(broker, "default") == depth(broker, "never-declared") == 0


@pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
def test_a_queue_that_was_deleted_is_made_again(publisher: DoorbellPublisher, broker: Connection) -> None:
    publisher.ring(bells(1))
    channel: Any = broker.channel()
    channel.queue_delete("default")

    publisher.ring(bells(5))

    assert depth(broker, "default") == 5


@pytest.mark.parametrize("broker_url", ["valkey"], indirect=True)
def test_a_wiped_server_takes_doorbells_from_a_publisher_that_knew_it_before(
    publisher: DoorbellPublisher, broker: Connection, valkey_server: ValkeyServer
) -> None:
    publisher.ring(bells(1))
    channel: Any = broker.channel()
    channel.client.flushall()

    publisher.ring(bells(5))

    assert depth(broker, "default") == 5


@pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
def test_a_queue_that_cannot_exist_is_told(publisher: DoorbellPublisher) -> None:
    with pytest.raises(BrokerUnavailable, match="no queue"):
        publisher.ring(bells(1, "nowhere"))


@each_broker
def test_a_broker_that_is_away_is_told_and_found_again(
    publisher: DoorbellPublisher, broker_url: str, request: pytest.FixtureRequest
) -> None:
    name = "valkey_server" if broker_url.startswith("redis") else "rabbit_server"
    server: ValkeyServer | RabbitServer = request.getfixturevalue(name)
    publisher.ring(bells(1))

    server.kill()
    try:
        for _ in range(2):
            with pytest.raises(BrokerUnavailable):
                publisher.ring(bells(3))
    finally:
        server.start()

    publisher.ring(bells(2))
