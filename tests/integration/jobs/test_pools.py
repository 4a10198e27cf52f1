"""A pool that is watched says how much of it is used, and how long its users wait."""

from collections.abc import Iterator

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text

from jobs.database import DatabaseSettings, open_engine, transaction
from jobs.errors import DatabaseUnavailable
from jobs.telemetry.contract import Process
from jobs.telemetry.metrics import Instruments, instruments_of
from jobs.telemetry.pools import watch


@pytest.fixture
def small(database_url: str) -> Iterator[Engine]:
    settings = DatabaseSettings(database_url=SecretStr(database_url), database_acquire_timeout_seconds=0.05)
    made = open_engine(settings, application_name="tests", pool_size=1)
    yield made
    made.dispose()


@pytest.fixture
def instruments(small: Engine) -> Instruments:
    made = instruments_of(Process.BEAT)
    watch(small, "small", made)
    return made


def told(instruments: Instruments, name: str) -> float | None:
    return instruments.registry.get_sample_value(f"penstock_{name}", {"pool": "small"})


def test_use_and_waits_are_told(small: Engine, instruments: Instruments) -> None:
    with transaction(small):
        assert (told(instruments, "pool_limit"), told(instruments, "pool_used")) == (1, 1)
        with pytest.raises(DatabaseUnavailable), transaction(small):
            pass

    assert told(instruments, "pool_used") == 0
    assert told(instruments, "pool_timeouts_total") == 1
    assert told(instruments, "pool_wait_seconds_count") == 2
    assert (told(instruments, "pool_wait_seconds_sum") or 0) >= 0.05


def test_connections_that_break_are_not_thought_in_use_and_the_next_pool_is_watched_too(
    small: Engine, instruments: Instruments
) -> None:
    for _ in range(2):
        with pytest.raises(DatabaseUnavailable), transaction(small) as connection:
            connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        assert told(instruments, "pool_used") == 0

    with transaction(small):
        assert told(instruments, "pool_used") == 1
    assert told(instruments, "pool_wait_seconds_count") == 3


def test_a_connection_that_is_out_when_its_pool_is_given_up_is_closed_at_its_return(small: Engine) -> None:
    with small.connect() as connection:
        link = connection.connection.dbapi_connection
        small.dispose()
        assert connection.scalar(text("SELECT 1")) == 1

    assert link is not None
    assert link.closed


def test_a_server_that_is_not_there_leaves_nothing_in_use() -> None:
    settings = DatabaseSettings(database_url=SecretStr("postgresql://nobody@127.0.0.1:1/none"))
    engine, instruments = open_engine(settings, application_name="tests", pool_size=1), instruments_of(Process.BEAT)
    watch(engine, "small", instruments)

    with pytest.raises(DatabaseUnavailable), transaction(engine):
        pass

    assert (told(instruments, "pool_used"), told(instruments, "pool_timeouts_total")) == (0, 0)
