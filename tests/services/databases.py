"""Engines on the test's own database, with room for many connections and a bound on every wait."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, event
from sqlalchemy.exc import InvalidatePoolError

from jobs.database import DatabaseSettings, open_engine
from jobs.migrations import upgrade


def connect_to(url: str, *, pool_size: int = 16, **wishes: float) -> Engine:
    """Return an engine on `url`; a test that waits longer than half a minute for a connection has hung."""
    usual: dict[str, Any] = {"database_acquire_timeout_seconds": 30}
    settings = DatabaseSettings(database_url=SecretStr(url), **usual | wishes)
    return open_engine(settings, application_name="penstock-tests", pool_size=pool_size)


@contextmanager
def connected(url: str, *, pool_size: int = 16) -> Iterator[Engine]:
    """Lend an engine on `url`; its connections are closed however the block ends."""
    opened = connect_to(url, pool_size=pool_size)
    try:
        yield opened
    finally:
        opened.dispose()


def migrate(url: str) -> None:
    """Make the schema in the database at `url`."""
    with connected(url) as opened:
        upgrade(opened)


def lasting(url: str, *, pool_size: int = 16) -> Engine:
    """Return an engine for more than one module: it outlives restarts of PostgreSQL by other tests of the process.

    `open_engine` asks no connection whether it lives, so here every checkout does (SQLAlchemy, "Custom / Legacy
    Pessimistic Ping").
    """
    opened = connect_to(url, pool_size=pool_size)

    @event.listens_for(opened, "checkout")
    def _ask(connection: Any, _record: Any, _proxy: Any) -> None:
        try:
            opened.dialect.do_ping(connection)
        except psycopg.Error as error:
            raise InvalidatePoolError from error

    return opened


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on a fresh migrated database."""
    opened = connect_to(database_url)
    yield opened
    opened.dispose()


@pytest.fixture
def empty_engine(empty_url: str) -> Iterator[Engine]:
    """An engine on a fresh database without a schema."""
    opened = connect_to(empty_url)
    yield opened
    opened.dispose()
