"""A replay: the new job and the closing of the old dead letter, in one transaction."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from sqlalchemy import Engine

from jobs import control, intake
from jobs.database import transaction
from jobs.errors import NotFound, RefusedError
from jobs.intake import Answer
from jobs.model import Acceptance, Doorbell, Idempotency, JobId, NewJob, Submission


def replay(
    engine: Engine,
    job_id: JobId,
    *,
    tenant: str,
    changes: dict[str, Any],
    key: Idempotency | None,
    check: Callable[[NewJob], None],
) -> tuple[Acceptance, list[Doorbell]]:
    """Accept a copy of the finished job and close it, if it is an open dead letter; return what must be rung.

    Raises `NotFound`, `StaleTransition`, and what intake refuses; nothing is stored then.
    """
    with transaction(engine) as connection:
        job = control.copy(connection, job_id, tenant=tenant, **changes)
        check(job)
        answers: list[Answer] = intake.accept(connection, [Submission((job,), key)])
        answer = answers[0]
        if isinstance(answer, RefusedError):
            answer.index = None
            raise answer
        if not answer.replayed:
            with suppress(NotFound):  # it may be no dead letter: a succeeded job can be replayed as well
                control.close(connection, job_id, tenant=tenant, replayed_as=job.id)
    return answer, intake.doorbells(answers)
