"""A replay: the new job and the closing of the old dead letter, in one transaction."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine

from jobs import control, intake
from jobs.database import transaction
from jobs.errors import NotFound, RefusedError, StaleTransition
from jobs.failpoints import passed, reached
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
    letter: bool,
) -> tuple[Acceptance, list[Doorbell]]:
    """Accept a copy of the finished job and close it, if it is an open dead letter; return what must be rung.

    With `letter` it must be an open dead letter, so that of two people who replay it one is told that it is dealt
    with. Raises `NotFound`, `StaleTransition`, and what intake refuses; nothing is stored then.
    """
    with transaction(engine, commit="replay.commit") as connection:
        try:
            job = control.copy(connection, job_id, tenant=tenant, **changes)
        except StaleTransition:
            if letter:
                raise NotFound(f"There is no open dead letter {job_id}.") from None
            raise
        check(job)
        answers: list[Answer] = intake.accept(connection, [Submission((job,), key)])
        answer = answers[0]
        if isinstance(answer, RefusedError):
            answer.index = None
            raise answer
        if not answer.replayed:
            reached("replay.close")
            try:
                control.close(connection, job_id, tenant=tenant, replayed_as=job.id)
                passed("replay.close")
            except NotFound:
                if letter:
                    raise
    return answer, intake.doorbells(answers)
