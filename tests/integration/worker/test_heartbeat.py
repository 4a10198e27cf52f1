"""The heartbeat keeps leases through cut connections, and tells what it was told."""

import subprocess
import time
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from sqlalchemy import Engine, select, text

from deploy.stack.postgres import PostgresServer
from jobs import control, registry
from jobs.database import DatabaseSettings, open_engine, reading, transaction
from jobs.intake import accept
from jobs.model import Submission
from jobs.tables import jobs, workers
from jobs.telemetry.metrics import Instruments
from tasks.catalogue import Catalogue
from tasks.messages import Ring
from tests.factories import TASK, new_job
from tests.services.proxy import Proxy, When
from tests.services.stack import eventually
from worker.admission import Doorbell
from worker.ears import Ears
from worker.heartbeat import INTERRUPT, LOOK_EVERY, Heartbeat
from worker.keeper import Keeper
from worker.ledger import Ledger
from worker.running import Running
from worker.settings import WorkerSettings

NAME = "worker-1"
LEASE = timedelta(seconds=3)
GRACE = 0.5
EXTEND = b"SET lease_expires_at"
BEAT = b"UPDATE workers"
COMMIT = b"COMMIT"
"""Words of the heartbeat's statements, as they go over the wire."""


@pytest.fixture
def proxy(postgres_server: PostgresServer) -> Iterator[Proxy]:
    with Proxy("127.0.0.1", postgres_server.port) as made:
        yield made


@pytest.fixture
def pulse(proxy: Proxy, database_url: str) -> Iterator[Engine]:
    """The heartbeat's engine, which reaches PostgreSQL through the proxy."""
    settings = DatabaseSettings(database_url=SecretStr(proxy.through(database_url)))
    opened = open_engine(settings, application_name="tests", pool_size=1, hot=True)
    yield opened
    opened.dispose()


@pytest.fixture
def keeper(database_url: str) -> Iterator[Keeper]:
    settings = DatabaseSettings(database_url=SecretStr(database_url))
    hot = open_engine(settings, application_name="tests", pool_size=2, hot=True)
    made = Keeper(
        worker=NAME,
        ledger=Ledger(hot, NAME, LEASE),
        slots=4,
        catalogue=Catalogue([]),
        instruments=Instruments(CollectorRegistry()),
    )
    made.start()
    yield made
    made.close()
    hot.dispose()


@pytest.fixture
def running(engine: Engine, keeper: Keeper) -> Running:
    """An attempt that the keeper holds."""
    job = new_job()
    with transaction(engine) as connection:
        accept(connection, [Submission((job,))])
        registry.announce(connection, name=NAME, host="here", pid=1, queues=["default"], slots=4, release="1")
    keeper.offer(Ring(TASK, (job.id,)), Doorbell(lambda: None, lambda: None, 1))
    eventually(lambda: len(keeper.launches) == 1, 10, "the attempt has begun")
    return keeper.launches.popleft()


@pytest.fixture
def heartbeat(keeper: Keeper, pulse: Engine, running: Running) -> Iterator[Heartbeat]:
    settings = WorkerSettings(lease_seconds=LEASE.total_seconds(), cancel_grace_seconds=600)
    made = Heartbeat(keeper, pulse, settings, Ears(3600), tuple)
    yield made
    made.close()


@pytest.fixture
def hasty(keeper: Keeper, pulse: Engine, running: Running) -> Iterator[Heartbeat]:
    """A heartbeat that soon interrupts who was asked to end."""
    settings = WorkerSettings(lease_seconds=LEASE.total_seconds(), cancel_grace_seconds=GRACE)
    made = Heartbeat(keeper, pulse, settings, Ears(3600), tuple)
    yield made
    made.close()


def lease(engine: Engine) -> datetime:
    with reading(engine) as connection:
        return connection.scalars(select(jobs.c.lease_expires_at)).one()


@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("words", [EXTEND, BEAT, COMMIT])
def test_a_beat_that_is_cut_off_is_followed_by_another(
    words: bytes, when: When, engine: Engine, heartbeat: Heartbeat, running: Running, proxy: Proxy
) -> None:
    first = lease(engine)
    proxy.cut(words, when)

    heartbeat.start()
    eventually(lambda: proxy.cuts == 1, 20, "the beat was cut off")
    after_cut = max(first, lease(engine))
    eventually(lambda: lease(engine) > after_cut + LEASE / 2, 20, "the lease is extended again")

    assert not running.fenced
    assert running.ending is None
    eventually(lambda: heartbeat.is_beating, 10, "the heart beats")


def test_a_beat_through_a_restart_of_postgresql_keeps_the_attempt(
    engine: Engine, heartbeat: Heartbeat, running: Running, postgres_server: PostgresServer
) -> None:
    heartbeat.start()
    first = lease(engine)

    postgres_server.restart()
    engine.dispose()

    eventually(lambda: lease(engine) > first + LEASE, 30, "the lease is extended afterwards")
    assert not running.fenced


@pytest.mark.parametrize("table", ["workers", "paused_queues"])
def test_a_sign_of_life_or_a_look_that_has_to_wait_costs_no_lease(
    table: str, engine: Engine, keeper: Keeper, pulse: Engine, running: Running
) -> None:
    settings = WorkerSettings(lease_seconds=LEASE.total_seconds(), cancel_grace_seconds=600)
    heartbeat = Heartbeat(keeper, pulse, settings, Ears(0.1), lambda: ["default"])
    first = lease(engine)

    with engine.begin() as holder:
        holder.execute(text(f"LOCK TABLE {table}"))
        heartbeat.start()
        eventually(lambda: lease(engine) > first + LEASE, 30, "the lease is extended, and once more")

    heartbeat.close()
    assert not running.fenced


def test_an_attempt_whose_job_was_given_to_another_is_told(
    engine: Engine, heartbeat: Heartbeat, running: Running
) -> None:
    with transaction(engine) as connection:
        connection.execute(text("UPDATE jobs SET attempt = attempt + 1"))

    heartbeat.start()

    eventually(lambda: running.fenced, 10, "the attempt is told")


def test_a_cancel_is_seen(engine: Engine, heartbeat: Heartbeat, running: Running) -> None:
    began = time.monotonic()
    with transaction(engine) as connection:
        control.cancel(connection, running.attempt.job_id)

    heartbeat.start()

    eventually(lambda: running.cancel_seen_at, 10, "the cancel is seen")
    assert began <= (running.cancel_seen_at or 0) <= time.monotonic()


@pytest.mark.parametrize("fenced", [False, True], ids=["cancelled", "fenced"])
def test_an_attempt_that_has_no_process_yet_is_told_when_it_has_one(
    fenced: bool, engine: Engine, keeper: Keeper, hasty: Heartbeat, running: Running
) -> None:
    with transaction(engine) as connection:
        if fenced:
            connection.execute(text("UPDATE jobs SET attempt = attempt + 1"))
        else:
            control.cancel(connection, running.attempt.job_id)
    hasty.start()
    eventually(lambda: running.fenced if fenced else running.cancel_seen_at, 10, "it is known")
    noticed = time.monotonic()
    eventually(lambda: time.monotonic() - noticed > 2 * GRACE + 2 * LOOK_EVERY, 10, "both steps would be due")

    with subprocess.Popen(["sleep", "30"]) as process:
        keeper.accepted(running, process.pid)
        ended = process.wait(20)

    assert ended == -INTERRUPT


def test_a_process_that_is_gone_while_postgresql_is_away_costs_no_heartbeat(
    engine: Engine, keeper: Keeper, hasty: Heartbeat, running: Running, proxy: Proxy
) -> None:
    with transaction(engine) as connection:
        control.cancel(connection, running.attempt.job_id)
    hasty.start()
    eventually(lambda: running.cancel_seen_at, 10, "the cancel is seen")

    proxy.refuse()
    with subprocess.Popen(["true"]) as process:
        process.wait(20)
    keeper.accepted(running, process.pid)
    eventually(lambda: time.monotonic() - (running.accepted_at or 0) > 2 * GRACE, 10, "it is to be interrupted")
    eventually(lambda: proxy.refusals > 1, 10, "the heart has looked meanwhile")
    proxy.heal()

    before = lease(engine)
    eventually(lambda: lease(engine) > before, 20, "the lease is extended again")


def test_the_worker_is_seen_to_live(engine: Engine, heartbeat: Heartbeat) -> None:
    def seen() -> datetime:
        with reading(engine) as connection:
            return connection.scalars(select(workers.c.seen_at)).one()

    before = seen()
    heartbeat.start()

    eventually(lambda: seen() > before, 10, "the worker was seen")
