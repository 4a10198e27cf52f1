"""A link to PostgreSQL that stays open and never brings an answer: whoever waits learns of it, and goes on."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
from pydantic import SecretStr
from sqlalchemy import Connection, Engine, text

from deploy.stack.postgres import PostgresServer
from jobs import intake
from jobs.database import DatabaseSettings, allow, open_engine, reading, transaction
from jobs.errors import DatabaseUnavailable, OutcomeUnknown
from tests.factories import submission
from tests.integration.jobs import scenes
from tests.services.proxy import Proxy

Access = Callable[[Engine], AbstractContextManager[Connection]]
BOTH = pytest.mark.parametrize("access", [transaction, reading])

STATEMENT_SECONDS = 1.0
ANSWER_SECONDS = 1.0
PATIENCE = 20.0
"""More than the bound, on a machine that has much else to do, and less than anything else that would end a wait."""
ASK = text("SELECT 1")


@pytest.fixture
def proxy(postgres_server: PostgresServer) -> Iterator[Proxy]:
    with Proxy("127.0.0.1", postgres_server.port) as made:
        yield made


@pytest.fixture
def through(proxy: Proxy, database_url: str) -> Iterator[Engine]:
    """An engine that reaches PostgreSQL through the proxy, two of whose connections are open."""
    settings = DatabaseSettings(
        database_url=SecretStr(proxy.through(database_url)),
        database_statement_timeout_seconds=STATEMENT_SECONDS,
        database_answer_seconds=ANSWER_SECONDS,
    )
    opened = open_engine(settings, application_name="tests", pool_size=2)
    with opened.connect() as one, opened.connect() as two:
        assert [one.scalar(ASK), two.scalar(ASK)] == [1, 1]
    yield opened
    opened.dispose()


def ask(engine: Engine, access: Access) -> None:
    with access(engine) as connection:
        connection.execute(ASK)


def accept_and_lose_the_link(engine: Engine, proxy: Proxy) -> None:
    with transaction(engine) as connection:
        intake.accept(connection, [submission()])
        proxy.forget()


@BOTH
def test_a_statement_on_a_link_that_is_silent_for_ever_is_an_outage_in_time_and_the_next_goes_through(
    through: Engine, proxy: Proxy, access: Access
) -> None:
    proxy.forget()
    began = time.monotonic()

    with pytest.raises(DatabaseUnavailable) as caught:
        ask(through, access)

    assert STATEMENT_SECONDS + ANSWER_SECONDS <= time.monotonic() - began < PATIENCE
    assert caught.type is DatabaseUnavailable, "no commit was under way"
    for _ in range(3):  # more than there were: the others are dead too, and nobody waits for them
        ask(through, access)
    assert time.monotonic() - began < PATIENCE


def test_a_commit_on_a_link_that_is_silent_for_ever_is_of_unknown_outcome(
    engine: Engine, through: Engine, proxy: Proxy
) -> None:
    began = time.monotonic()

    with pytest.raises(OutcomeUnknown):
        accept_and_lose_the_link(through, proxy)

    assert time.monotonic() - began < PATIENCE
    assert scenes.stored(engine) == 0


@BOTH
def test_where_new_links_are_silent_too_nobody_waits_longer_and_all_is_well_when_that_ends(
    through: Engine, proxy: Proxy, access: Access
) -> None:
    proxy.swallow()
    began = time.monotonic()

    for _ in range(3):
        with pytest.raises(DatabaseUnavailable):
            ask(through, access)

    assert time.monotonic() - began < 2 * PATIENCE
    proxy.heal()
    ask(through, access)


def test_what_postgresql_itself_ends_in_time_keeps_its_connection(through: Engine) -> None:
    pid = text("SELECT pg_backend_pid()")
    with through.connect() as connection:
        before = connection.scalar(pid)
        with pytest.raises(Exception, match="statement timeout"):
            connection.execute(text("SELECT pg_sleep(60)"))
        connection.rollback()

        assert connection.scalar(pid) == before


def test_who_is_allowed_more_time_has_it_alone(through: Engine) -> None:
    longer = STATEMENT_SECONDS + ANSWER_SECONDS + 1
    with transaction(through) as connection:
        allow(connection, seconds=60)
        connection.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": longer})

    with pytest.raises(Exception, match="statement timeout"), transaction(through) as connection:
        connection.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": longer})
