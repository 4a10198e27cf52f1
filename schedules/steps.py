"""What the steps of upkeep have in common: a transaction of their own, and what is told of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

import structlog
from billiard.exceptions import WorkerLostError
from sqlalchemy import Connection, Engine

from jobs.database import transaction
from jobs.failpoints import passed, reached
from jobs.model import Taken
from jobs.state import JobState
from jobs.telemetry import logs
from jobs.telemetry.metrics import Instruments

log = structlog.get_logger()

T = TypeVar("T")

MOST_LINES: Final = 100
"""Jobs of one step that have a line of their own; of the others the count is told."""
_EVENTS: Final[Mapping[str, str]] = {"rescue": "attempt_lost", "expire": "job_expired"}


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


def tell_each(step: str, taken: Sequence[Taken]) -> None:
    """Log each job that a step took, up to `MOST_LINES`, and report those that lost their process for the last time."""
    lines = [logs.facts_of(one) | {"queue": one.queue, "then": one.state.value} for one in taken[:MOST_LINES]]
    logs.info_each(_EVENTS[step], lines)
    for line in lines:
        if logs.report is not None and line["then"] == JobState.FAILED:
            logs.report(WorkerLostError(), {**line, "event": "attempt_lost", "outcome": "lost", "reason": "crashed"})
