"""A database without a schema."""

import uuid
from collections.abc import Iterator

import pytest
from psycopg import sql

from deploy.stack.postgres import PostgresServer
from tests.services.fixtures import administer


@pytest.fixture
def empty_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The url of a database without a schema."""
    name = f"empty_{uuid.uuid4().hex}"
    administer(postgres_server, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield postgres_server.database_url(name)
    administer(postgres_server, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
