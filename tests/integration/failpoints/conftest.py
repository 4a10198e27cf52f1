"""A site for each file of tests: a database, a broker, and the processes that its exercises have in common."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from deploy.stack.postgres import PostgresServer
from deploy.stack.rabbitmq import RabbitServer
from deploy.stack.valkey import ValkeyServer
from tests.integration.failpoints.site import Site
from tests.services.databases import connect_to
from tests.services.fixtures import own_database


@contextmanager
def open_site(database_url: str, broker_url: str, home: Path) -> Iterator[Site]:
    """Give a site that is left with nothing running."""
    engine = connect_to(database_url)
    site = Site(database_url, broker_url, engine, home)
    try:
        yield site
    finally:
        site.close()
        engine.dispose()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the processes of this file write."""
    return tmp_path_factory.mktemp("site")


@pytest.fixture(scope="module")
def site(
    postgres_server: PostgresServer, template_database: str, valkey_server: ValkeyServer, home: Path
) -> Iterator[Site]:
    """A site whose broker is Valkey."""
    with redis.Redis.from_url(valkey_server.url) as client:
        client.flushall()
    with own_database(postgres_server, template_database) as url, open_site(url, valkey_server.url, home) as made:
        yield made


@pytest.fixture(scope="module")
def rabbit_site(
    postgres_server: PostgresServer, template_database: str, rabbit_server: RabbitServer, home: Path
) -> Iterator[Site]:
    """A site whose broker is RabbitMQ."""
    broker_url = rabbit_server.make_vhost(f"failpoints_{home.name}")
    with own_database(postgres_server, template_database) as url, open_site(url, broker_url, home) as made:
        yield made
