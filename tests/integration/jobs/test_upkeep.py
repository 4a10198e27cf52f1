"""What keeps jobs moving when nobody else does, and that two of it do not do the same work twice."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, func, select, text, update

from jobs import control, upkeep
from jobs.database import transaction
from jobs.model import JobId, Verdict, new_job_id
from jobs.partitions import BEFORE_ALL
from jobs.retry import CRASH_LIMIT
from jobs.state import JobState
from jobs.tables import attempts, events, idempotency_keys, job_logs, jobs
from tests.factories import cancelled, failure, new_job, retry, submission, success
from tests.integration.jobs import scenes
from tests.integration.jobs.chores import MINUTE, do, due, ids, lost, outdated, size, stranded, unrung
from tests.integration.jobs.plans import explain, sent_by

Step = Callable[[Connection, int], Any]


# Release what is due


def test_what_is_due_is_queued(engine: Engine) -> None:
    ready = due(engine)
    again = scenes.ended(engine, retry(seconds=0))
    later = [scenes.scheduled(engine), scenes.ended(engine, retry(seconds=60))]

    assert do(engine, upkeep.release_due) == 2

    for job_id in (ready, again):
        assert scenes.state(engine, job_id) is JobState.QUEUED
        assert scenes.row(engine, job_id)["rung_at"] is None
        assert scenes.told(engine, job_id)[-1] == "enqueue"
        scenes.assert_sound(engine, job_id)
    assert {scenes.state(engine, job_id) for job_id in later} == {JobState.SCHEDULED, JobState.RETRYING}
    assert do(engine, upkeep.release_due) == 0
    assert ids(do(engine, upkeep.claim_unrung, "default")) == {ready, again}


def vars_of(bell: Any) -> tuple[Any, ...]:
    return bell.id, bell.task, bell.queue, bell.priority


def test_the_longest_due_comes_first(engine: Engine) -> None:
    new, old = due(engine), due(engine)
    scenes.change(engine, old, run_at=func.now() - MINUTE)

    assert do(engine, upkeep.release_due, 1) == 1
    assert [scenes.state(engine, job_id) for job_id in (old, new)] == [JobState.QUEUED, JobState.SCHEDULED]
    assert [do(engine, upkeep.release_due, 1) for _ in range(2)] == [1, 0]


def test_the_next_due_is_told_in_seconds(engine: Engine) -> None:
    assert do(engine, upkeep.seconds_until_due) is None
    scenes.scheduled(engine, delay=timedelta(hours=2))
    scenes.ended(engine, retry(seconds=60))
    first = do(engine, upkeep.seconds_until_due)
    due(engine)
    now = do(engine, upkeep.seconds_until_due)

    assert first is not None
    assert 50 < first <= 60
    assert now is not None
    assert now <= 0


# Rescue


def test_a_lost_attempt_is_closed_and_its_job_goes_back_to_its_queue(engine: Engine) -> None:
    job_id = lost(engine, task="a.b", queue="critical", priority=7)
    alive = scenes.running(engine).job_id

    assert size(do(engine, upkeep.rescue_lost)) == 1

    found = scenes.row(engine, job_id)
    assert (found["state"], found["crash_count"], found["error_count"]) == ("queued", 1, 0)
    assert (found["worker"], found["lease_expires_at"], found["finished_at"]) == (None, None, None)
    assert found["rung_at"] is None
    assert found["error"]["type"] == "WorkerLost"
    (attempt,) = scenes.attempts_of(engine, job_id)
    assert (attempt["outcome"], attempt["error"]) == ("lost", found["error"])
    assert attempt["finished_at"] is not None
    assert scenes.told(engine, job_id) == ["accept", "start", "rescue"]
    assert scenes.state(engine, alive) is JobState.RUNNING
    scenes.assert_sound(engine, job_id)
    (bell,) = do(engine, upkeep.claim_unrung, "critical")
    assert vars_of(bell) == (job_id, "a.b", "critical", 7)


def test_the_third_crash_is_a_dead_letter(engine: Engine) -> None:
    job_id = lost(engine)
    for _ in range(CRASH_LIMIT - 1):
        assert size(do(engine, upkeep.rescue_lost)) == 1
        scenes.start(engine, job_id)
        scenes.let_lease_run_out(engine, job_id)

    assert [size(do(engine, upkeep.rescue_lost)) for _ in range(2)] == [1, 0]
    found = scenes.row(engine, job_id)
    assert (found["state"], found["reason"], found["crash_count"]) == ("failed", "crashed", CRASH_LIMIT)
    assert (found["rung_at"], found["worker"]) == (None, None)
    assert found["finished_at"] is not None
    assert scenes.outcomes(engine, job_id) == ["lost"] * CRASH_LIMIT
    assert scenes.told(engine, job_id)[-1] == "fail"
    assert scenes.start(engine, job_id) == []
    scenes.assert_sound(engine, job_id)


@pytest.mark.parametrize("crashes", [0, CRASH_LIMIT - 1])
def test_a_lost_job_that_should_stop_is_cancelled(engine: Engine, crashes: int) -> None:
    job_id = lost(engine)
    scenes.change(engine, job_id, crash_count=crashes)
    do(engine, control.cancel, job_id)

    assert size(do(engine, upkeep.rescue_lost)) == 1
    found = scenes.row(engine, job_id)
    assert (found["state"], found["reason"]) == ("cancelled", None)
    assert found["finished_at"] is not None
    assert scenes.told(engine, job_id)[-2:] == ["cancel_requested", "cancel"]
    scenes.assert_sound(engine, job_id)


# Expire


def test_waiting_jobs_that_nobody_wants_any_more_expire(engine: Engine) -> None:
    gone = [outdated(engine), scenes.scheduled(engine), scenes.ended(engine, retry())]
    for job_id in gone[1:]:
        scenes.change(engine, job_id, expires_at=func.now())
    kept = [scenes.running(engine).job_id, scenes.queued(engine), scenes.ended(engine, success())]
    scenes.change(engine, kept[0], expires_at=func.now())
    scenes.change(engine, kept[1], expires_at=func.now() + MINUTE)
    scenes.change(engine, kept[2], expires_at=func.now())
    before = [scenes.row(engine, job_id) for job_id in kept]

    assert ids(do(engine, upkeep.expire)) == set(gone)

    for job_id in gone:
        found = scenes.row(engine, job_id)
        assert (found["state"], found["rung_at"]) == ("expired", None)
        assert found["finished_at"] is not None
        assert scenes.told(engine, job_id)[-1] == "expire"
        scenes.assert_sound(engine, job_id)
    assert [scenes.row(engine, job_id) for job_id in kept] == before
    assert do(engine, upkeep.expire) == []


# Prune


def old(engine: Engine, verdict: Verdict) -> JobId:
    """Return a job that was made and finished two days ago."""
    age = timedelta(days=2)
    job_id = scenes.ended(engine, verdict, id=JobId(int=new_job_id().int - (age // timedelta(milliseconds=1) << 80)))
    scenes.change(engine, job_id, created_at=func.now() - age, finished_at=func.now() - age)
    return job_id


def test_old_finished_jobs_are_pruned_with_their_history(engine: Engine) -> None:
    for verdict in (success(), cancelled()):
        old(engine, verdict)
    letter = old(engine, failure())
    do(engine, control.close, letter)
    scenes.log(engine, letter, "done")

    assert len(do(engine, upkeep.prune, keep=timedelta(days=1))) == 3
    with engine.connect() as connection:
        for table in (jobs, attempts, events, job_logs):
            assert connection.scalar(select(func.count()).select_from(table)) == 0


def test_what_may_still_be_wanted_is_kept(engine: Engine) -> None:
    finished_now = old(engine, success())
    scenes.change(engine, finished_now, finished_at=func.now())
    kept = [
        old(engine, failure()),
        finished_now,
        scenes.ended(engine, success()),
        scenes.queued(engine),
        scenes.scheduled(engine),
        scenes.running(engine).job_id,
        scenes.ended(engine, retry()),
    ]

    assert do(engine, upkeep.prune, keep=timedelta(days=1)) == []
    for job_id in kept:
        scenes.assert_sound(engine, job_id)


LETTERS = """
    INSERT INTO jobs (id, task, queue, state, reason, payload, created_at, run_at, finished_at)
    SELECT ('0190' || lpad(to_hex(n), 8, '0') || '70008000000000000000')::uuid, 'a.b', 'q', 'failed', 'permanent', '{}',
           at, at, at
    FROM generate_series(1, :count) AS n, (SELECT now() - interval '9 days' AS at) AS day
"""


def test_a_sweep_that_goes_on_does_not_look_again_at_what_it_has_passed(engine: Engine) -> None:
    with transaction(engine) as connection:
        connection.execute(text(LETTERS), {"count": 5000})
    job_id = old(engine, success())

    def pages(after: JobId) -> int:
        with engine.connect() as connection:
            query = sent_by(connection, lambda: upkeep.prune(connection, keep=timedelta(days=1), after=after))
            return explain(connection, query).pages

    assert do(engine, upkeep.prune, keep=timedelta(days=1), limit=1) == [job_id]
    assert pages(BEFORE_ALL) > 50
    assert pages(job_id) < 10


def test_keys_whose_day_is_over_are_pruned(engine: Engine) -> None:
    scenes.submit(engine, *(submission(key=f"k{n}") for n in range(3)))
    do(engine, lambda c: c.execute(update(idempotency_keys).where(idempotency_keys.c.key != "k2").values(
        expires_at=func.now())))  # fmt: skip

    assert [do(engine, upkeep.prune_idempotency_keys, limit) for limit in (1, 10, 10)] == [1, 1, 0]


# Limits, and two at once


def outdate_key(engine: Engine) -> JobId:
    job = new_job()
    scenes.submit(engine, submission(job, key=str(job.id)))
    do(engine, lambda c: c.execute(update(idempotency_keys).values(expires_at=func.now())))
    return job.id


STEPS: dict[str, tuple[Callable[[Engine], JobId], Step]] = {
    "release": (due, upkeep.release_due),
    "rescue": (lost, upkeep.rescue_lost),
    "expire": (outdated, upkeep.expire),
    "ring": (unrung, lambda c, n: upkeep.claim_unrung(c, "default", n)),
    "ring anew": (stranded, lambda c, n: upkeep.claim_stranded(c, "default", n)),
    "prune": (
        lambda engine: old(engine, success()),
        lambda c, n: upkeep.prune(c, keep=timedelta(days=1), limit=n),
    ),
    "prune keys": (outdate_key, upkeep.prune_idempotency_keys),
}


@pytest.mark.parametrize(("scene", "step"), STEPS.values(), ids=STEPS)
def test_a_step_takes_no_more_than_its_limit(engine: Engine, scene: Callable[[Engine], JobId], step: Step) -> None:
    for _ in range(5):
        scene(engine)

    assert [size(do(engine, step, 2)) for _ in range(4)] == [2, 2, 1, 0]


@pytest.mark.parametrize(("scene", "step"), STEPS.values(), ids=STEPS)
def test_two_at_once_share_the_work(engine: Engine, scene: Callable[[Engine], JobId], step: Step) -> None:
    for _ in range(5):
        scene(engine)

    with engine.connect() as one, engine.connect() as two:
        first = step(one, 3)
        second = step(two, 10)
        one.commit()
        two.commit()

    assert (size(first), size(second)) == (3, 2)
    if isinstance(first, list):
        assert not ids(first) & ids(second)
    assert size(do(engine, step, 10)) == 0


@pytest.mark.parametrize(("scene", "step"), STEPS.values(), ids=STEPS)
def test_work_that_was_taken_back_is_found_again(engine: Engine, scene: Callable[[Engine], JobId], step: Step) -> None:
    scene(engine)
    with engine.connect() as connection:
        step(connection, 10)
        connection.rollback()

    assert size(do(engine, step, 10)) == 1
