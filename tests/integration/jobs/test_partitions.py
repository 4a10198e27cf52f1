"""History by the month: no row is refused, no month goes whose history may be wanted, and nobody waits for it."""

import calendar
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection, Engine, Table, delete, func, insert, select, text

from jobs import control, partitions, upkeep
from jobs.database import transaction
from jobs.model import Acceptance, JobId, Verdict, new_job_id
from jobs.partitions import AHEAD, HISTORY, MOVED, Part
from jobs.state import JobState
from jobs.tables import events, job_logs, jobs
from tests.factories import failure, new_job, submission, success
from tests.integration.jobs import scenes
from tests.services.databases import connect_to

MONTH = timedelta(days=30)
LONG_AGO = timedelta(days=200)
T = TypeVar("T")


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on a database of the test's own: its partitions change."""
    opened = connect_to(database_url)
    yield opened
    opened.dispose()


def do(engine: Engine, step: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    with transaction(engine) as connection:
        return step(connection, *args, **kwargs)


def parts(engine: Engine, history: Table = events) -> list[str]:
    return [part.name for part in do(engine, partitions.parts_of, history)]


def month_of(age: timedelta) -> tuple[str, JobId, JobId]:
    """The name of the month in which a job of such an age was submitted, and its bounds."""
    then = datetime.now(UTC) - age
    first, after = ((then.year * 12 + then.month - 1 + more) for more in (0, 1))
    bounds = [JobId(int=calendar.timegm((m // 12, m % 12 + 1, 1, 0, 0, 0)) * 1000 << 80) for m in (first, after)]
    return f"{then.year}_{then.month:02}", bounds[0], bounds[1]


def given_a_month(engine: Engine, age: timedelta = LONG_AGO) -> None:
    """Let there be partitions for a month that is over, as if a beat had made them in time."""
    name, begins, ends = month_of(age)
    bounds = f"FOR VALUES FROM ('{begins}') TO ('{ends}')"
    with transaction(engine) as connection:
        for table in (history.name for history in HISTORY):
            connection.execute(text(f"DROP TABLE {table}_first"))
            connection.execute(text(f"CREATE TABLE {table}_{name} PARTITION OF {table} {bounds}"))


def aged(engine: Engine, verdict: Verdict, age: timedelta = LONG_AGO) -> JobId:
    """Return a job that was submitted, ran, logged and ended so long ago."""
    job_id = scenes.ended(engine, verdict, id=JobId(int=new_job_id().int - (age // timedelta(milliseconds=1) << 80)))
    scenes.change(engine, job_id, created_at=func.now() - age, finished_at=func.now() - age)
    scenes.log(engine, job_id, "done")
    return job_id


def history_of(engine: Engine, job_id: JobId) -> list[int]:
    """Return how many rows of each kind there are of the job."""
    with engine.connect() as connection:
        counts = (select(func.count()).select_from(one).where(one.c.job_id == job_id) for one in HISTORY)
        return [connection.scalar(query) or 0 for query in counts]


def is_in(engine: Engine, partition: str, job_id: JobId) -> bool:
    with engine.connect() as connection:
        query = text(f"SELECT count(*) FROM {partition} WHERE job_id = :id")
        return bool(connection.scalar(query, {"id": job_id}))


# Made ahead


def test_the_months_to_come_are_made_before_they_begin(engine: Engine) -> None:
    there = parts(engine)

    rolled = partitions.roll(engine, MONTH)

    made = [set(parts(engine, history)) - {f"{history.name}_first"} for history in HISTORY]
    assert there == ["events_first"]
    assert {len(names) for names in made} <= {AHEAD, AHEAD - 1}  # the first one holds this month, and perhaps the next
    assert rolled.made == sum(map(len, made))
    assert partitions.roll(engine, MONTH) == (0, 0)


def test_there_is_no_gap_and_no_overlap_between_the_months(engine: Engine) -> None:
    partitions.roll(engine, MONTH)

    found = do(engine, partitions.parts_of, events)

    assert [part.begins for part in found[1:]] == [part.ends for part in found[:-1]]


def test_a_job_of_a_month_to_come_goes_where_its_month_is(engine: Engine) -> None:
    partitions.roll(engine, MONTH)
    last = do(engine, partitions.parts_of, events)[-1]

    job_id = scenes.ended(engine, success(), id=JobId(int=last.begins.int + 1))

    assert is_in(engine, last.name, job_id)
    scenes.assert_sound(engine, job_id)


@pytest.mark.parametrize("number", [1, 2**127, 2**128 - 1], ids=["before all", "no UUIDv7", "after all"])
def test_a_job_whose_id_has_no_month_is_kept_like_any_other(engine: Engine, number: int) -> None:
    partitions.roll(engine, MONTH)

    job_id = scenes.ended(engine, success(), id=JobId(int=number))

    scenes.assert_sound(engine, job_id)


def test_a_month_of_which_rows_came_too_early_stays_in_the_default_partition(engine: Engine) -> None:
    now = datetime.now(UTC)
    name, begins, _ = month_of(now - now.replace(day=15) - timedelta(days=61))  # the month after next
    early = scenes.ended(engine, success(), id=JobId(int=begins.int + 1))

    partitions.roll(engine, MONTH)

    made = [{name.removeprefix(history.name) for name in parts(engine, history)} for history in (job_logs, events)]
    assert made[0] - made[1] == {f"_{name}"}
    assert is_in(engine, "events_default", early)
    scenes.assert_sound(engine, early)


def test_a_partition_is_made_while_somebody_writes(engine: Engine) -> None:
    with engine.connect() as busy:
        row = {"job_id": new_job_id(), "seq": 1, "at": func.now(), "name": "accept", "state": "queued", "attempt": 0}
        busy.execute(insert(events).values(row))

        made = do(engine, partitions.make_ahead, events)
        busy.commit()

    assert made >= AHEAD - 1


# Dropped


def test_a_month_whose_jobs_are_gone_is_dropped(engine: Engine) -> None:
    given_a_month(engine)
    gone = aged(engine, success())
    young = scenes.ended(engine, success())

    assert len(do(engine, upkeep.prune, keep=MONTH)) == 1
    assert history_of(engine, gone) == [1, 3, 1]
    assert partitions.roll(engine, MONTH).dropped == len(HISTORY)

    assert history_of(engine, gone) == [0, 0, 0]
    assert f"events_{month_of(LONG_AGO)[0]}" not in parts(engine)
    scenes.assert_sound(engine, young)


def test_a_month_is_not_dropped_before_its_last_job_is_old_enough(engine: Engine) -> None:
    given_a_month(engine)

    assert partitions.roll(engine, LONG_AGO).dropped == 0
    assert partitions.roll(engine, LONG_AGO - timedelta(days=33)).dropped == len(HISTORY)


def _waiting(engine: Engine) -> JobId:
    job_id = scenes.scheduled(engine, id=JobId(int=month_of(LONG_AGO)[1].int + 7))
    scenes.log(engine, job_id, "soon")
    return job_id


def _running(engine: Engine) -> JobId:
    job_id = scenes.queued(engine, id=JobId(int=month_of(LONG_AGO)[1].int + 7))
    scenes.start(engine, job_id)
    return job_id


KEPT: dict[str, Callable[[Engine], JobId]] = {
    "a dead letter that nobody closed": lambda engine: aged(engine, failure()),
    "a job that waits": _waiting,
    "a job that runs": _running,
}


@pytest.mark.parametrize("scene", KEPT.values(), ids=KEPT)
def test_what_is_left_of_a_month_keeps_its_history(engine: Engine, scene: Callable[[Engine], JobId]) -> None:
    given_a_month(engine)
    kept, gone = scene(engine), aged(engine, success())
    before = history_of(engine, kept)
    do(engine, upkeep.prune, keep=MONTH)

    assert partitions.roll(engine, MONTH).dropped == len(HISTORY)

    assert (history_of(engine, kept), history_of(engine, gone)) == (before, [0, 0, 0])
    assert is_in(engine, "events_default", kept)
    scenes.assert_sound(engine, kept)


def test_what_was_left_of_a_month_lives_on_and_is_pruned_with_its_history(engine: Engine) -> None:
    given_a_month(engine)
    letter = aged(engine, failure())
    partitions.roll(engine, MONTH)

    do(engine, control.retry, letter)
    (attempt,) = scenes.start(engine, letter)
    scenes.end(engine, attempt, success())
    scenes.assert_sound(engine, letter)
    scenes.change(engine, letter, finished_at=func.now() - LONG_AGO)
    assert len(do(engine, upkeep.prune, keep=MONTH)) == 1

    assert history_of(engine, letter) == [0, 0, 0]


def test_a_month_of_which_too_much_is_left_waits(engine: Engine) -> None:
    given_a_month(engine)
    _, begins, _ = month_of(LONG_AGO)
    rows = [
        {"id": JobId(int=begins.int + n), "task": "a.b", "queue": "q", "state": "queued", "payload": {}}
        for n in range(MOVED + 1)
    ]
    do(engine, lambda c: c.execute(insert(jobs).values(created_at=func.now(), run_at=func.now()), rows))

    assert partitions.roll(engine, MONTH).dropped == 0

    do(engine, lambda c: c.execute(delete(jobs).where(jobs.c.id == rows[0]["id"])))
    assert partitions.roll(engine, MONTH).dropped == len(HISTORY)


def test_nothing_is_locked_for_a_month_of_which_too_much_is_left(engine: Engine) -> None:
    given_a_month(engine)
    (part, *_) = do(engine, partitions.parts_of, events)
    row = {
        "task": "a.b",
        "queue": "q",
        "state": "queued",
        "payload": {},
        "created_at": func.now(),
        "run_at": func.now(),
    }
    rows = [{"id": JobId(int=part.begins.int + n)} for n in range(MOVED + 1)]
    do(engine, lambda c: c.execute(insert(jobs).values(row), rows))
    with engine.connect() as reader:
        reader.execute(select(func.count()).select_from(events))

        assert do(engine, partitions.drop, events, part) is False


def test_history_goes_with_its_job_where_jobs_are_kept_for_less_than_a_month(engine: Engine) -> None:
    given_a_month(engine)
    gone = aged(engine, success())

    assert len(do(engine, upkeep.prune, keep=timedelta(days=27))) == 1

    assert history_of(engine, gone) == [0, 0, 0]


def test_a_key_in_force_outlives_the_job_and_its_month(engine: Engine) -> None:
    given_a_month(engine)
    request = submission(new_job(id=JobId(int=month_of(LONG_AGO)[1].int + 1)), key="k")
    (first,) = scenes.submit(engine, request)
    do(engine, lambda c: c.execute(delete(jobs)))

    assert partitions.roll(engine, MONTH).dropped == len(HISTORY)

    (again,) = scenes.submit(engine, request)
    assert isinstance(first, Acceptance)
    assert again == Acceptance(first.receipts, replayed=True)


# Nobody waits for it, and it waits for nobody for long


@pytest.mark.parametrize("history", HISTORY, ids=[one.name for one in HISTORY])
def test_a_month_that_somebody_reads_is_left_for_the_next_round(engine: Engine, history: Table) -> None:
    given_a_month(engine)
    with engine.connect() as reader:
        reader.execute(select(func.count()).select_from(history))

        assert partitions.roll(engine, MONTH).dropped == len(HISTORY) - 1
        reader.rollback()

    assert partitions.roll(engine, MONTH).dropped == 1


def test_a_month_is_dropped_however_busy_the_workers_are(engine: Engine) -> None:
    given_a_month(engine)
    done = threading.Event()

    def work() -> int:
        ended = 0
        while not done.is_set():
            scenes.ended(engine, success())
            ended += 1
        return ended

    with ThreadPoolExecutor(6) as pool:
        workers = [pool.submit(work) for _ in range(6)]
        try:
            dropped = [partitions.roll(engine, MONTH).dropped for _ in range(5)]
        finally:
            done.set()
        ended = [worker.result(timeout=60) for worker in workers]

    assert sum(dropped) == len(HISTORY)
    assert min(ended) > 0


def test_two_that_roll_at_once_do_it_once(engine: Engine) -> None:
    given_a_month(engine)
    with engine.connect() as one:
        assert partitions.make_ahead(one, events) > 0

        assert partitions.roll(engine, MONTH) == (0, 0)
        one.rollback()

    with ThreadPoolExecutor(4) as pool:
        rolled = list(pool.map(lambda _: partitions.roll(engine, MONTH), range(4)))
    partitions.roll(engine, MONTH)

    assert sum(one.dropped for one in rolled) <= len(HISTORY)
    assert not any(month_of(LONG_AGO)[0] in name for history in HISTORY for name in parts(engine, history))


def test_a_job_that_comes_late_into_a_month_that_is_dropped_keeps_its_history(engine: Engine) -> None:
    given_a_month(engine)
    late = JobId(int=month_of(LONG_AGO)[1].int + 1)
    (part, *_) = do(engine, partitions.parts_of, events)
    with ThreadPoolExecutor(1) as pool, engine.connect() as clock_is_wrong:
        insert_by_hand(clock_is_wrong, late)
        dropping = pool.submit(do, engine, _patient_drop, part)
        scenes.wait_for_lock(engine)
        clock_is_wrong.commit()
        assert dropping.result(timeout=30) is True

    assert is_in(engine, "events_default", late)
    scenes.assert_sound(engine, late)


def _patient_drop(connection: Connection, part: Part) -> bool:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partitions, "_PATIENCE", "20s")
        return partitions.drop(connection, events, part)


def insert_by_hand(connection: Connection, job_id: JobId) -> None:
    now = func.now()
    values = {
        "task": "a.b",
        "queue": "q",
        "state": JobState.QUEUED.value,
        "payload": {},
        "created_at": now,
        "run_at": now,
    }
    connection.execute(insert(jobs).values(id=job_id, **values))
    row = {"job_id": job_id, "seq": 1, "at": now, "name": "accept", "state": "queued", "attempt": 0}
    connection.execute(insert(events).values(row))
