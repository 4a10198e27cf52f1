"""What the keeper began, it ends, or leaves to its lease: no attempt is held for ever."""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from sqlalchemy import Engine, select

from deploy.stack.postgres import PostgresServer
from jobs.database import DatabaseSettings, open_engine, reading, transaction
from jobs.intake import accept
from jobs.model import Failure, JobId, Settlement, Submission
from jobs.tables import attempts, jobs
from jobs.telemetry.metrics import Instruments
from tasks.catalogue import Catalogue
from tasks.messages import Ring
from tests.factories import TASK, new_job
from tests.services.proxy import Proxy, When
from tests.services.stack import eventually
from worker.admission import Doorbell
from worker.execution import Ending, How
from worker.keeper import Keeper
from worker.ledger import Key, Ledger
from worker.running import Running

DONE = Ending(How.SUCCEEDED, result="1")


class Stumbling(Ledger):
    """A ledger that an error nobody foresaw keeps from settling one job."""

    over: JobId | None = None

    def settle(self, settlements: Sequence[Settlement], patience: float = 0) -> tuple[set[Key], set[Key]]:
        if any(one.job_id == self.over for one in settlements):
            raise ZeroDivisionError
        return super().settle(settlements, patience)


@pytest.fixture
def proxy(postgres_server: PostgresServer) -> Iterator[Proxy]:
    with Proxy("127.0.0.1", postgres_server.port) as made:
        yield made


@pytest.fixture
def ledger(proxy: Proxy, database_url: str) -> Iterator[Stumbling]:
    settings = DatabaseSettings(database_url=SecretStr(proxy.through(database_url)))
    hot = open_engine(settings, application_name="tests", pool_size=2, hot=True)
    yield Stumbling(hot, "worker-1", timedelta(seconds=30))
    hot.dispose()


@pytest.fixture
def keeper(ledger: Stumbling) -> Iterator[Keeper]:
    instruments = Instruments(CollectorRegistry())
    made = Keeper(worker="worker-1", ledger=ledger, slots=4, catalogue=Catalogue([]), instruments=instruments)
    made.start()
    yield made
    made.close()


Rung = Callable[[int], list[JobId]]


@pytest.fixture
def rung(engine: Engine, keeper: Keeper) -> Rung:
    """Accepts jobs and offers their doorbell to the keeper."""

    def ring(count: int) -> list[JobId]:
        made = [new_job() for _ in range(count)]
        with transaction(engine) as connection:
            accept(connection, [Submission((job,)) for job in made])
        ids = tuple(job.id for job in made)
        keeper.offer(Ring(TASK, ids), Doorbell(lambda: None, lambda: None, count))
        return list(ids)

    return ring


def running(keeper: Keeper, count: int) -> list[Running]:
    eventually(lambda: len(keeper.launches) == count, 10, f"{count} attempts have begun")
    return [keeper.launches.popleft() for _ in range(count)]


def read(engine: Engine, column: Any) -> set[Any]:
    with reading(engine) as connection:
        return set(connection.scalars(select(column)))


def test_an_error_that_nobody_foresaw_strikes_one_attempt_and_its_lease_is_let_run_out(
    engine: Engine, keeper: Keeper, ledger: Stumbling, rung: Rung
) -> None:
    rung(4)
    begun = running(keeper, 4)
    ledger.over = begun[1].attempt.job_id

    for one in begun:
        keeper.ended(one, DONE)
    eventually(lambda: keeper.held() == [], 10, "the keeper holds nothing")

    with reading(engine) as connection:
        states = {row.id: row.state for row in connection.execute(select(jobs.c.id, jobs.c.state))}
    assert states.pop(ledger.over) == "running"
    assert set(states.values()) == {"succeeded"}
    assert keeper.is_alive


def test_what_was_begun_by_a_start_that_was_cut_off_is_given_back_when_no_doorbell_comes(
    engine: Engine, keeper: Keeper, proxy: Proxy, rung: Rung
) -> None:
    proxy.cut(b"INSERT INTO attempts", When.AFTER, then_refuse=True)

    rung(3)
    eventually(lambda: read(engine, jobs.c.state) == {"running"}, 10, "the jobs were started, and nobody told")
    eventually(keeper.forget_waiting, 10, "the broker's connection is gone, and the doorbells with it")
    proxy.heal()

    eventually(lambda: read(engine, jobs.c.state) == {"queued"}, 10, "the jobs were given back")
    assert read(engine, attempts.c.outcome) == {"interrupted"}
    assert read(engine, jobs.c.crash_count) == {0}


@pytest.mark.parametrize(("draining", "outcome", "crashes"), [(False, "lost", 1), (True, "interrupted", 0)])
def test_a_process_that_dies_while_its_worker_stops_is_no_crash(
    draining: bool, outcome: str, crashes: int, engine: Engine, keeper: Keeper, rung: Rung
) -> None:
    rung(1)
    (one,) = running(keeper, 1)
    if draining:
        keeper.drain()

    keeper.ended(one, Ending(How.LOST, failure=Failure("WorkerLost", "signal 15")))

    eventually(lambda: read(engine, jobs.c.state) == {"queued"}, 10, "the job waits again")
    assert (read(engine, attempts.c.outcome), read(engine, jobs.c.crash_count)) == ({outcome}, {crashes})


def test_what_has_not_ended_is_given_back_when_the_keeper_closes(engine: Engine, keeper: Keeper, rung: Rung) -> None:
    rung(3)
    begun = running(keeper, 3)
    keeper.ended(begun[0], DONE)

    keeper.close()

    assert not keeper.is_alive
    with reading(engine) as connection:
        states = sorted(connection.scalars(select(jobs.c.state)))
    assert states == ["queued", "queued", "succeeded"]
