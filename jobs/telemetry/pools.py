"""How much a pool of connections is used, and how long its users wait for one."""

import time
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

from jobs.telemetry.metrics import Instruments


class WatchedPool(QueuePool):
    """SQLAlchemy's pool, which counts for those who `watch` it."""

    # By the name of our module SQLAlchemy would tell of every pool that is given up: its own are silent about that.
    _sqla_logger_namespace = "sqlalchemy.pool.impl.WatchedPool"

    used: Any = None
    waits: Any = None
    timeouts: Any = None
    _is_given_up = False

    def dispose(self) -> None:
        """Close every connection: at once what lies here, and what is out when it comes back."""
        self._is_given_up = True
        super().dispose()

    def recreate(self) -> "WatchedPool":
        """Return a pool like this one, for the engine that gives this one up; it is watched as this one was."""
        fresh = super().recreate()
        assert isinstance(fresh, WatchedPool)  # noqa: S101 - tells the type checker what SQLAlchemy does
        fresh.used, fresh.waits, fresh.timeouts = self.used, self.waits, self.timeouts
        return fresh

    def _do_get(self) -> Any:
        if self.used is None:
            return super()._do_get()
        began = time.perf_counter()
        try:
            got = super()._do_get()
        except PoolTimeout:
            self.timeouts.inc()
            raise
        finally:
            self.waits.observe(time.perf_counter() - began)
        self.used.inc()
        return got

    def _do_return_conn(self, record: Any) -> None:
        if self._is_given_up:
            record.close()  # nobody else would; who still waits here connects anew
        super()._do_return_conn(record)
        if self.used is not None:
            self.used.dec()


def watch(engine: Engine, name: str, instruments: Instruments) -> None:
    """Count the use of the engine's pool under `name`, before its first use."""
    pool = engine.pool
    assert isinstance(pool, WatchedPool)  # noqa: S101 - jobs.database makes no other
    instruments["pool_limit"].labels(name).set(pool.size())
    pool.used = instruments["pool_used"].labels(name)
    pool.waits = instruments["pool_wait_seconds"].labels(name)
    pool.timeouts = instruments["pool_timeouts"].labels(name)
