"""How a process reaches PostgreSQL, and how it learns that it cannot."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Connection, Engine, make_url, text
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.pool import QueuePool

from jobs import intake
from jobs.database import DatabaseSettings, is_collision, open_engine, reading, transaction
from jobs.errors import DatabaseUnavailable, OutcomeUnknown, Unavailable
from jobs.migrations import upgrade
from jobs.startup import look_at_database
from tests.factories import new_job, submission, success
from tests.integration.jobs import scenes
from tests.services.databases import connected

Access = Callable[[Engine], AbstractContextManager[Connection]]
BOTH = pytest.mark.parametrize("access", [transaction, reading])


@pytest.fixture
def small(engine: Engine) -> Iterator[Engine]:
    """An engine of one connection, for which nobody waits long."""
    settings = DatabaseSettings(
        database_url=SecretStr(engine.url.render_as_string(hide_password=False)),
        database_acquire_timeout_seconds=0.05,
        database_statement_timeout_seconds=0.2,
    )
    opened = open_engine(settings, application_name="penstock-small", pool_size=1)
    yield opened
    opened.dispose()


def shown(connection: Connection, name: str) -> Any:
    return connection.scalar(text("SELECT current_setting(:name)"), {"name": name})


def end_session(engine: Engine, connection: Connection) -> None:
    """Have another session end this one."""
    pid = connection.scalar(text("SELECT pg_backend_pid()"))
    with engine.connect() as other:
        other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})


def lose_session(engine: Engine, mine: Engine, access: Access) -> None:
    with access(mine) as connection:
        end_session(engine, connection)
        connection.execute(text("SELECT 1"))


def accept_and_lose_session(engine: Engine, mine: Engine) -> None:
    with transaction(mine) as connection:
        intake.accept(connection, [submission()])
        end_session(engine, connection)


def accept_and_stumble(engine: Engine) -> None:
    with transaction(engine) as connection:
        intake.accept(connection, [submission()])
        raise ZeroDivisionError


def test_a_session_speaks_utc_and_cannot_hang(small: Engine) -> None:
    with small.connect() as connection:
        assert shown(connection, "timezone") == "UTC"
        assert shown(connection, "statement_timeout") == "200ms"
        assert shown(connection, "lock_timeout") == "10s"
        assert shown(connection, "idle_in_transaction_session_timeout") == "30s"
        assert shown(connection, "application_name") == "penstock-small"
        assert shown(connection, "tcp_keepalives_idle") == "20", (
            "a session whose client is gone does not last for hours"
        )


def test_a_hot_session_plans_its_statements_once_and_by_index(engine: Engine) -> None:
    settings = DatabaseSettings(database_url=SecretStr(engine.url.render_as_string(hide_password=False)))
    hot = open_engine(settings, application_name="penstock-hot", hot=True)
    with hot.connect() as connection:
        assert shown(connection, "plan_cache_mode") == "force_generic_plan"
        assert shown(connection, "enable_seqscan") == "off"
    hot.dispose()


def test_a_transaction_is_whole_or_nothing(engine: Engine) -> None:
    with pytest.raises(ZeroDivisionError):
        accept_and_stumble(engine)

    assert scenes.stored(engine) == 0


def test_a_reading_sees_what_was_committed_before_each_statement(engine: Engine) -> None:
    count = text("SELECT count(*) FROM jobs")
    with reading(engine) as connection:
        before = connection.scalar(count)
        scenes.queued(engine)
        after = connection.scalar(count)

    assert (before, after) == (0, 1)


def test_a_connection_that_was_used_for_reading_serves_transactions_again(small: Engine) -> None:
    with reading(small) as connection:
        connection.execute(text("SELECT 1"))
    with pytest.raises(ZeroDivisionError):
        accept_and_stumble(small)

    assert scenes.stored(small) == 0


@BOTH
def test_a_server_that_is_not_there_is_an_outage(access: Access) -> None:
    nowhere = DatabaseSettings(database_url=SecretStr("postgresql://u:p@127.0.0.1:1/n"))
    engine = open_engine(nowhere, application_name="test")

    with pytest.raises(DatabaseUnavailable), access(engine):
        pass


@BOTH
def test_a_session_that_was_ended_is_an_outage_and_the_next_one_works(
    engine: Engine, small: Engine, access: Access
) -> None:
    with pytest.raises(DatabaseUnavailable) as caught:
        lose_session(engine, small, access)
    assert caught.type is DatabaseUnavailable, "nothing was stored, and we know it"
    with access(small) as connection:
        assert connection.scalar(text("SELECT 1")) == 1


def test_a_session_that_was_ended_before_its_commit_stored_nothing(engine: Engine, small: Engine) -> None:
    with pytest.raises(OutcomeUnknown):
        accept_and_lose_session(engine, small)

    assert scenes.stored(engine) == 0


@BOTH
def test_waiting_in_vain_for_a_connection_is_an_outage_and_opens_no_more_of_them(small: Engine, access: Access) -> None:
    pool = small.pool
    with small.connect():
        with pytest.raises(DatabaseUnavailable), access(small):
            pass

        assert small.pool is pool, "a pool in its place would be as many connections again"
    assert isinstance(pool, QueuePool)
    assert pool.checkedin() == 1


@BOTH
def test_a_wrong_statement_is_no_outage(engine: Engine, access: Access) -> None:
    with pytest.raises(ProgrammingError), access(engine) as connection:
        connection.execute(text("SELECT nonsense"))


def test_a_refused_row_is_no_outage(engine: Engine) -> None:
    job = new_job()
    scenes.accepted(engine, job)

    with pytest.raises(IntegrityError):
        scenes.accepted(engine, job)


def test_a_statement_that_runs_too_long_is_ended_and_is_no_outage(small: Engine) -> None:
    with pytest.raises(Exception, match="statement timeout") as caught, transaction(small) as connection:
        connection.execute(text("SELECT pg_sleep(5)"))

    assert not isinstance(caught.value, DatabaseUnavailable)


def test_two_that_lock_each_other_out_are_a_collision(engine: Engine) -> None:
    first, second = scenes.queued(engine), scenes.queued(engine)
    lock = text("SELECT FROM jobs WHERE id = :id FOR UPDATE")

    def other_way_round() -> None:
        with transaction(engine) as connection:
            connection.execute(lock, {"id": second})
            connection.execute(lock, {"id": first})

    with ThreadPoolExecutor(1) as pool, engine.connect() as connection:
        connection.execute(text("SET LOCAL deadlock_timeout = '10min'"))  # so that the other one is chosen
        connection.execute(lock, {"id": first})
        other = pool.submit(other_way_round)
        scenes.wait_for_lock(engine)
        connection.execute(text("SET LOCAL lock_timeout = '20s'"))
        connection.execute(lock, {"id": second})
        error = other.exception(30)

    assert error is not None
    assert is_collision(error)


def test_a_schema_that_the_url_chooses_is_where_everything_is(database_url: str) -> None:
    chosen = make_url(database_url).update_query_dict({"options": "-c search_path=aside"})
    settings = DatabaseSettings(database_url=SecretStr(chosen.render_as_string(hide_password=False)))
    with connected(database_url) as engine:
        with transaction(engine) as connection:
            connection.execute(text("CREATE SCHEMA aside"))
        look = look_at_database(settings)
        with pytest.raises(Unavailable, match="the schema is at nothing"):
            look.see()
        with connected(settings.database_url.get_secret_value(), pool_size=1) as opened:
            upgrade(opened)

            look.see()
            job_id = scenes.ended(opened, success())
            with transaction(engine) as connection:
                assert connection.scalar(text("SELECT id FROM aside.jobs")) == job_id
                assert connection.scalar(text("SELECT count(*) FROM public.jobs")) == 0
            with transaction(opened) as connection:
                assert shown(connection, "timezone") == "UTC"
