"""A worker says that it comes and that it goes."""

from collections.abc import Iterator

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, RowMapping, select

from deploy.stack.postgres import PostgresServer
from jobs.database import DatabaseSettings, open_engine
from jobs.errors import DatabaseUnavailable
from jobs.tables import workers
from tests.services.proxy import Proxy
from worker.presence import Presence


@pytest.fixture
def proxy(postgres_server: PostgresServer) -> Iterator[Proxy]:
    with Proxy("127.0.0.1", postgres_server.port) as made:
        yield made


@pytest.fixture
def presence(proxy: Proxy, database_url: str) -> Iterator[Presence]:
    """A worker's presence, which reaches PostgreSQL through the proxy."""
    settings = DatabaseSettings(database_url=SecretStr(proxy.through(database_url)))
    opened = open_engine(settings, application_name="tests", pool_size=1)
    yield Presence(opened, "worker-1", queues=["a"], tasks=["demo.noop"], slots=4)
    opened.dispose()


def found(engine: Engine) -> RowMapping:
    with engine.connect() as connection:
        return connection.execute(select(workers)).mappings().one()


def test_a_worker_enters_with_what_it_can_do_and_leaves_by_itself(presence: Presence, engine: Engine) -> None:
    presence.announce()
    entered = found(engine)
    presence.leave()

    assert (entered["name"], entered["queues"], entered["tasks"], entered["slots"]) == (
        "worker-1", ["a"], ["demo.noop"], 4,
    )  # fmt: skip
    assert entered["stopped_at"] is None
    assert found(engine)["stopped_at"] is not None


def test_a_worker_may_leave_without_a_word_but_not_come_so(presence: Presence, engine: Engine, proxy: Proxy) -> None:
    presence.announce()
    proxy.refuse()

    with pytest.raises(DatabaseUnavailable):
        presence.announce()
    presence.leave()

    assert found(engine)["stopped_at"] is None
