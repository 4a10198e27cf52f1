"""Jobs that wait for upkeep, one for each of its steps, and a short way to have a step done."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from sqlalchemy import Engine, func

from jobs.database import transaction
from jobs.model import JobId, Taken
from tests.integration.jobs import scenes

T = TypeVar("T")
MINUTE = timedelta(minutes=1)


def do(engine: Engine, step: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Do a step in a transaction of its own and return its answer."""
    with transaction(engine) as connection:
        return step(connection, *args, **kwargs)


def size(answer: Any) -> int:
    """Return how many jobs an answer speaks of."""
    return answer if isinstance(answer, int) else len(answer)


def ids(found: list[Any]) -> set[JobId]:
    """Return the jobs of what was taken, or of what is to be rung, or was deleted."""
    return {one.job_id if isinstance(one, Taken) else getattr(one, "id", one) for one in found}


def due(engine: Engine, **changes: Any) -> JobId:
    """Return a job whose time has come."""
    job_id = scenes.scheduled(engine, **changes)
    scenes.make_due(engine, job_id)
    return job_id


def outdated(engine: Engine) -> JobId:
    """Return a job that nobody wants any more."""
    job_id = scenes.queued(engine)
    scenes.change(engine, job_id, expires_at=func.now())
    return job_id


def unrung(engine: Engine, **changes: Any) -> JobId:
    """Return a ready job that nobody rang for."""
    job_id = scenes.queued(engine, **changes)
    scenes.change(engine, job_id, rung_at=None)
    return job_id


def stranded(engine: Engine, **changes: Any) -> JobId:
    """Return a ready job whose doorbell was rung a minute ago."""
    job_id = scenes.queued(engine, **changes)
    scenes.change(engine, job_id, rung_at=func.now() - MINUTE)
    return job_id


def lost(engine: Engine, **changes: Any) -> JobId:
    """Return a job whose attempt has lost its lease."""
    return scenes.lost(engine, **changes).job_id
