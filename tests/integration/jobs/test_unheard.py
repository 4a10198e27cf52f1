"""Whether jobs wait although somebody should have heard of them."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from jobs import intake
from jobs.database import reading, transaction
from jobs.model import JobId
from jobs.unheard import is_any_unheard
from tests.factories import new_job, submission, success
from tests.integration.jobs import scenes

AGE = timedelta(seconds=60)


def waiting(engine: Engine, changes: str = "run_at = now() - interval '2 minutes'", **facts: Any) -> JobId:
    """Accept a job and write into its row what time would have written."""
    job = new_job(**facts)
    with transaction(engine) as connection:
        intake.accept(connection, [submission(job)])
        connection.execute(text(f"UPDATE jobs SET {changes} WHERE id = :id"), {"id": job.id})
    return job.id


def asked(engine: Engine, *queues: str) -> bool:
    with reading(engine) as connection:
        return is_any_unheard(connection, queues or ("default",), AGE)


def test_a_job_that_was_rung_and_waits_for_long_was_not_heard(engine: Engine) -> None:
    assert not asked(engine)

    waiting(engine)

    assert asked(engine)
    assert asked(engine, "bulk", "default")


@pytest.mark.parametrize(
    "changes",
    [
        "run_at = now() - interval '30 s'",
        "run_at = now() - interval '2 minutes', rung_at = NULL",
        "run_at = now() - interval '2 minutes', expires_at = now() - interval '1 s'",
    ],
    ids=["young", "nobody rang", "expired"],
)
def test_a_job_that_nobody_had_to_hear_of_is_no_sign(changes: str, engine: Engine) -> None:
    waiting(engine, changes)

    assert not asked(engine)


def test_another_queues_jobs_are_no_sign(engine: Engine) -> None:
    waiting(engine, queue="bulk")

    assert not asked(engine)
    assert not asked(engine, "critical")


def test_a_job_that_runs_or_is_done_is_no_sign(engine: Engine) -> None:
    for begun in scenes.start(engine, waiting(engine), waiting(engine))[:1]:
        scenes.end(engine, begun, success())

    assert not asked(engine)
