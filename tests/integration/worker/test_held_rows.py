"""A row that somebody holds must not cost other attempts their leases, or any attempt its result."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, select

from jobs import attempts
from jobs.database import DatabaseSettings, open_engine, transaction
from jobs.intake import accept
from jobs.model import Attempt, JobId, Settlement, Submission, Verdict
from jobs.state import Event, JobState, Outcome
from jobs.tables import jobs
from tests.factories import new_job
from worker.ledger import Ledger

WORKER = "worker"
DONE = Verdict(event=Event.SUCCEED, outcome=Outcome.SUCCEEDED, result="1")


@pytest.fixture
def hot(database_url: str) -> Iterator[Engine]:
    settings = DatabaseSettings(database_url=SecretStr(database_url))
    engine = open_engine(settings, application_name="tests", pool_size=2, hot=True)
    yield engine
    engine.dispose()


@pytest.fixture
def running(engine: Engine) -> list[Attempt]:
    """Return two attempts that run."""
    made = [new_job(), new_job()]
    with transaction(engine) as connection:
        accept(connection, [Submission((job,)) for job in made])
        return attempts.start(connection, [job.id for job in made], worker=WORKER)


@contextmanager
def holding(engine: Engine, job_id: JobId) -> Iterator[None]:
    with engine.connect() as connection:
        connection.execute(select(jobs.c.id).where(jobs.c.id == job_id).with_for_update())
        yield
        connection.rollback()


def test_the_other_leases_are_extended_and_the_held_one_is_still_ours(
    engine: Engine, hot: Engine, running: list[Attempt]
) -> None:
    held, free = running
    asked = [(one.job_id, one.number) for one in running]

    with holding(engine, held.job_id), transaction(hot) as connection:
        answered = attempts.extend(connection, asked, lease=timedelta(hours=1))

    assert {(one.job_id, one.number) for one in answered} == set(asked)
    with engine.connect() as connection:
        leases = {
            row.id: row.lease_expires_at for row in connection.execute(select(jobs.c.id, jobs.c.lease_expires_at))
        }
    assert leases[free.job_id] > free.lease_expires_at + timedelta(minutes=30)
    assert leases[held.job_id] == held.lease_expires_at


def test_the_other_results_are_settled_and_the_held_one_is_kept_for_later(
    engine: Engine, hot: Engine, running: list[Attempt]
) -> None:
    held, free = running
    ledger = Ledger(hot, WORKER, timedelta(seconds=30))
    settlements = [Settlement(one.job_id, one.number, DONE) for one in running]

    with holding(engine, held.job_id):
        accepted, again = ledger.settle(settlements)

    assert accepted == {(free.job_id, 1)}
    assert again == {(held.job_id, 1)}
    assert ledger.settle([one for one in settlements if one.job_id == held.job_id]) == ({(held.job_id, 1)}, set())
    with engine.connect() as connection:
        states = set(connection.scalars(select(jobs.c.state)))
    assert states == {JobState.SUCCEEDED.value}
