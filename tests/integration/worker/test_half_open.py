"""RabbitMQ may hold a connection for a while that its worker has lost; it then refuses what only one may have."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import Engine

from jobs.state import JobState
from tests.conformance.plant import Plant
from tests.services.local_processes import Broker, ServerFace
from tests.services.proxy import Proxy, When

ACKNOWLEDGES = b"\x00\x3c\x00\x50"
"""Of AMQP 0-9-1, basic.ack: what only a worker's connection for jobs sends."""
HELD_SECONDS = 6.0
"""How long RabbitMQ does not learn that the connection is gone."""


@pytest.fixture
def link(broker_url: str) -> Iterator[Proxy]:
    with Proxy("127.0.0.1", urlsplit(broker_url).port or 0) as made:
        yield made


@pytest.fixture
def plant(
    link: Proxy, broker_url: str, database_url: str, engine: Engine, tmp_path: Path, rabbit_server: object
) -> Iterator[Plant]:
    """A plant of this test's own on RabbitMQ, with a beat, behind the link."""
    url = link.through(broker_url)
    made = Plant(Broker(ServerFace(rabbit_server, broker_url)), url, database_url, engine, tmp_path)  # type: ignore[arg-type]  # the server of the fixture
    made.publisher.ring([])
    made.beat()
    yield made
    made.close()


@pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
def test_a_worker_that_is_back_before_its_last_connection_is_gone_waits_and_settles_what_runs(
    plant: Plant, link: Proxy
) -> None:
    worker = plant.worker(worker_concurrency=2)
    pid = worker.pid
    napping = plant.submit("probe.naps", seconds=3)
    plant.running(napping)

    link.cut(ACKNOWLEDGES, When.LATE, seconds=HELD_SECONDS)
    first = plant.submit("demo.echo", message="first")
    plant.until(lambda: link.cuts == 1, "the worker was cut off", 10)
    plant.until(lambda: "RESOURCE_LOCKED" in worker.logs(), "the worker is refused", 10)
    plant.until(lambda: plant.job(napping)["state"] == JobState.SUCCEEDED, "what ran is settled meanwhile", 10)
    later = plant.submit("demo.echo", message="later")

    assert {row["state"] for row in plant.all_finished([first, later])} == {JobState.SUCCEEDED}
    assert worker.pid == pid
