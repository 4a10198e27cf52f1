"""Where PostgreSQL is, as the environment tells it."""

import pytest
from psycopg import errors as postgres
from pydantic import SecretStr, ValidationError
from sqlalchemy import make_url
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from jobs.database import DatabaseSettings, is_collision, is_outage, open_engine, session_options

URL = "postgresql://user:hush@127.0.0.1:1/name"  # nobody listens at port 1


@pytest.mark.parametrize("name", ["PENSTOCK_DATABASE_URL", "DATABASE_URL"])
def test_the_url_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, URL)

    assert DatabaseSettings().database_url.get_secret_value() == URL


def test_our_own_variable_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://elsewhere/name")
    monkeypatch.setenv("PENSTOCK_DATABASE_URL", URL)

    assert DatabaseSettings().database_url.get_secret_value() == URL


@pytest.mark.parametrize("url", ["sqlite://", "mysql://u@h/n", "127.0.0.1", ""])
def test_anything_but_postgresql_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        DatabaseSettings(database_url=SecretStr(url))


@pytest.mark.parametrize("url", [URL, URL.replace("postgresql", "postgres"), URL.replace(":", "+psycopg:", 1)])
def test_every_spelling_of_the_scheme_opens_an_engine_and_connects_to_nothing(url: str) -> None:
    engine = open_engine(DatabaseSettings(database_url=SecretStr(url)), application_name="test", pool_size=3)

    assert engine.url.drivername == "postgresql+psycopg"
    assert engine.pool.size() == 3  # type: ignore[attr-defined]  # open_engine chose a QueuePool


def test_the_password_is_not_shown() -> None:
    settings = DatabaseSettings(database_url=SecretStr(URL))

    assert "hush" not in repr(settings)
    assert "hush" not in repr(open_engine(settings, application_name="test"))


def told(error: Exception) -> OperationalError:
    """Return `error` as SQLAlchemy hands it on."""
    return OperationalError("SELECT 1", {}, error)


@pytest.mark.parametrize(
    "error",
    [
        PoolTimeout(),
        told(postgres.OperationalError("connection refused")),
        told(postgres.ConnectionFailure()),
        told(postgres.AdminShutdown()),
        told(postgres.CannotConnectNow()),
        told(postgres.TooManyConnections()),
        told(postgres.IdleInTransactionSessionTimeout()),
        told(postgres.ReadOnlySqlTransaction()),
    ],
)
def test_an_outage_is_told_from_a_wrong_statement(error: BaseException) -> None:
    assert is_outage(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError(),
        told(postgres.QueryCanceled()),
        told(postgres.DeadlockDetected()),
        IntegrityError("INSERT", {}, postgres.UniqueViolation()),
    ],
)
def test_what_is_no_outage(error: BaseException) -> None:
    assert not is_outage(error)


@pytest.mark.parametrize(
    "error", [postgres.DeadlockDetected(), postgres.SerializationFailure(), postgres.LockNotAvailable()]
)
def test_a_collision_is_worth_another_try(error: Exception) -> None:
    assert is_collision(told(error))


@pytest.mark.parametrize("error", [ValueError(), told(postgres.AdminShutdown()), told(postgres.OperationalError())])
def test_what_is_no_collision(error: BaseException) -> None:
    assert not is_collision(error)


def test_what_the_url_asks_of_a_session_is_asked_beside_what_we_need() -> None:
    url = make_url(f"{URL}?options=-c%20search_path%3Delsewhere")

    options = session_options(url, DatabaseSettings(database_url=SecretStr(URL)))

    assert options.startswith("-c search_path=elsewhere -c timezone=UTC -c statement_timeout=15000 ")
    assert session_options(make_url(URL), DatabaseSettings(database_url=SecretStr(URL))) in options


def test_a_pool_that_is_given_up_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    engine = open_engine(DatabaseSettings(database_url=SecretStr(URL)), application_name="test")

    with caplog.at_level("INFO"):
        engine.dispose()

    assert caplog.messages == []
