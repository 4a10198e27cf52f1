"""Engines on the test's own database, with room for many connections and a bound on every wait."""

from collections.abc import Iterator

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine

from jobs.database import DatabaseSettings, open_engine


def connect_to(url: str, *, pool_size: int = 16) -> Engine:
    """Return an engine on `url`; a test that waits longer than half a minute for a connection has hung."""
    settings = DatabaseSettings(database_url=SecretStr(url), database_acquire_timeout_seconds=30)
    return open_engine(settings, application_name="penstock-tests", pool_size=pool_size)


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
