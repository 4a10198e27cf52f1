"""Small histories of the API's own part: what it tells clients of a COMMIT that was cut off, or that they share."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

from pydantic import SecretStr
from sqlalchemy import Engine, text

from api.group_commit import GroupCommit, commit
from jobs.database import DatabaseSettings, open_engine, transaction
from jobs.intake import Answer
from jobs.model import Submission
from jobs.telemetry.contract import Process
from jobs.telemetry.metrics import instruments_of
from jobs.window import Backlog, Window
from tests.chaos.stage import Stage, plot
from tests.factories import new_job
from tests.services.proxy import When

CLIENTS: Final = 3
PLENTY: Final = 1000
COMMIT: Final = b"COMMIT\0"

#: Ends the session that comes to its COMMIT first, and no other: a sequence is not taken back with its transaction.
_ENDED_AT_COMMIT = """
CREATE SEQUENCE commits;
CREATE FUNCTION end_first() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('commits') = 1 THEN
        PERFORM pg_terminate_backend(pg_backend_pid());
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER end_first AFTER INSERT ON jobs DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION end_first();
"""


@plot()
def a_commit_that_is_cut_off(stage: Stage) -> None:
    """The database ends the session in the COMMIT: the transaction is undone, and the API is not told."""
    with transaction(stage.engine) as connection:
        connection.execute(text(_ENDED_AT_COMMIT))
    for job in stage.submit(hand_in=_commit):
        stage.carry_out(job)


@plot()
def a_commit_whose_end_nobody_knows(stage: Stage) -> None:
    """The COMMIT is done, the API is cut off before it learns of it, and finds PostgreSQL no more to ask."""
    with stage.link() as link:
        settings = DatabaseSettings(database_url=SecretStr(link.through(stage.database_url)))
        behind = open_engine(settings, application_name="penstock-tests", pool_size=1)
        try:
            link.cut(COMMIT, When.AFTER, then_refuse=True)
            stage.submit(hand_in=lambda _, submission: _commit(behind, submission))
        finally:
            behind.dispose()


def _commit(engine: Engine, submission: Submission) -> Answer:
    return commit(engine, [submission], frozenset())[0]


class Group:
    """A group commit that begins when all clients are there."""

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing is committed before the last client comes."""
        self._loop = loop
        self.commits = GroupCommit(
            engine,
            lambda _doorbells: None,
            instruments_of(Process.API),
            window=Window(engine, PLENTY),
            backlog=Backlog(engine, PLENTY),
            group_limit=PLENTY,
            waiting_limit=PLENTY,
            longest_wait=60.0,
        )
        self._there = threading.Barrier(CLIENTS, action=self.commits.start)

    def hand_in(self, _engine: Engine, submission: Submission) -> Answer:
        """Return the answer to a client that came with the others."""
        answer = asyncio.run_coroutine_threadsafe(self.commits.submit(submission), self._loop)
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self._loop).result()  # by then it waits
        self._there.wait()
        return answer.result()


@contextmanager
def _group(stage: Stage) -> Iterator[Group]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    group = Group(stage.engine, loop)
    try:
        yield group
    finally:
        group.commits.close()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@plot()
def clients_that_share_a_commit(stage: Stage) -> None:
    """Some clients submit at the same moment, and one transaction accepts what they ask for."""
    with _group(stage) as group, ThreadPoolExecutor(CLIENTS) as clients:
        wanted = [new_job(payload=f'{{"n": {number}}}') for number in range(CLIENTS)]
        told = list(clients.map(lambda job: stage.submit(job, hand_in=group.hand_in), wanted))
    for (job,) in told:
        stage.carry_out(job)
