"""Databases that no process can work with."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
from psycopg import sql
from sqlalchemy import make_url, text

from deploy.stack.ports import LOOPBACK, free_port
from deploy.stack.postgres import PostgresServer
from deploy.stack.valkey import ValkeyServer
from jobs.database import transaction
from tests.services.databases import connect_to
from tests.services.fixtures import administer, running


@pytest.fixture
def empty_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The url of a database without a schema."""
    name = f"empty_{uuid.uuid4().hex}"
    administer(postgres_server, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield postgres_server.database_url(name)
    administer(postgres_server, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def others(postgres_server: PostgresServer, database_url: str) -> Iterator[Mapping[str, str]]:
    """The urls of databases in other encodings, and of users who can only read this one."""
    role = f"reader_{uuid.uuid4().hex}"
    encodings = {"latin": "LATIN1", "bytes": "SQL_ASCII"}
    made = {name: f"{name}_{uuid.uuid4().hex}" for name in encodings}
    _make(postgres_server, {made[name]: encoding for name, encoding in encodings.items()})
    engine = connect_to(database_url, pool_size=1)
    with transaction(engine) as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN PASSWORD 'hush'"))
        connection.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"))
    url = make_url(database_url)
    users = {
        "reader": url.set(username=role, password="hush"),
        "read_only": url.update_query_dict({"options": "-c default_transaction_read_only=on"}),
    }
    told = {name: one.render_as_string(hide_password=False) for name, one in users.items()}
    yield told | {name: postgres_server.database_url(one) for name, one in made.items()}
    with transaction(engine) as connection:
        connection.execute(text(f"DROP OWNED BY {role}"))
        connection.execute(text(f"DROP ROLE {role}"))
    engine.dispose()
    for one in made.values():
        administer(postgres_server, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(one)))


@pytest.fixture(scope="module")
def weak(services_home: Path) -> Iterator[Mapping[str, str]]:
    """The urls of a broker that is a replica, and of a user who may only read another one."""
    with ExitStack() as ends:
        replica, server = (
            ends.enter_context(running(ValkeyServer(services_home / name))) for name in ("replica", "readable")
        )
        with redis.Redis.from_url(replica.url) as client:
            client.replicaof(LOOPBACK, str(free_port()))
        with redis.Redis.from_url(server.url) as client:
            client.execute_command("ACL", "SETUSER", "onlooker", "on", ">hush", "~*", "+@read", "+@connection", "+info")
        yield {
            "replica": replica.url,
            "onlooker": server.url.replace(f":{server.password}@", "onlooker:hush@"),
        }


def _make(server: PostgresServer, databases: Mapping[str, str]) -> None:
    made = "CREATE DATABASE {} ENCODING {} LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    for name, encoding in databases.items():
        administer(server, sql.SQL(made).format(sql.Identifier(name), sql.Literal(encoding)))
