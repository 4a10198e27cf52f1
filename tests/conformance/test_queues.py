"""Which job a worker runs, and when."""

import json
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kombu import Queue

from jobs.model import Doorbell, NewJob, new_job_id
from jobs.state import JobState
from tests.conformance.plant import Plant
from tests.services.local_processes import Worker

PREFETCH = 5
"""Doorbells that a worker of one slot holds at most: the four it was sent, and the job that it runs."""
REDELIVERIES = 25
"""A quorum queue of RabbitMQ 4 puts a message aside after 20."""


def _noop(lane: str, **facts: object) -> NewJob:
    return replace(NewJob(task="demo.noop", payload="{}", queue=lane), **facts)  # type: ignore[arg-type]  # facts of a job


def _says(lane: str, word: str, log: Path, **facts: object) -> NewJob:
    return _noop(lane, task="probe.says", payload=json.dumps({"word": word, "log": str(log)}), **facts)


def test_a_filled_queue_is_run_in_the_order_of_priority(plant: Plant, tmp_path: Path) -> None:
    lane = plant.lane()
    log = tmp_path / "order"
    new = [_says(lane, str(number % 10), log, priority=number % 10) for number in range(60)]
    random.Random(7).shuffle(new)
    plant.accept(*new)

    late = plant.worker(queue=lane, worker_concurrency=1)
    plant.all_finished(job.id for job in new)
    plant.dismiss(late)

    ran = log.read_text().split()
    assert len(ran) == 60
    assert ran == sorted(ran, reverse=True)


def test_an_urgent_job_passes_a_backlog_within_the_prefetch_bound(plant: Plant) -> None:
    with plant.crew(worker_concurrency=1) as crew:
        backlog = [
            NewJob(task="probe.naps", payload='{"seconds": 0.05}', queue=crew.lane, priority=1) for _ in range(60)
        ]
        plant.accept(*backlog)
        plant.until(lambda: plant.job(backlog[5].id)["attempt"], "the backlog is being worked on")
        urgent = _noop(crew.lane, priority=9)

        plant.accept(urgent)
        rows = plant.all_finished([urgent.id, *(job.id for job in backlog)])

        accepted = next(row["created_at"] for row in rows if row["id"] == urgent.id)
        started = next(row["started_at"] for row in rows if row["id"] == urgent.id)
        passed_by = [row for row in rows if accepted < row["started_at"] < started]
        assert len(passed_by) <= PREFETCH


def test_a_worker_serves_its_own_queues_only(plant: Plant, worker: Worker) -> None:
    with plant.crew(worker_concurrency=1) as crew:
        other = plant.lane()
        ours, theirs, common = (plant.submit("demo.noop", queue) for queue in (crew.lane, other, "default"))

        plant.all_finished([ours, common])

        assert plant.job(theirs)["state"] == JobState.QUEUED
        assert str(plant.attempts(ours)[0]["worker"]).startswith(crew.worker.name())
        late = plant.worker(queue=f"{crew.lane},{other}")
        assert plant.finished(theirs)["state"] == JobState.SUCCEEDED
        plant.dismiss(late)


def test_a_delayed_job_starts_when_it_is_due(plant: Plant, worker: Worker) -> None:
    job_id = plant.accept(_noop("default", delay=timedelta(seconds=1.5)))[0]

    job = plant.finished(job_id)

    late = (job["started_at"] - job["run_at"]).total_seconds()
    assert 0 <= late < 2
    assert plant.events(job_id) == ["accept", "enqueue", "start", "succeed"]


def test_a_job_that_expired_while_it_waited_never_starts(plant: Plant) -> None:
    lane = plant.lane()
    job_id = plant.accept(_noop(lane, expires_at=datetime.now(UTC) + timedelta(seconds=0.5)))[0]

    plant.reaches(job_id, JobState.EXPIRED)
    late = plant.worker(queue=lane)
    plant.finished(plant.submit("demo.noop", lane))
    plant.dismiss(late)

    assert plant.attempts(job_id) == []


def test_an_expired_job_never_starts_even_before_upkeep_has_seen_it(plant: Plant) -> None:
    with plant.crew(worker_concurrency=1) as crew, plant.no_upkeep():
        before = plant.submit("probe.naps", crew.lane, seconds=1)
        plant.running(before)
        doomed = plant.accept(_noop(crew.lane, expires_at=datetime.now(UTC) + timedelta(seconds=0.3)))[0]

        plant.finished(plant.submit("demo.noop", crew.lane))

        assert plant.attempts(doomed) == []


def test_doorbells_that_mean_nothing_do_nothing(plant: Plant) -> None:
    with plant.crew(worker_concurrency=2) as crew:
        running = plant.submit("probe.naps", crew.lane, seconds=2)
        finished = plant.submit("demo.noop", crew.lane)
        plant.running(running)
        plant.finished(finished)
        bells = [
            Doorbell(one, "demo.noop", crew.lane, 5) for one in (finished, running, new_job_id()) for _ in range(3)
        ]
        doubled = plant.submit("demo.echo", crew.lane, ring=False, message="once")

        plant.ring([*bells, *[Doorbell(doubled, "demo.echo", crew.lane, 5)] * 3])
        plant.all_finished([running, doubled, plant.submit("demo.noop", crew.lane)])

        assert plant.outcomes(finished) == plant.outcomes(running) == plant.outcomes(doubled) == ["succeeded"]
        assert plant.depth(crew.lane) == 0


def test_a_worker_whose_slots_are_taken_leaves_the_doorbells_to_others(plant: Plant) -> None:
    with plant.crew(worker_concurrency=1) as crew, plant.no_upkeep():
        long = plant.submit("probe.naps", crew.lane, seconds=120)
        plant.running(long)

        short = plant.echoes(10, crew.lane)
        plant.until(lambda: plant.depth(crew.lane) == len(short), "the full worker gives back what it cannot run", 20)
        idle = plant.worker(queue=crew.lane)
        plant.all_finished(short, seconds=30)
        plant.dismiss(idle)

        assert plant.job(long)["state"] == JobState.RUNNING
        plant.cancel(long)
        plant.finished(plant.submit("demo.noop", crew.lane))
        assert plant.job(long)["state"] == JobState.CANCELLED


def test_a_doorbell_that_came_back_more_often_than_any_broker_allows_starts_its_job_once(plant: Plant) -> None:
    lane = plant.lane()
    with plant.no_upkeep():
        job_id = plant.submit("demo.echo", lane, message="once")
        for _ in range(REDELIVERIES):
            with plant.connection() as connection, connection.channel() as channel:
                message = plant.until(lambda: Queue(lane)(channel).get(), "the doorbell is there")
                message.requeue()
        late = plant.worker(queue=lane)
        job = plant.finished(job_id)
        plant.dismiss(late)

    assert (job["state"], job["result"], plant.outcomes(job_id)) == (JobState.SUCCEEDED, "once", ["succeeded"])


def test_a_queue_whose_jobs_all_wait_for_something_slow_holds_up_no_other(plant: Plant) -> None:
    with plant.crew(worker_concurrency=2) as slow, plant.crew(worker_concurrency=2) as quick:
        waiting = [plant.submit("probe.naps", slow.lane, seconds=3) for _ in range(40)]
        plant.running(waiting[0])

        rows = plant.all_finished(plant.echoes(30, quick.lane), seconds=20)

        assert {(row["state"], row["attempt"]) for row in rows} == {(JobState.SUCCEEDED, 1)}
        assert plant.job(waiting[-1])["state"] == JobState.QUEUED
        for job_id in waiting:
            plant.cancel(job_id)
