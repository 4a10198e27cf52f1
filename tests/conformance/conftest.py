"""A plant on each broker, held through pytest-celery's clusters; one serves all tests of the ring on that broker."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import redis
from pytest_celery import CeleryBrokerCluster, CeleryWorkerCluster

from deploy.stack.postgres import PostgresServer
from deploy.stack.rabbitmq import RabbitServer
from deploy.stack.server import Server
from tests.chaos.brokers import ChaosRabbit, ChaosValkey
from tests.conformance import site as sites
from tests.conformance.plant import Plant
from tests.conformance.site import Site
from tests.services.brokers import BROKERS
from tests.services.databases import connect_to
from tests.services.fixtures import own_database, running
from tests.services.local_processes import Broker, ServerFace, Worker


@pytest.fixture(scope="package")
def plant_database(
    postgres_server: PostgresServer, template_database: str, celery_broker_cluster: CeleryBrokerCluster
) -> Iterator[str]:
    """The url of a migrated database for all tests on one broker."""
    with own_database(postgres_server, template_database) as url:
        yield url


@pytest.fixture(scope="package", params=BROKERS)
def celery_broker_cluster(request: pytest.FixtureRequest) -> CeleryBrokerCluster:
    """The broker under test; each test that uses it runs once on each."""
    if request.param == "valkey":
        server: Server = request.getfixturevalue("valkey_server")
        with redis.Redis.from_url(server.url) as client:
            client.flushall()
        return CeleryBrokerCluster(Broker(ServerFace(server, server.url)))
    server = request.getfixturevalue("rabbit_server")
    url = cast("RabbitServer", server).make_vhost(f"plant_{uuid.uuid4().hex}")
    return CeleryBrokerCluster(Broker(ServerFace(server, url)))


@pytest.fixture(scope="package", params=BROKERS)
def site_server(request: pytest.FixtureRequest, services_home: Path) -> Iterator[sites.Server]:
    """A broker for those tests that do to it what they like."""
    kind: type[sites.Server] = {"valkey": ChaosValkey, "rabbitmq": ChaosRabbit}[request.param]
    with running(kind(services_home / f"site-{uuid.uuid4().hex[:8]}", durable=False)) as server:
        yield server


@pytest.fixture(scope="package")
def site(
    site_server: sites.Server,
    postgres_server: PostgresServer,
    template_database: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """An installation with default settings on that broker."""
    home = tmp_path_factory.mktemp("site")
    with own_database(postgres_server, template_database) as url, Site(site_server, url, home).open() as made:
        yield made


@pytest.fixture(scope="package")
def celery_backend_cluster() -> None:
    """No result backend: results are in PostgreSQL."""


@pytest.fixture(scope="package")
def plant(
    celery_broker_cluster: CeleryBrokerCluster,
    plant_database: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Plant]:
    """A plant with a beat; its default queue is served by the cluster's worker."""
    broker = cast("Broker", celery_broker_cluster[0])
    engine = connect_to(plant_database)
    made = Plant(
        broker,
        str(broker.config()["url"]),
        plant_database,
        engine,
        tmp_path_factory.mktemp("plant"),
        settings={"cancel_grace_seconds": 0.5},
    )
    try:
        made.publisher.ring([])  # declares all queues, those of the dead too: the first message may be unreadable
        made.beat()
        yield made
    finally:
        made.close()
        engine.dispose()


@pytest.fixture(scope="package")
def celery_worker_cluster(plant: Plant) -> CeleryWorkerCluster:
    """One worker of four slots on the default queue."""
    return CeleryWorkerCluster(plant.worker(worker_concurrency=4, result_limit_bytes=2000))


@pytest.fixture
def worker(celery_worker_cluster: CeleryWorkerCluster) -> Iterator[Worker]:
    """The worker of the default queue, which must live through every test."""
    found = cast("Worker", celery_worker_cluster[0])
    pid = found.pid
    yield found
    assert found.pid == pid != 0, found.logs()[-4000:]
