"""`self.job` tells a task the truth about its own job, and writes only while the attempt holds it."""

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text

from deploy.stack.ports import free_port
from jobs import attempts, control, intake
from jobs.database import DatabaseSettings, open_engine, transaction
from jobs.errors import AttemptFenced, JobCancelled
from jobs.model import Attempt
from tests.factories import cancelled, new_job, settle, submission
from worker import own_job
from worker.own_job import OwnJob


@pytest.fixture
def attempt(engine: Engine) -> Attempt:
    job = new_job()
    with transaction(engine) as connection:
        intake.accept(connection, [submission(job)])
        return attempts.start(connection, [job.id], worker="w")[0]


@pytest.fixture
def mine(engine: Engine, attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> OwnJob:
    monkeypatch.setattr(own_job, "LOOK_EVERY", 0.0)
    return OwnJob(attempt, lambda: engine)


def _progress(engine: Engine, attempt: Attempt) -> object:
    with transaction(engine) as connection:
        return connection.scalar(text("SELECT progress FROM jobs WHERE id = :id"), {"id": attempt.job_id})


def test_it_knows_itself(mine: OwnJob, attempt: Attempt) -> None:
    assert (mine.id, mine.attempt) == (attempt.job_id, 1)
    assert mine.fencing_token == f"{attempt.job_id}:0000000001"


def test_an_attempt_that_holds_its_job_may_go_on(mine: OwnJob) -> None:
    assert mine.is_cancelled() is False
    mine.check()


def test_a_cancel_is_told_and_stays_told(mine: OwnJob, attempt: Attempt, engine: Engine) -> None:
    with transaction(engine) as connection:
        control.cancel(connection, attempt.job_id)

    for _ in range(2):
        with pytest.raises(JobCancelled):
            mine.check()


def test_an_attempt_that_lost_its_job_is_told_and_writes_no_more(
    mine: OwnJob, attempt: Attempt, engine: Engine
) -> None:
    mine.progress(1)
    with transaction(engine) as connection:
        attempts.finish(connection, [settle(attempt, cancelled())])

    with pytest.raises(AttemptFenced):
        mine.check()
    mine._told_at = 0.0
    with pytest.raises(AttemptFenced):
        mine.progress(2)
    mine.flush()

    assert _progress(engine, attempt) == {"done": 1, "total": None, "note": None}


def test_the_last_report_is_kept_though_reports_come_fast(mine: OwnJob, attempt: Attempt, engine: Engine) -> None:
    for done in range(1, 6):
        mine.progress(done, 5, "n" * 600)
    mine.flush()

    assert _progress(engine, attempt) == {"done": 5, "total": 5, "note": "n" * 500}


def test_a_database_that_is_away_neither_ends_nor_fails_the_task(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_job, "LOOK_EVERY", 0.0)
    url = SecretStr(f"postgresql://nobody:x@127.0.0.1:{free_port()}/none")
    nowhere = open_engine(DatabaseSettings(database_url=url), application_name="penstock-tests")
    mine = OwnJob(attempt, lambda: nowhere)

    assert mine.is_cancelled() is False
    mine.progress(1)
    mine.flush()
