"""Doorbells that a worker holds are in its memory alone, and go back where they came from."""

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kombu import Connection
from redis import Redis

from jobs.model import Doorbell, new_job_id
from tasks.publisher import DoorbellPublisher
from tasks.topology import depth, job_queue, transport_options
from worker.redis_lists import ListTransport

QUEUE = "default"


@pytest.fixture
def doorbells(broker_url: str) -> list[Doorbell]:
    """Three doorbells that are in the list, the first to be taken first."""
    rung = [Doorbell(new_job_id(), "demo.noop", QUEUE, 5) for _ in range(3)]
    publisher = DoorbellPublisher(broker_url, [QUEUE])
    publisher.ring(rung)
    publisher.close()
    return rung


@pytest.fixture
def server(broker_url: str) -> Iterator[Redis]:
    with Redis.from_url(broker_url) as client:
        yield client
        client.config_set("maxmemory", "0")


@contextmanager
def listening(url: str) -> Iterator[Any]:
    with Connection(url, transport=ListTransport, transport_options=transport_options(url)) as connection:
        yield connection.default_channel


def left(url: str) -> int:
    with Connection(url, transport_options=transport_options(url)) as connection:
        return depth(connection, QUEUE)


def take(channel: Any, count: int) -> list[Any]:
    return [channel.basic_get(QUEUE) for _ in range(count)]


def ids(messages: list[Any]) -> list[uuid.UUID]:
    return [uuid.UUID(message.headers["id"]) for message in messages]


def test_nothing_of_a_doorbell_that_was_taken_is_in_the_server(
    broker_url: str, doorbells: list[Doorbell], server: Redis
) -> None:
    with listening(broker_url) as channel:
        taken = take(channel, 3)

        assert ids(taken) == [bell.id for bell in doorbells]
        assert not [key for key in server.scan_iter() if not key.startswith(b"_kombu")]

        for message in taken:
            message.ack()
    assert left(broker_url) == 0


def test_a_doorbell_that_is_given_back_is_the_next_and_says_so(broker_url: str, doorbells: list[Doorbell]) -> None:
    with listening(broker_url) as channel:
        first = take(channel, 1)[0]
        assert not first.delivery_info.get("redelivered")

        first.requeue()
        again = take(channel, 1)[0]

        assert ids([again]) == [doorbells[0].id]
        assert again.delivery_info["redelivered"]
        again.ack()


def test_what_is_held_when_the_connection_ends_goes_back_in_its_order(
    broker_url: str, doorbells: list[Doorbell]
) -> None:
    with listening(broker_url) as channel:
        take(channel, 3)[1].ack()
    assert left(broker_url) == 2

    with listening(broker_url) as channel:
        assert ids(take(channel, 2)) == [doorbells[0].id, doorbells[2].id]


def test_a_server_that_is_full_still_gives_its_doorbells_out(
    broker_url: str, doorbells: list[Doorbell], server: Redis
) -> None:
    server.config_set("maxmemory", "1")

    with listening(broker_url) as channel:
        job_queue(QUEUE).bind(channel).declare()
        for message in take(channel, 3):
            message.ack()

    assert left(broker_url) == 0


def test_what_a_full_server_does_not_take_back_is_let_go(
    broker_url: str, doorbells: list[Doorbell], server: Redis
) -> None:
    with listening(broker_url) as channel:
        taken = take(channel, 2)
        server.config_set("maxmemory", "1")

        with pytest.raises(channel.connection_errors):
            taken[0].requeue()

    assert left(broker_url) == 1, "upkeep rings again for the others"


def test_reading_what_is_broadcast_waits_for_nobody(broker_url: str, server: Redis) -> None:
    with listening(broker_url) as channel:
        channel.subclient.psubscribe("/0.broadcast")
        reading = threading.Thread(target=lambda: [channel._receive() for _ in range(3)], daemon=True)
        reading.start()
        reading.join(10)
        waits = reading.is_alive()
        server.publish("/0.broadcast", "{}")  # whoever waits all the same goes on, and the connection can be closed

    assert not waits
