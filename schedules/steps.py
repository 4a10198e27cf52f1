"""What the steps of upkeep have in common: a transaction of their own, and what is told of it."""

from collections.abc import Callable
from typing import TypeVar

import structlog
from sqlalchemy import Connection, Engine

from jobs.database import transaction
from jobs.failpoints import passed, reached
from jobs.telemetry.metrics import Instruments

log = structlog.get_logger()

T = TypeVar("T")


def commit(engine: Engine, step: str, do: Callable[[Connection], T]) -> T:
    """Return what `do` has done, committed."""
    with transaction(engine) as connection:
        done = do(connection)
        if done:
            reached(f"upkeep.{step}.commit")
    if done:
        passed(f"upkeep.{step}.commit")
    return done


def tell(instruments: Instruments, step: str, count: int) -> None:
    """Count and log the jobs that a step moved or rang; nothing is told of none."""
    if count:
        instruments["upkeep"].labels(step).inc(count)
        log.info("upkeep", step=step, count=count)
