"""Two transitions of one job at the same moment, on two connections: never two winners.

The first has done its work and not committed yet when the second begins. The second either passes the row by or waits
for it; then the first commits, or takes everything back.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from typing import Final, NamedTuple

import pytest
from sqlalchemy import Connection, Engine, func, select, text, update

from jobs import attempts as life
from jobs import control, upkeep
from jobs.database import transaction
from jobs.errors import NotFound, StaleTransition
from jobs.model import JobId, Settlement, Verdict
from jobs.state import JobState
from jobs.tables import jobs
from tests.factories import failure, release, rescue, retry, success
from tests.integration.jobs import scenes

Scene = Callable[[Engine], JobId]
Move = Callable[[Connection, JobId], bool]
"""Tries to move the job and tells whether it did."""


def start(connection: Connection, job_id: JobId) -> bool:
    return bool(life.start(connection, [job_id], worker="worker"))


def extend(connection: Connection, job_id: JobId) -> bool:
    """Extend, and tell whether the lease grew: a row that is locked is passed over, and its attempt still ours."""
    before = lease_of(connection, job_id)
    life.extend(connection, [(job_id, 1)])
    return lease_of(connection, job_id) != before


def lease_of(connection: Connection, job_id: JobId) -> datetime | None:
    return connection.scalar(select(jobs.c.lease_expires_at).where(jobs.c.id == job_id))


def finish(verdict: Verdict) -> Move:
    return lambda connection, job_id: bool(life.finish(connection, [Settlement(job_id, 1, verdict)]))


def ask(action: Callable[[Connection, JobId], object], connection: Connection, job_id: JobId) -> bool:
    """Do what a person asked for; False: it was refused, or could only be noted."""
    try:
        return action(connection, job_id) is not JobState.RUNNING
    except (StaleTransition, NotFound):
        return False


def by_upkeep(step: Callable[[Connection], object], connection: Connection, _: JobId) -> bool:
    return bool(step(connection))


cancel, redrive, close = (partial(ask, action) for action in (control.cancel, control.retry, control.close))
rescue_lost, release_due, expire, ring, ring_anew = (
    partial(by_upkeep, step)
    for step in (
        upkeep.rescue_lost,
        upkeep.release_due,
        upkeep.expire,
        partial(upkeep.claim_unrung, queue="default"),
        partial(upkeep.claim_stranded, queue="default", after=timedelta(0)),
    )
)


def queued(engine: Engine) -> JobId:
    return scenes.queued(engine)


def unrung(engine: Engine) -> JobId:
    return scenes.ended(engine, release())


def running(engine: Engine) -> JobId:
    return scenes.running(engine).job_id


def lost(engine: Engine) -> JobId:
    return scenes.lost(engine).job_id


def failed(engine: Engine) -> JobId:
    return scenes.ended(engine, failure())


def due(engine: Engine) -> JobId:
    return scenes.ended(engine, retry(seconds=0))


def outdated(engine: Engine) -> JobId:
    job_id = scenes.queued(engine)
    scenes.change(engine, job_id, expires_at=func.now())
    return job_id


class Pair(NamedTuple):
    """Two moves of which one at the most may succeed."""

    scene: Scene
    first: Move
    second: Move


PAIRS: Final = {
    "start, start": Pair(queued, start, start),
    "start, cancel": Pair(queued, start, cancel),
    "cancel, start": Pair(queued, cancel, start),
    "expire, start": Pair(outdated, expire, start),
    "expire, cancel": Pair(outdated, expire, cancel),
    "cancel, expire": Pair(outdated, cancel, expire),
    "expire, expire": Pair(outdated, expire, expire),
    "success, failure": Pair(running, finish(success()), finish(failure())),
    "failure, success": Pair(running, finish(failure()), finish(success())),
    "retry, release": Pair(running, finish(retry()), finish(release())),
    "success, success": Pair(running, finish(success()), finish(success())),
    "success, rescue": Pair(lost, finish(success()), rescue_lost),
    "rescue, success": Pair(lost, rescue_lost, finish(success())),
    "release, rescue": Pair(lost, finish(release()), rescue_lost),
    "rescue by the worker, rescue by upkeep": Pair(lost, finish(rescue()), rescue_lost),
    "rescue by upkeep, rescue by the worker": Pair(lost, rescue_lost, finish(rescue())),
    "rescue, rescue": Pair(lost, rescue_lost, rescue_lost),
    "extend, rescue": Pair(lost, extend, rescue_lost),
    "rescue, extend": Pair(lost, rescue_lost, extend),
    "success, extend": Pair(running, finish(success()), extend),
    "release due, release due": Pair(due, release_due, release_due),
    "release due, redrive": Pair(due, release_due, redrive),
    "redrive, release due": Pair(due, redrive, release_due),
    "cancel, release due": Pair(due, cancel, release_due),
    "redrive, redrive": Pair(failed, redrive, redrive),
    "redrive, close": Pair(failed, redrive, close),
    "close, close": Pair(failed, close, close),
    "ring, ring": Pair(unrung, ring, ring),
    "ring anew, ring anew": Pair(queued, ring_anew, ring_anew),
    "start, ring": Pair(unrung, start, ring),
    "start, ring anew": Pair(queued, start, ring_anew),
    "cancel, ring": Pair(unrung, cancel, ring),
}


def alone(engine: Engine, move: Move, job_id: JobId) -> bool:
    with transaction(engine) as connection:
        return move(connection, job_id)


def wait_until_stuck_or_done(engine: Engine, second: Future[bool]) -> None:
    """Return once the second move has either been through or met the first one's lock."""
    while not second.done():
        try:
            scenes.wait_for_lock(engine, seconds=0)
        except TimeoutError:
            continue
        return


def meet(engine: Engine, job_id: JobId, first: Move, second: Move, *, commit: bool) -> tuple[bool, bool]:
    """Let `second` begin while `first` is done and not committed, and tell which of them succeeded."""
    with engine.connect() as connection, ThreadPoolExecutor(1) as pool:
        won = first(connection, job_id)
        other = pool.submit(alone, engine, second, job_id)
        wait_until_stuck_or_done(engine, other)
        connection.commit() if commit else connection.rollback()
        return won, other.result(30)


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_the_second_of_a_pair_changes_nothing(engine: Engine, pair: Pair) -> None:
    job_id = pair.scene(engine)

    assert meet(engine, job_id, pair.first, pair.second, commit=True) == (True, False)
    scenes.assert_sound(engine, job_id)


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_the_second_of_a_pair_has_its_way_when_the_first_takes_everything_back(engine: Engine, pair: Pair) -> None:
    job_id = pair.scene(engine)
    had = len(scenes.told(engine, job_id))

    _, second = meet(engine, job_id, pair.first, pair.second, commit=False)

    # One that passes locked rows by comes back later, as upkeep does. An outdated job starts at no time.
    assert second or alone(engine, pair.second, job_id) or pair == PAIRS["expire, start"]
    assert len(scenes.told(engine, job_id)) <= had + 1
    scenes.assert_sound(engine, job_id)


def test_a_cancel_waits_for_a_success_and_comes_too_late(engine: Engine) -> None:
    job_id = running(engine)

    assert meet(engine, job_id, finish(success()), cancel, commit=True) == (True, False)
    assert scenes.told(engine, job_id) == ["accept", "start", "succeed"]
    assert scenes.row(engine, job_id)["cancel_requested_at"] is None


def test_a_cancel_waits_for_a_retry_and_cancels_what_waits_then(engine: Engine) -> None:
    job_id = running(engine)

    assert meet(engine, job_id, finish(retry()), cancel, commit=True) == (True, True)
    assert scenes.told(engine, job_id) == ["accept", "start", "retry", "cancel"]
    scenes.assert_sound(engine, job_id)


def test_a_retry_waits_for_a_cancel_and_becomes_one(engine: Engine) -> None:
    job_id = running(engine)

    assert meet(engine, job_id, cancel, finish(retry()), commit=True) == (False, True)
    assert scenes.state(engine, job_id) is JobState.CANCELLED
    assert scenes.told(engine, job_id) == ["accept", "start", "cancel_requested", "cancel"]
    assert scenes.row(engine, job_id)["error_count"] == 0
    scenes.assert_sound(engine, job_id)


def test_a_cancel_waits_for_the_release_of_what_is_due_and_cancels_what_is_queued_then(engine: Engine) -> None:
    job_id = due(engine)

    assert meet(engine, job_id, release_due, cancel, commit=True) == (True, True)
    assert scenes.state(engine, job_id) is JobState.CANCELLED
    assert not alone(engine, start, job_id), "the doorbell that was rung finds nothing"
    scenes.assert_sound(engine, job_id)


def test_a_job_that_started_in_time_is_not_expired(engine: Engine) -> None:
    job_id = scenes.queued(engine)

    def start_in_the_last_moment(connection: Connection, job_id: JobId) -> bool:
        begun = start(connection, job_id)
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(expires_at=func.clock_timestamp()))
        return begun

    assert meet(engine, job_id, start_in_the_last_moment, expire, commit=True) == (True, False)
    assert not alone(engine, expire, job_id)
    assert scenes.state(engine, job_id) is JobState.RUNNING


@pytest.mark.parametrize("move", [start, rescue_lost, release_due, expire, ring, ring_anew])
def test_whoever_takes_many_jobs_waits_for_none_of_them(engine: Engine, move: Move) -> None:
    job_id = queued(engine)
    with engine.connect() as holder, engine.connect() as connection:
        holder.execute(text("SELECT FROM jobs FOR UPDATE"))
        connection.execute(text("SET LOCAL lock_timeout = '1s'"))

        assert not move(connection, job_id)


def test_two_cancels_are_one(engine: Engine) -> None:
    job_id = queued(engine)

    assert meet(engine, job_id, cancel, cancel, commit=True) == (True, True)
    assert scenes.told(engine, job_id) == ["accept", "cancel"]


def test_two_refused_ends_at_once_are_told_once(engine: Engine) -> None:
    job_id = lost(engine)
    alone(engine, rescue_lost, job_id)

    assert meet(engine, job_id, finish(success()), finish(success()), commit=True) == (False, False)
    assert scenes.told(engine, job_id).count("fenced") == 1
    scenes.assert_sound(engine, job_id)
