"""The end of connections to PostgreSQL that hang: a thread that waits on one would keep the process from stopping."""

from collections.abc import Callable
from typing import Any

import psycopg
from sqlalchemy import Engine, event

from jobs.link import hang_up


def severable(engine: Engine) -> Callable[[], None]:
    """Return what cuts all connections of `engine` that are in use then; whoever uses one gets an error at once."""
    in_use: dict[Any, psycopg.Connection[Any]] = {}

    @event.listens_for(engine, "checkout")
    def _take(connection: Any, record: Any, _proxy: Any) -> None:
        in_use[record] = connection

    @event.listens_for(engine, "checkin")
    def _give_back(_connection: Any, record: Any) -> None:
        in_use.pop(record, None)

    def sever() -> None:
        for connection in list(in_use.values()):
            hang_up(connection)

    return sever
