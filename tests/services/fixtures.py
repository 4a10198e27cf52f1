"""Real servers for the tests, started when the first test asks and ended with the run.

`postgres_server`, `valkey_server` and `rabbit_server` live as long as the run (with pytest-xdist: one of each per
worker). `database_url` is a migrated database of the test's own, `empty_url` one without a schema. `broker_url` is an
empty broker: Valkey, or what `tests.services.brokers.each_broker` says. Where a server cannot be had, the test skips
at home and fails with CI=true.
"""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, TypeVar

import psycopg
import pytest
import redis
from psycopg import sql
from pydantic import SecretStr

from deploy.stack.errors import NotInstalled
from deploy.stack.postgres import PostgresServer
from deploy.stack.rabbitmq import RabbitServer
from deploy.stack.server import Server
from deploy.stack.valkey import ValkeyServer
from jobs.database import DatabaseSettings, open_engine
from jobs.migrations import upgrade

S = TypeVar("S", bound=Server)
TEMPLATE = "penstock_template"


def unavailable(why: str) -> NoReturn:
    """Skip the test at home, fail it where CI=true: there, everything must be had."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"must be there in CI: {why}")
    pytest.skip(why)


@contextmanager
def running(server: S) -> Iterator[S]:
    """Run `server` and remove its state afterwards; skip, or in CI fail, where it is not installed."""
    try:
        server.start()
    except NotInstalled as error:
        unavailable(str(error))
    try:
        yield server
    finally:
        server.destroy()


@pytest.fixture(scope="session")
def services_home() -> Iterator[Path]:
    """A folder that servers can reach under their own account, gone after the run."""
    home = Path(tempfile.mkdtemp(prefix="penstock-services-"))
    home.chmod(0o711)
    yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server(services_home: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL server for the whole run."""
    with running(PostgresServer(services_home / "postgres", durable=False)) as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server(services_home: Path) -> Iterator[ValkeyServer]:
    """A Valkey server for the whole run."""
    with running(ValkeyServer(services_home / "valkey", durable=False)) as server:
        yield server


@pytest.fixture(scope="session")
def rabbit_server(services_home: Path) -> Iterator[RabbitServer]:
    """A RabbitMQ node for the whole run."""
    with running(RabbitServer(services_home / "rabbitmq", durable=False)) as server:
        yield server


@pytest.fixture(scope="session")
def template_database(postgres_server: PostgresServer) -> str:
    """The name of a migrated database that nobody is connected to."""
    administer(postgres_server, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
    settings = DatabaseSettings(database_url=SecretStr(postgres_server.database_url(TEMPLATE)))
    engine = open_engine(settings, application_name="penstock-tests")
    upgrade(engine)
    engine.dispose()
    return TEMPLATE


@contextmanager
def own_database(server: PostgresServer, template: str = "template1") -> Iterator[str]:
    """Lend the url of a new database, without a schema or like `template`; it is dropped whoever is still connected."""
    name = f"test_{uuid.uuid4().hex}"
    names = {"name": sql.Identifier(name), "template": sql.Identifier(template)}
    administer(server, sql.SQL("CREATE DATABASE {name} TEMPLATE {template}").format(**names))
    try:
        yield server.database_url(name)
    finally:
        administer(server, sql.SQL("DROP DATABASE {name} WITH (FORCE)").format(**names))


@pytest.fixture
def database_url(postgres_server: PostgresServer, template_database: str) -> Iterator[str]:
    """The url of a fresh migrated database."""
    with own_database(postgres_server, template_database) as url:
        yield url


@pytest.fixture
def empty_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The url of a fresh database without a schema."""
    with own_database(postgres_server) as url:
        yield url


def administer(server: PostgresServer, statement: sql.Composed) -> None:
    """Run one statement outside of a transaction, in the database `postgres`."""
    with psycopg.connect(server.database_url("postgres"), autocommit=True) as connection:
        connection.execute(statement)


@pytest.fixture
def broker_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The url of an empty broker: Valkey, or RabbitMQ where the test is marked with `each_broker`."""
    if getattr(request, "param", "valkey") == "valkey":
        valkey: ValkeyServer = request.getfixturevalue("valkey_server")
        with redis.Redis.from_url(valkey.url) as client:
            client.flushall()
        yield valkey.url
        return
    rabbit: RabbitServer = request.getfixturevalue("rabbit_server")
    name = f"test_{uuid.uuid4().hex}"
    yield rabbit.make_vhost(name)
    rabbit.remove_vhost(name)
