"""A statement that was planned while the table was empty still finds its jobs by their keys when it is full."""

from collections.abc import Iterator, Sequence

import pytest
from pydantic import SecretStr
from sqlalchemy import Connection, Engine, text

from jobs import attempts
from jobs.database import DatabaseSettings, open_engine, transaction
from jobs.intake import accept
from jobs.model import Attempt, JobId, NewJob, Settlement, Submission, Verdict
from jobs.state import Event, Outcome

PREPARED_AFTER = 6
"""psycopg prepares a statement on the server at its sixth use."""
RUNNING = 1500
BATCH = 10
MOST_ROWS = 10 * BATCH


@pytest.fixture
def hot(database_url: str) -> Iterator[Engine]:
    settings = DatabaseSettings(database_url=SecretStr(database_url))
    engine = open_engine(settings, application_name="tests", pool_size=1, hot=True)
    yield engine
    engine.dispose()


def test_plans_made_on_an_empty_table_read_few_rows_of_a_full_one(hot: Engine, fresh_engine: Engine) -> None:
    for _ in range(PREPARED_AFTER):
        live(hot, submit(hot, 1))
    with transaction(fresh_engine) as connection:
        attempts.start(connection, submit(fresh_engine, RUNNING), worker="w")

    read = live(hot, submit(fresh_engine, BATCH))

    assert all(rows <= MOST_ROWS for rows in read), read


@pytest.fixture
def fresh_engine(database_url: str) -> Iterator[Engine]:
    engine = open_engine(DatabaseSettings(database_url=SecretStr(database_url)), application_name="tests")
    yield engine
    engine.dispose()


def submit(engine: Engine, count: int) -> list[JobId]:
    jobs = [NewJob(task="demo.noop", payload="{}", queue="default") for _ in range(count)]
    with transaction(engine) as connection:
        accept(connection, [Submission((job,)) for job in jobs])
    return [job.id for job in jobs]


def live(engine: Engine, ids: Sequence[JobId]) -> list[int]:
    """Start, extend and finish these jobs; return how many rows of the table each step read."""
    done = Verdict(event=Event.SUCCEED, outcome=Outcome.SUCCEEDED)
    read = []
    with transaction(engine) as connection:
        before = rows_read(connection)
        begun: list[Attempt] = attempts.start(connection, ids, worker="w")
        for step in (attempts.extend, attempts.look):
            read.append(rows_read(connection) - before)
            before = rows_read(connection)
            assert len(step(connection, [(one.job_id, one.number) for one in begun])) == len(ids)
        read.append(rows_read(connection) - before)
        before = rows_read(connection)
        attempts.finish(connection, [Settlement(one.job_id, one.number, done) for one in begun])
        read.append(rows_read(connection) - before)
    return read


def rows_read(connection: Connection) -> int:
    """Return how many rows this transaction has read of the table, by any path."""
    query = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'jobs'"
    return int(connection.scalar(text(query)) or 0)
