"""The schema's history, and the way to its head.

Each revision is a transaction of its own, and one migration runs at a time. A revision waits for no table longer than
`LOCK_SECONDS`, because whoever comes after it waits behind it; then everybody else goes first, and it tries again.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from jobs.database import is_collision, is_outage, transaction
from jobs.errors import DatabaseUnavailable, SchemaHeld
from jobs.link import Link

log = structlog.get_logger()

LOCK_SECONDS: Final = 0.5
"""For how long a revision waits for a table, and everybody who wants that table behind it.

Less than PostgreSQL's `deadlock_timeout`: where a job's transaction and a revision wait for each other, we give way.
"""
STATEMENT_SECONDS: Final = 3600.0
"""For how long one statement of a revision may run: those that last keep nobody waiting."""
PATIENCE_SECONDS: Final = 120.0
"""For how long a revision is tried again while somebody holds a table that it needs."""
_PAUSE_SECONDS: Final = 1.0
_TURN_SECONDS: Final = 3600.0
"""For how long one migration waits for another to end."""

_ALONE: Final = 0x70656E73
"""Names the advisory lock that only one migration can hold: the letters "pens"."""
_HERE: Final = Path(__file__).parent


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    return config


def upgrade(engine: Engine, revision: str = "head", *, patience_seconds: float = PATIENCE_SECONDS) -> None:
    """Bring the database to `revision`; several processes may try at once, one does the work.

    Raises `SchemaHeld` when somebody holds a table of it for longer than `patience_seconds`, the revisions before that
    one being done, and `DatabaseUnavailable` when PostgreSQL is away.
    """
    _run(engine, command.upgrade, revision, patience_seconds)


def downgrade(engine: Engine, revision: str, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
    """Take the database back to `revision`. What that loses, each revision's `downgrade` says. Raises as `upgrade`."""
    _run(engine, command.downgrade, revision, patience_seconds)


def _run(engine: Engine, action: Callable[[Config, str], None], revision: str, patience_seconds: float) -> None:
    give_up_at = time.monotonic() + patience_seconds
    while True:
        try:
            with _alone(engine) as connection:
                config = _config()
                config.attributes["connection"] = connection
                return action(config, revision)
        except (DBAPIError, PoolTimeout) as error:
            if is_outage(error):
                raise DatabaseUnavailable from error
            if not is_collision(error):
                raise
            if time.monotonic() >= give_up_at:
                raise SchemaHeld from error
        log.warning("migration_waits", reason="somebody holds a table that it needs")
        time.sleep(_PAUSE_SECONDS)  # those who wait for the table go first


@contextmanager
def _alone(engine: Engine) -> Iterator[Connection]:
    """Give a connection of its own on which no other migration runs; the lock goes with it."""
    with engine.connect() as connection:
        link: Any = connection.connection.dbapi_connection
        if isinstance(link, Link) and link.answer_within is not None:
            link.answer_within += max(STATEMENT_SECONDS, _TURN_SECONDS)
        try:
            connection.execute(text(f"SET statement_timeout = '{_TURN_SECONDS}s'"))
            connection.execute(text(f"SET lock_timeout = '{_TURN_SECONDS}s'"))
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _ALONE})
            connection.execute(text(f"SET lock_timeout = '{LOCK_SECONDS}s'"))
            connection.execute(text(f"SET statement_timeout = '{STATEMENT_SECONDS}s'"))
            connection.commit()
            yield connection
        finally:
            connection.invalidate()  # nobody else gets a connection with such bounds


def head() -> str:
    """Return the revision that this release of the code was written for."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None, "the package ships its migrations"  # noqa: S101 - a build without them cannot run
    return revision


def revisions() -> list[str]:
    """Return every revision, the first one first."""
    return [script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()][::-1]


def current(engine: Engine) -> str | None:
    """Return the revision that the database is at; None: it has no schema yet."""
    with transaction(engine) as connection:
        return MigrationContext.configure(connection).get_current_revision()


def without_partitions(connection: Connection) -> Callable[[str | None, str, Any], bool]:
    """Return what tells Alembic which tables to compare: a partition is not in the tables' own description."""
    partitions = set(connection.scalars(text("SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r'")))
    return lambda name, kind, _parents: kind != "table" or name not in partitions
