"""One API for most tests; each test is a new tenant on it. Tests of faults start their own."""

from collections.abc import Iterator

import pytest

from deploy.stack.postgres import PostgresServer
from deploy.stack.valkey import ValkeyServer
from tests.services.api import Api, Person, running_api
from tests.services.fixtures import own_database
from tests.services.proxy import Proxy


@pytest.fixture(scope="package")
def api_database(postgres_server: PostgresServer, template_database: str) -> Iterator[str]:
    """The url of a migrated database for all tests that share the API."""
    with own_database(postgres_server, template_database) as url:
        yield url


@pytest.fixture(scope="package")
def api(api_database: str, valkey_server: ValkeyServer) -> Iterator[Api]:
    """The API that most tests share; no worker runs, so a job stays where a test put it."""
    with running_api(api_database, valkey_server.url) as served:
        yield served


@pytest.fixture
def person(api: Api) -> Person:
    """Somebody with a key and nothing stored."""
    return api.person()


@pytest.fixture
def proxy(postgres_server: PostgresServer) -> Iterator[Proxy]:
    """What stands between the API and PostgreSQL."""
    with Proxy("127.0.0.1", postgres_server.port) as made:
        yield made


@pytest.fixture
def cut_off(proxy: Proxy, database_url: str, broker_url: str) -> Iterator[Api]:
    """An API behind the proxy; our own engine goes around it."""
    with running_api(proxy.through(database_url), broker_url, direct_url=database_url) as api:
        yield api
