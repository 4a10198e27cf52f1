"""A migration as a process: what `penstock migrate` and `python -m jobs.migrations` both do."""

from typing import Final, NamedTuple

from alembic.util import CommandError as AlembicError
from sqlalchemy import Engine
from sqlalchemy.exc import ProgrammingError

from jobs import schema
from jobs.database import DatabaseSettings, open_engine
from jobs.errors import ConfigurationError, SchemaHeld, Unavailable
from jobs.migrations import current, head, upgrade
from jobs.misconfiguration import variable_of
from jobs.startup import StartSettings, look_at_database, wait_for


class Brought(NamedTuple):
    """What became of the schema, in words, and whether it fits this release."""

    told: str
    fits: bool


def bring(settings: DatabaseSettings, *, check: bool = False) -> Brought:
    """Bring the database to this release's schema, unless this is a `check`, and tell from where to where.

    Several at once do no harm. A later release's schema is left as it is. Raises `Unavailable` when PostgreSQL is away
    or somebody holds a table for too long, and `ConfigurationError` for what no waiting cures.
    """
    wait_for([look_at_database(settings, is_migrated=False)], StartSettings().start_wait_seconds)
    engine = open_engine(settings, application_name="penstock-migrate", pool_size=1)
    try:
        before, newest = current(engine), head()
        if schema.suits(before, newest):
            found = newest if before == newest else f"{before} suits {newest}"
            return Brought(f"schema {found}: nothing to do", fits=True)
        if not check:
            _upgrade(engine)
        return Brought(f"schema {before or 'empty'} -> {newest}", fits=not check)
    finally:
        engine.dispose()


def _upgrade(engine: Engine) -> None:
    try:
        upgrade(engine)
    except SchemaHeld as error:
        raise Unavailable(f"{error} pg_stat_activity shows the longest transaction; end it, try again.") from None
    except ProgrammingError as error:
        raise _refusal(error) or error from None
    except AlembicError as error:
        raise ConfigurationError(f"{error}. The database was made by another release; use that one's.") from None


#: By the SQLSTATE: insufficient privilege; a table, an object that is there already.
_CURES: Final = {
    "42501": "migrate as the role that owns the tables and may CREATE in their schema.",
    "42P07": "something else is in this database: is it the right one?",
    "42710": "something else is in this database: is it the right one?",
}


def _refusal(error: ProgrammingError) -> ConfigurationError | None:
    """Return what to tell where PostgreSQL refuses the role or the database; None: a revision is wrong."""
    cure = _CURES.get(getattr(error.orig, "sqlstate", None) or "")
    reason = str(error.orig).partition("\n")[0]
    return ConfigurationError(f"{variable_of(DatabaseSettings, 'database_url')}: {reason}; {cure}") if cure else None
