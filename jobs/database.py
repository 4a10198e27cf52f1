"""How a process reaches PostgreSQL. Nothing connects at import."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final

from pydantic import AliasChoices, Field, SecretStr, field_validator
from sqlalchemy import URL, Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from jobs.environment import Settings
from jobs.errors import ConfigurationError, DatabaseUnavailable, OutcomeUnknown
from jobs.failpoints import passed, reached
from jobs.link import Link, bound
from jobs.telemetry.pools import WatchedPool
from jobs.urls import of_postgresql


class DatabaseSettings(Settings):
    """Where PostgreSQL is, and how much of it one process may use."""

    database_url: Annotated[
        SecretStr,
        Field(
            validation_alias=AliasChoices("PENSTOCK_DATABASE_URL", "DATABASE_URL", "database_url"),
            description="PostgreSQL, as postgresql://user:password@host:port/name",
        ),
    ]
    database_pool_size: Annotated[
        int,
        Field(
            ge=1,
            le=200,
            description="Connections that an API process keeps for reads and for changes of single jobs, and as many "
            "to a replica; what it keeps for other work, and what workers and beats keep, is fixed",
        ),
    ] = 8
    database_acquire_timeout_seconds: Annotated[
        float,
        Field(gt=0, le=60, description="How long a request waits for a free connection before it is refused"),
    ] = 0.5
    database_connect_timeout_seconds: Annotated[
        int, Field(ge=1, le=60, description="How long a new connection may take")
    ] = 3
    database_statement_timeout_seconds: Annotated[
        float, Field(gt=0, le=3600, description="PostgreSQL ends a statement that runs longer")
    ] = 15.0
    database_answer_seconds: Annotated[
        float,
        Field(
            ge=0.1,
            le=600,
            description="How much later than that an answer may come, before its connection counts as lost",
        ),
    ] = 5.0

    @field_validator("database_url")
    @classmethod
    def _is_postgresql(cls, value: SecretStr) -> SecretStr:
        return of_postgresql(value)


def open_engine(
    settings: DatabaseSettings, *, application_name: str, pool_size: int | None = None, hot: bool = False
) -> Engine:
    """Return an engine whose pool is bounded and whose sessions cannot hang; it connects at first use.

    Every session speaks UTC, ends its own long statements and gives up idle transactions, so a process
    that is paused inside a transaction does not hold its locks for ever. And no process waits for ever: a connection
    on which an answer is overdue is closed, as if it had been cut. PostgreSQL looks for clients that are gone as well.
    """
    url = make_url(settings.database_url.get_secret_value()).set(drivername="postgresql+psycopg")
    try:
        engine = create_engine(
            url,
            poolclass=WatchedPool,
            pool_size=pool_size or settings.database_pool_size,
            max_overflow=0,
            pool_timeout=settings.database_acquire_timeout_seconds,
            pool_pre_ping=False,  # a broken connection shows at its first statement: a retry then, no round trip always
            connect_args={
                "connect_timeout": settings.database_connect_timeout_seconds,
                "application_name": application_name,
                "options": session_options(url, settings, hot=hot),
                "keepalives_idle": 20,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                "tcp_user_timeout": 20_000,
            },
        )
    except ArgumentError as error:
        raise ConfigurationError(f"DATABASE_URL: {error}") from None
    bound(engine, settings.database_statement_timeout_seconds + settings.database_answer_seconds)
    return engine


def session_options(url: URL, settings: DatabaseSettings, *, hot: bool = False) -> str:
    """Return what each session is set to: what the URL asks for, as a `search_path`, and what we cannot do without.

    PostgreSQL, "Client Connection Defaults"; of two options the later one counts.
    """
    statement_ms = int(settings.database_statement_timeout_seconds * 1000)
    asked = url.query.get("options", "")
    options = (asked if isinstance(asked, str) else " ".join(asked)) + (
        f" -c timezone=UTC -c statement_timeout={statement_ms} "
        "-c idle_in_transaction_session_timeout=30000 -c lock_timeout=10000 "
        "-c tcp_keepalives_idle=20 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
    )
    if hot:
        options += " -c plan_cache_mode=force_generic_plan -c enable_seqscan=off"
        options += " -c enable_hashjoin=off -c enable_mergejoin=off -c lock_timeout=1000"
    return options


def allow(connection: Connection, *, seconds: float) -> None:
    """Let each statement on `connection` take so long; it is closed after its use, and nobody else gets it."""
    link: Any = connection.connection.dbapi_connection
    connection.detach()
    connection.execute(text(f"SET statement_timeout = {int(seconds * 1000)}"))
    if isinstance(link, Link) and link.answer_within is not None:
        link.answer_within += seconds


QUERY_CANCELED: Final = "57014"
"""The SQLSTATE of a statement that PostgreSQL ended at its time limit."""
LOCK_NOT_AVAILABLE: Final = "55P03"
"""The SQLSTATE of a statement that has waited for a lock for as long as it may."""


def is_outage(error: BaseException) -> bool:
    """Tell whether `error` means that PostgreSQL is away rather than that the statement is wrong."""
    if isinstance(error, PoolTimeout):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    state = getattr(error.orig, "sqlstate", None) or ""
    # 08: connection, 57P: shutting down or starting, 53: out of resources, 25P03: idle session ended, 25006: a standby.
    return (isinstance(error, OperationalError) and not state) or state.startswith(
        ("08", "57P", "53", "25P03", "25006")
    )


def is_passing(error: BaseException) -> bool:
    """Tell whether the same statement may well succeed a little later: somebody held a row, or it took too long."""
    return is_collision(error) or getattr(getattr(error, "orig", None), "sqlstate", "") == QUERY_CANCELED


def is_collision(error: BaseException) -> bool:
    """Tell whether two transactions met and PostgreSQL chose this one to be run again."""
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", "") in {
        "40001",
        "40P01",
        "55P03",
    }


def is_held(error: BaseException) -> bool:
    """Tell whether somebody held a row or a key for longer than this session waits."""
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", "") == LOCK_NOT_AVAILABLE


@contextmanager
def transaction(engine: Engine, *, commit: str | None = None) -> Iterator[Connection]:
    """Commit what the block does, or nothing; `commit` names the fail-point of the COMMIT.

    Raises `DatabaseUnavailable` when PostgreSQL is away, and its subclass `OutcomeUnknown` when that showed at the
    COMMIT, which may have happened.
    """
    is_done = False
    try:
        with engine.begin() as connection:
            yield connection
            is_done = True
            if commit:
                reached(commit)
        if commit:
            passed(commit)
    except (DBAPIError, PoolTimeout) as error:
        if is_outage(error):
            if isinstance(error, DBAPIError):
                engine.dispose()  # its other connections are most likely dead too
            raise (OutcomeUnknown if is_done else DatabaseUnavailable) from error
        raise


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Give a connection for reads: each statement sees what was committed before it began."""
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            yield connection
    except (DBAPIError, PoolTimeout) as error:
        if is_outage(error):
            raise DatabaseUnavailable from error
        raise
