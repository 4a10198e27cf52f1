"""Small histories in which a sound build does nothing wrong, and each build with a planted bug does."""

import threading
from datetime import timedelta
from typing import Final

from jobs import upkeep
from jobs.database import transaction
from jobs.retry import after_crash
from tests.chaos.ledger import Call
from tests.chaos.stage import Stage, plot
from tests.factories import BROKEN, failure, new_job, release, retry
from tests.integration.jobs import scenes

QUEUE: Final = "default"


@plot()
def a_job_that_errs_once(stage: Stage) -> None:
    """The first attempt errs, the second does the work."""
    (job,) = stage.submit()
    stage.carry_out(job, retry(seconds=0))
    stage.release_due()
    stage.carry_out(job)


@plot()
def two_doorbells(stage: Stage) -> None:
    """Two workers hear of the same job at the same time."""
    (job,) = stage.submit()
    begun = [attempt for worker in ("one", "two") if (attempt := stage.start(job, worker=worker))]
    for attempt in begun:
        with stage.running(attempt):
            stage.release_due()
        stage.finish(attempt)


@plot(drained=True)
def a_doorbell_in_a_paused_queue(stage: Stage) -> None:
    """A worker hears of a job while its queue is paused, and again when it goes on."""
    (job,) = stage.submit(new_job(queue=QUEUE))
    stage.govern(Call.PAUSE, QUEUE)
    stage.carry_out(job)
    stage.govern(Call.RESUME, QUEUE)
    stage.carry_out(job)


@plot()
def a_doorbell_after_the_cancel(stage: Stage) -> None:
    """A job is cancelled while its doorbell is on the way."""
    (job,) = stage.submit()
    stage.operate(Call.CANCEL, job)
    stage.carry_out(job)


@plot()
def a_cancel_while_it_runs(stage: Stage) -> None:
    """The attempt errs after someone asked for its end."""
    (job,) = stage.submit()
    attempt = stage.start(job)
    assert attempt
    with stage.running(attempt):
        stage.operate(Call.CANCEL, job)
    stage.finish(attempt, retry(seconds=0))
    stage.release_due()
    stage.carry_out(job)


@plot(lease_seconds=0)
def a_worker_that_wakes_late(stage: Stage) -> None:
    """A paused worker wakes when its job has been given to another, and reports success first."""
    (job,) = stage.submit()
    old = stage.start(job)
    assert old
    with stage.running(old):
        stage.rescue()
        new = stage.start(job, worker="worker-2")
        assert new
    with stage.running(new):
        stage.finish(old)
    stage.finish(new)


@plot(lease_seconds=0)
def a_worker_that_wakes_before_the_next(stage: Stage) -> None:
    """A paused worker wakes when its job waits in the queue again, and reports success."""
    (job,) = stage.submit()
    old = stage.start(job)
    assert old
    with stage.running(old):
        stage.rescue()
    stage.finish(old)
    stage.carry_out(job)


@plot()
def an_end_that_is_reported_twice(stage: Stage) -> None:
    """A worker that did not hear whether its report was taken reports again."""
    (job,) = stage.submit()
    attempt = stage.start(job)
    assert attempt
    with stage.running(attempt):
        pass
    for _ in range(2):
        stage.finish(attempt)


@plot(lease_seconds=0)
def two_rescuers(stage: Stage) -> None:
    """Two beats rescue the same job: the second looks before the first has committed."""
    (job,) = stage.submit()
    lost = stage.start(job)
    assert lost
    second = threading.Thread(target=stage.rescue)
    with transaction(stage.engine) as first:
        upkeep.rescue_lost(first)
        second.start()
        while second.is_alive() and not _waits(stage):
            second.join(0.02)
    second.join()
    stage.carry_out(job)


def _waits(stage: Stage) -> bool:
    try:
        scenes.wait_for_lock(stage.engine, seconds=0)
    except TimeoutError:
        return False
    return True


@plot()
def a_beat_beside_a_living_worker(stage: Stage) -> None:
    """Upkeep looks for lost attempts while one runs whose lease is fresh."""
    (job,) = stage.submit()
    attempt = stage.start(job)
    assert attempt
    with stage.running(attempt):
        stage.rescue()
        stage.carry_out(job)
    stage.finish(attempt)


@plot()
def a_poisonous_job(stage: Stage) -> None:
    """Every attempt takes its process down, and the worker says so."""
    (job,) = stage.submit()
    for _ in range(5):
        attempt = stage.start(job)
        if attempt:
            stage.finish(attempt, after_crash(attempt, BROKEN))


@plot()
def a_dead_letter_and_a_beat(stage: Stage) -> None:
    """A job fails for good, and upkeep makes its round."""
    (job,) = stage.submit()
    stage.carry_out(job, failure())
    stage.release_due()
    stage.carry_out(job)


@plot()
def a_dead_letter_sent_to_work_again(stage: Stage) -> None:
    """An operator sends a failed job to work again."""
    (job,) = stage.submit()
    stage.carry_out(job, failure())
    stage.operate(Call.RETRY, job)
    stage.carry_out(job)


@plot()
def a_job_for_later(stage: Stage) -> None:
    """Upkeep makes its round an hour before a job is due."""
    (job,) = stage.submit(new_job(delay=timedelta(hours=1)))
    stage.release_due()
    stage.carry_out(job)


@plot()
def a_job_that_nobody_wants_any_more(stage: Stage) -> None:
    """A worker hears of a job whose time is over, before upkeep does."""
    expires_at = scenes.database_now(stage.engine) + timedelta(seconds=0.5)
    (job,) = stage.submit(new_job(expires_at=expires_at))
    while scenes.database_now(stage.engine) <= expires_at:
        continue
    stage.carry_out(job)
    stage.expire()


@plot()
def a_worker_that_stops(stage: Stage) -> None:
    """A stopping worker gives a job back, and another carries it out."""
    (job,) = stage.submit()
    stage.carry_out(job, release())
    stage.carry_out(job)


@plot()
def one_request_twice(stage: Stage) -> None:
    """A client repeats a request with the same idempotency key."""
    for _ in range(2):
        stage.submit(new_job(payload='{"n": 1}'), key="once")


@plot()
def two_requests_with_one_key(stage: Stage) -> None:
    """A client uses an idempotency key for another request."""
    for n in (1, 2):
        stage.submit(new_job(payload=f'{{"n": {n}}}'), key="once")


@plot()
def two_jobs_with_one_unique_key(stage: Stage) -> None:
    """A second job is asked for while an unfinished one holds the unique key."""
    told = [job for _ in range(2) for job in stage.submit(new_job(unique_key="one"))]
    begun = [attempt for job in told if (attempt := stage.start(job))]
    for attempt in begun:
        with stage.running(attempt):
            pass
        stage.finish(attempt)


@plot()
def a_batch_of_which_one_is_refused(stage: Stage) -> None:
    """The second job of a batch asks for a unique key that is taken."""
    stage.submit(new_job(unique_key="taken"))
    stage.submit(new_job(), new_job(unique_key="taken"))
