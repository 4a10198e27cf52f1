"""What the code that runs tasks finds around it: the catalogue, the app, a database of its own.

Made once before the pool starts; a forked child inherits it and opens its own connection at the first need.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from celery import Celery
from sqlalchemy import Engine

from tasks.catalogue import Catalogue


@dataclass
class PoolProcess:
    """The surroundings of an attempt."""

    app: Celery
    catalogue: Catalogue
    result_limit_bytes: int
    open_database: Callable[[], Engine]
    _database: Engine | None = None
    _database_pid: int = 0

    def task(self, name: str) -> Any:
        """Return the Celery task of that name; None when it is not installed."""
        return self.app.tasks.get(name)

    def database(self) -> Engine:
        """Return this process's own engine; a connection that was inherited by a fork is never used."""
        if self._database is None or self._database_pid != os.getpid():
            if self._database is not None:
                self._database.dispose(close=False)
            self._database, self._database_pid = self.open_database(), os.getpid()
        return self._database


_here: list[PoolProcess] = []


def enter(surroundings: PoolProcess) -> None:
    """Make `surroundings` those of this process and of the children it will fork."""
    _here[:] = [surroundings]


def current() -> PoolProcess:
    """Return the surroundings of this process."""
    return _here[0]
