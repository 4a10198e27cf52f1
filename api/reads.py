"""A read that outlives a restart of PostgreSQL."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from jobs.database import reading
from jobs.errors import DatabaseUnavailable

T = TypeVar("T")


def look(engine: Engine, query: Callable[[Connection], T]) -> T:
    """Return what `query` finds. Raises `DatabaseUnavailable`.

    A pooled connection that broke while it was idle shows at its first use; the read is then made once more, on a
    new one. Nobody waits twice for a pool that is exhausted.
    """
    try:
        return _once(engine, query)
    except DatabaseUnavailable as error:
        if not (isinstance(error.__cause__, DBAPIError) and error.__cause__.connection_invalidated):
            raise
    return _once(engine, query)


def _once(engine: Engine, query: Callable[[Connection], T]) -> T:
    with reading(engine) as connection:
        return query(connection)
