"""Statements whose answer was cut off, and a database that goes away: the ledger finds out what is true."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, select, text

from deploy.stack.postgres import PostgresServer
from jobs import control
from jobs.database import DatabaseSettings, open_engine, reading, transaction
from jobs.errors import DatabaseUnavailable
from jobs.intake import accept
from jobs.model import Attempt, JobId, Submission
from jobs.state import Outcome, Reason
from jobs.tables import attempts, events, jobs
from tests.factories import cancelled, failure, new_job, release, rescue, retry, settle, success
from tests.services.crashes import crash
from tests.services.proxy import Proxy, When
from tests.services.stack import eventually
from worker.ledger import Ledger

WORKER = "worker-1"
LEASE = timedelta(seconds=30)
LATE = 3.0
"""Seconds for which a start that was cut off may arrive, in these tests."""
START = b"INSERT INTO attempts"
FINISH = b"UPDATE attempts"
"""Words of the statements that begin and that end attempts, as they go over the wire."""
VERDICTS = {
    "succeed": success(),
    "retry": retry(),
    "fail": failure(),
    "release": release(),
    "rescue": rescue(),
    "crash": failure(Reason.CRASHED, Outcome.LOST),
    "cancel": cancelled(),
}


@pytest.fixture
def proxy(postgres_server: PostgresServer) -> Iterator[Proxy]:
    with Proxy("127.0.0.1", postgres_server.port) as made:
        yield made


@pytest.fixture
def hot(proxy: Proxy, database_url: str) -> Iterator[Engine]:
    """An engine that reaches PostgreSQL through the proxy."""
    settings = DatabaseSettings(database_url=SecretStr(proxy.through(database_url)))
    opened = open_engine(settings, application_name="tests", pool_size=2, hot=True)
    yield opened
    opened.dispose()


@pytest.fixture
def ledger(hot: Engine) -> Ledger:
    return Ledger(hot, WORKER, LEASE, late=LATE)


def queued(engine: Engine, count: int = 1) -> list[JobId]:
    made = [new_job() for _ in range(count)]
    with transaction(engine) as connection:
        accept(connection, [Submission((job,)) for job in made])
    return [job.id for job in made]


def begun(engine: Engine, ledger: Ledger, count: int = 1) -> list[Attempt]:
    started = ledger.begin(queued(engine, count), set())
    assert len(started) == count
    return started


def told(engine: Engine, job_id: JobId) -> list[str]:
    with reading(engine) as connection:
        return list(connection.scalars(select(events.c.name).where(events.c.job_id == job_id).order_by(events.c.seq)))


def states(engine: Engine) -> dict[JobId, str]:
    with reading(engine) as connection:
        return {row.id: row.state for row in connection.execute(select(jobs.c.id, jobs.c.state))}


def outcomes(engine: Engine, job_id: JobId) -> list[str | None]:
    query = select(attempts.c.outcome).where(attempts.c.job_id == job_id).order_by(attempts.c.number)
    with reading(engine) as connection:
        return list(connection.scalars(query))


# The end of an attempt


@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("name", [name for name in VERDICTS if name != "crash"])
def test_an_end_whose_answer_was_cut_off_is_settled_once(
    name: str, when: When, engine: Engine, ledger: Ledger, proxy: Proxy
) -> None:
    (attempt,) = begun(engine, ledger)
    proxy.cut(FINISH, when)

    accepted, again = ledger.settle([settle(attempt, VERDICTS[name])])

    assert proxy.cuts == 1
    assert (accepted, again) == ({(attempt.job_id, 1)}, set())
    assert told(engine, attempt.job_id) == ["accept", "start", name]


@pytest.mark.parametrize("name", ["retry", "release", "rescue", "crash"])
def test_an_end_that_gave_way_to_a_cancel_was_no_stranger(
    name: str, engine: Engine, ledger: Ledger, proxy: Proxy
) -> None:
    (attempt,) = begun(engine, ledger)
    with transaction(engine) as connection:
        control.cancel(connection, attempt.job_id)
    proxy.cut(FINISH, When.AFTER)

    accepted, _ = ledger.settle([settle(attempt, VERDICTS[name])])

    assert (proxy.cuts, accepted) == (1, {(attempt.job_id, 1)})
    assert told(engine, attempt.job_id) == ["accept", "start", "cancel_requested", "cancel"]


def test_a_batch_that_was_cut_off_again_and_again_is_settled_once(engine: Engine, ledger: Ledger, proxy: Proxy) -> None:
    started = begun(engine, ledger, 20)
    proxy.cut(FINISH, When.AFTER, times=3)

    accepted, again = ledger.settle([settle(one) for one in started])

    assert proxy.cuts == 3
    assert (len(accepted), again) == (20, set())
    assert set(states(engine).values()) == {"succeeded"}
    assert {tuple(told(engine, one.job_id)) for one in started} == {("accept", "start", "succeed")}


def test_a_result_that_cannot_be_stored_is_settled_once_though_its_answer_was_cut_off(
    engine: Engine, ledger: Ledger, proxy: Proxy
) -> None:
    odd, good = begun(engine, ledger, 2)
    proxy.cut(b"ResultNotStorable", When.AFTER)

    accepted, again = ledger.settle([settle(odd, success('"\\u0000"')), settle(good)])

    assert proxy.cuts == 1
    assert (accepted, again) == ({(odd.job_id, 1), (good.job_id, 1)}, set())
    assert states(engine) == {odd.job_id: "failed", good.job_id: "succeeded"}
    assert told(engine, odd.job_id) == ["accept", "start", "fail"]


def test_a_database_that_is_away_is_waited_for(engine: Engine, ledger: Ledger, proxy: Proxy) -> None:
    (attempt,) = begun(engine, ledger)
    proxy.refuse()
    settled: list[object] = []
    thread = threading.Thread(target=lambda: settled.append(ledger.settle([settle(attempt)])))

    thread.start()
    thread.join(0.5)
    assert settled == []
    proxy.heal()
    thread.join(20)

    assert settled == [({(attempt.job_id, 1)}, set())]


def test_a_worker_that_stops_does_not_wait_for_ever(engine: Engine, ledger: Ledger, proxy: Proxy) -> None:
    (attempt,) = begun(engine, ledger)
    proxy.refuse()

    with pytest.raises(DatabaseUnavailable):
        ledger.settle([settle(attempt)], patience=0.2)


def test_postgresql_may_be_restarted_between_any_two_statements(
    engine: Engine, postgres_server: PostgresServer, ledger: Ledger
) -> None:
    first = begun(engine, ledger, 3)
    postgres_server.restart()
    accepted, _ = ledger.settle([settle(one) for one in first])
    assert len(accepted) == 3

    postgres_server.restart()
    engine.dispose()
    ids = queued(engine, 3)
    started = eventually(lambda: _begin(ledger, ids), 20, "the jobs are started")
    crash(postgres_server)
    accepted, _ = ledger.settle([settle(one) for one in started])

    engine.dispose()
    assert len(accepted) == 3
    assert set(states(engine).values()) == {"succeeded"}


def _begin(ledger: Ledger, ids: list[JobId]) -> list[Attempt]:
    try:
        return ledger.begin(ids, set())
    except DatabaseUnavailable:
        return []


# The start of an attempt


@pytest.mark.parametrize(("when", "numbers"), [(When.BEFORE, {1}), (When.AFTER, {2})])
def test_what_was_started_and_not_told_is_given_back_and_started_again(
    when: When, numbers: set[int], engine: Engine, ledger: Ledger, proxy: Proxy
) -> None:
    ids = queued(engine, 5)
    proxy.cut(START, when)

    with pytest.raises(DatabaseUnavailable):
        ledger.begin(ids, set())
    assert ledger.is_unsure
    started = ledger.begin(ids, set())

    assert {one.number for one in started} == numbers
    assert {one.job_id for one in started} == set(ids)
    assert set(outcomes(engine, ids[0])[:-1]) <= {"interrupted"}


def test_what_was_started_and_not_told_is_given_back_without_another_start(
    engine: Engine, ledger: Ledger, proxy: Proxy
) -> None:
    (held,) = begun(engine, ledger)
    ids = queued(engine, 3)
    proxy.cut(START, When.AFTER)
    with pytest.raises(DatabaseUnavailable):
        ledger.begin([*ids, held.job_id], set())

    ledger.give_strays_back({held.job_id})

    found = states(engine)
    assert {found[job_id] for job_id in ids} == {"queued"}
    assert found[held.job_id] == "running"


def test_a_start_that_was_cut_off_before_and_arrived_late_is_found_at_the_next_look(
    engine: Engine, ledger: Ledger, proxy: Proxy
) -> None:
    ids = queued(engine, 2)
    proxy.cut(START, When.LATE, seconds=0.3)

    with pytest.raises(DatabaseUnavailable):
        ledger.begin(ids, set())
    eventually(lambda: set(states(engine).values()) == {"running"}, 10, "the late start has arrived")
    ledger.give_strays_back(set())

    assert set(states(engine).values()) == {"queued"}
    assert outcomes(engine, ids[0]) == ["interrupted"]


def looked(ledger: Ledger, *held: JobId) -> bool:
    """Do what the keeper does from time to time, and tell whether it may stop."""
    ledger.give_strays_back(set(held))
    return not ledger.is_unsure


def test_a_start_that_arrives_after_the_first_look_is_given_back(engine: Engine, ledger: Ledger, proxy: Proxy) -> None:
    ids = queued(engine, 2)
    proxy.cut(START, When.LATE, seconds=1.5)

    with pytest.raises(DatabaseUnavailable):
        ledger.begin(ids, set())
    assert not looked(ledger)
    eventually(lambda: outcomes(engine, ids[0]) != [], 10, "the late start has arrived")
    eventually(lambda: looked(ledger), 20, "the ledger is sure")

    assert set(states(engine).values()) == {"queued"}
    assert [outcomes(engine, job_id) for job_id in ids] == [["interrupted"], ["interrupted"]]


def test_a_job_that_was_started_again_keeps_its_attempt_while_the_ledger_is_unsure(
    engine: Engine, ledger: Ledger, proxy: Proxy
) -> None:
    ids = queued(engine)
    proxy.cut(START, When.LATE, seconds=1.0)
    with pytest.raises(DatabaseUnavailable):
        ledger.begin(ids, set())

    (attempt,) = ledger.begin(ids, set())
    eventually(lambda: looked(ledger, attempt.job_id), 20, "the ledger is sure")

    assert states(engine) == {attempt.job_id: "running"}
    assert outcomes(engine, attempt.job_id) == [None]


@contextmanager
def held_commits(engine: Engine) -> Iterator[None]:
    """Let no COMMIT of something written return, or be seen: it waits for a replica that there is not."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as admin:

        def wait_for(replica: str) -> None:
            admin.execute(text(f"ALTER SYSTEM SET synchronous_standby_names = '{replica}'"))
            admin.execute(text("SELECT pg_reload_conf()"))
            shown = text("SELECT current_setting('synchronous_standby_names')")
            eventually(lambda: admin.scalar(shown) == replica, 10, "the setting is in force")

        try:
            wait_for("nobody")
            yield
        finally:
            wait_for("")


def is_committing(engine: Engine) -> bool:
    query = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND datname = current_database()")
    with reading(engine) as connection:
        return connection.scalar(query) == 1


def test_a_start_whose_commit_is_under_way_for_long_is_given_back_when_it_is_done(
    engine: Engine, hot: Engine, proxy: Proxy
) -> None:
    ids = queued(engine)
    ledger = Ledger(hot, WORKER, LEASE, late=0.0)

    def cut_off() -> None:
        eventually(lambda: is_committing(engine), 20, "the COMMIT is under way")
        proxy.drop()

    with held_commits(engine), ThreadPoolExecutor(1) as pool:
        cutting = pool.submit(cut_off)
        with pytest.raises(DatabaseUnavailable):
            ledger.begin(ids, set())
        cutting.result()
        assert ledger.begin(ids, set()) == []
        assert not looked(ledger)
        assert set(states(engine).values()) == {"queued"}
    eventually(lambda: looked(ledger), 20, "the ledger is sure")

    assert set(states(engine).values()) == {"queued"}
    assert outcomes(engine, ids[0]) == ["interrupted"]
