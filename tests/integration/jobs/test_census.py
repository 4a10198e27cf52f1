"""The census says at every moment how many jobs there are and were, whoever writes, and whoever adds it up."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from sqlalchemy import Engine, func, insert, select, text, update

from jobs import census, control, intake, migrations, upkeep
from jobs.database import transaction
from jobs.errors import RefusedError
from jobs.model import Acceptance
from jobs.state import JobState
from jobs.tables import census_marks, jobs
from tests.factories import cancelled, failure, new_job, release, retry, submission, success
from tests.integration.jobs import scenes
from tests.services.databases import connected


def counts(engine: Engine) -> list[census.Count]:
    with transaction(engine) as connection:
        return census.count(connection)


def now(engine: Engine) -> dict[str, int]:
    """Return how many jobs are in each state that has any."""
    found: dict[str, int] = {}
    for one in counts(engine):
        found[one.state] = found.get(one.state, 0) + one.now
    return {state: count for state, count in found.items() if count}


def entered(engine: Engine, state: JobState) -> int:
    return sum(one.entered for one in counts(engine) if one.state == state)


def born(engine: Engine) -> int:
    return sum(one.born for one in counts(engine))


def fold(engine: Engine, limit: int = census.FOLDED) -> int:
    with transaction(engine) as connection:
        return census.fold(connection, limit)


def marks(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(census_marks)) or 0


def a_bit_of_everything(engine: Engine) -> None:
    """Leave a job in each state, two of them dead letters that are closed."""
    scenes.queued(engine, queue="bulk")
    scenes.scheduled(engine)
    scenes.running(engine)
    for verdict in (success(), success(), failure(), cancelled(), retry(), release()):
        scenes.ended(engine, verdict)
    outdated = scenes.queued(engine, expires_at=scenes.database_now(engine) + timedelta(hours=1))
    scenes.change(engine, outdated, expires_at=func.now() - timedelta(seconds=1))
    for _ in range(2):
        with transaction(engine) as connection:
            control.close(connection, scenes.ended(engine, failure()))
    with transaction(engine) as connection:
        upkeep.expire(connection)


EVERYTHING = {
    "queued": 2, "scheduled": 1, "running": 1, "succeeded": 2, "failed": 1, "cancelled": 1, "retrying": 1, "expired": 1,
    "closed": 2,
}  # fmt: skip


def test_each_state_is_counted_before_and_after_it_is_added_up(engine: Engine) -> None:
    a_bit_of_everything(engine)

    assert now(engine) == EVERYTHING
    assert born(engine) == 12
    before = counts(engine)
    assert fold(engine) > 10
    assert (marks(engine), fold(engine)) == (0, 0)
    assert sorted(counts(engine)) == sorted(before)
    assert entered(engine, JobState.RUNNING) == 9
    assert entered(engine, JobState.FAILED) == 3


def test_a_batch_leaves_one_mark_for_each_task_queue_and_state(engine: Engine) -> None:
    ids = [receipt.id for receipt in scenes.accepted(engine, *(new_job() for _ in range(50)))]
    assert marks(engine) == 1

    scenes.start(engine, *ids)
    assert marks(engine) == 3


def test_what_changes_no_state_leaves_no_mark(engine: Engine) -> None:
    attempt = scenes.running(engine)
    before = marks(engine)

    scenes.change(engine, attempt.job_id, lease_expires_at=func.now() + timedelta(minutes=1), version=9)

    assert marks(engine) == before


def test_a_job_that_is_released_by_upkeep_waits_for_its_doorbell(engine: Engine) -> None:
    scenes.make_due(engine, scenes.scheduled(engine))
    with transaction(engine) as connection:
        upkeep.release_due(connection)
    assert sum(one.unrung for one in counts(engine)) == 1

    with transaction(engine) as connection:
        upkeep.claim_unrung(connection, "default")
    assert sum(one.unrung for one in counts(engine)) == 0


def test_what_was_not_accepted_was_never_born(engine: Engine) -> None:
    scenes.queued(engine, unique_key="taken")
    refused = submission(new_job(), new_job(unique_key="taken"))
    (answer,) = scenes.submit(engine, refused)
    assert isinstance(answer, RefusedError)

    with engine.connect() as connection:
        assert isinstance(intake.accept(connection, [submission()])[0], Acceptance)
        connection.rollback()

    assert born(engine) == 1
    assert now(engine) == {"queued": 1}


def test_a_job_that_is_deleted_in_its_time_stays_accepted_and_finished(engine: Engine) -> None:
    scenes.change(engine, scenes.ended(engine, success()), finished_at=func.now() - timedelta(hours=1))
    with transaction(engine) as connection:
        assert len(upkeep.prune(connection, keep=timedelta(seconds=1))) == 1

    assert now(engine) == {}
    assert (born(engine), entered(engine, JobState.SUCCEEDED)) == (1, 1)


def test_those_who_write_and_those_who_add_up_lose_nothing_to_each_other(engine: Engine) -> None:
    def write(_: int) -> None:
        for _ in range(15):
            scenes.ended(engine, success())

    def add_up(_: int) -> int:
        return sum(fold(engine, 7) for _ in range(40))

    with ThreadPoolExecutor(4) as pool:
        writing, adding = [pool.submit(write, n) for n in range(2)], [pool.submit(add_up, n) for n in range(2)]
        for one in [*writing, *adding]:
            one.result(60)

    assert now(engine) == {"succeeded": 30}
    assert (born(engine), entered(engine, JobState.RUNNING)) == (30, 30)
    fold(engine)
    assert now(engine) == {"succeeded": 30}


def test_nobody_who_writes_waits_for_somebody_else_who_does_or_who_adds_up(engine: Engine) -> None:
    first, second = scenes.queued(engine), scenes.queued(engine)
    with transaction(engine) as adding:
        assert census.fold(adding) == 1 + 1
        with transaction(engine) as writing:
            control.cancel(writing, first)
            with transaction(engine) as connection:
                connection.execute(text("SET LOCAL lock_timeout = '2s'"))
                control.cancel(connection, second)
                assert census.fold(connection) == 0

    assert now(engine) == {"cancelled": 2}


def test_what_was_there_before_the_census_is_counted_when_it_begins(database_url: str) -> None:
    with connected(database_url) as engine:
        migrations.downgrade(engine, "0004")
        a_bit_of_everything(engine)

        migrations.upgrade(engine)

        assert now(engine) == EVERYTHING
        assert born(engine) == 12


def test_what_was_written_past_the_triggers_is_put_right(engine: Engine) -> None:
    a_bit_of_everything(engine)
    fold(engine)
    with transaction(engine) as connection:
        connection.execute(text("ALTER TABLE jobs DISABLE TRIGGER USER"))
        connection.execute(update(jobs).where(jobs.c.state == "queued").values(queue="critical", rung_at=None))
        connection.execute(text("ALTER TABLE jobs ENABLE TRIGGER USER"))

    with transaction(engine) as connection:
        assert census.recount(connection) == 3
        assert census.recount(connection) == 0

    assert now(engine) == EVERYTHING
    assert sum(one.unrung for one in counts(engine)) == 2
    assert {one.queue: one.now for one in counts(engine) if one.state == "queued" and one.now} == {"critical": 2}


def waits(engine: Engine) -> dict[str, float]:
    with transaction(engine) as connection:
        return census.longest_waits(connection, ["default", "bulk", "critical"])


def test_the_longest_wait_of_a_queue_is_that_of_its_oldest_ready_job(engine: Engine) -> None:
    ages = {"rung": 50, "unrung": 100, "not due": 900, "running": 800}
    ids = {name: scenes.queued(engine) for name in ages}
    scenes.start(engine, ids["running"])
    bulk = scenes.queued(engine, queue="bulk", priority=9)
    for name, seconds in ages.items():
        scenes.change(engine, ids[name], run_at=func.now() - timedelta(seconds=seconds))
    scenes.change(engine, ids["unrung"], rung_at=None)
    scenes.change(engine, ids["not due"], state="scheduled", rung_at=None)
    scenes.change(engine, bulk, run_at=func.now() - timedelta(seconds=7), rung_at=None)

    found = waits(engine)
    assert 100 <= found["default"] < 200
    assert 7 <= found["bulk"] < 100
    assert found["critical"] == 0

    scenes.start(engine, ids["unrung"])
    assert 50 <= waits(engine)["default"] < 100


def test_a_job_that_is_due_later_by_its_clients_clock_has_not_waited(engine: Engine) -> None:
    scenes.change(engine, scenes.queued(engine), run_at=func.now() + timedelta(seconds=5))

    assert waits(engine)["default"] == 0


def test_a_mark_of_an_unknown_task_is_a_count_like_any_other(engine: Engine) -> None:
    with transaction(engine) as connection:
        values = {"task": "t", "queue": "q", "state": "queued", "entered": 3, "gone": 1, "born": 3, "unrung": 2}
        connection.execute(insert(census_marks).values(values))

    assert counts(engine) == [census.Count("t", "q", "queued", 3, 2, 3, 2)]
