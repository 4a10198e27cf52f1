"""A part goes away while jobs run, and comes back."""

from collections.abc import Iterator
from typing import Any

import pytest
from kombu.exceptions import ChannelError
from redis import Redis

from deploy.stack.postgres import PostgresServer
from jobs.state import JobState
from tests.conformance.plant import QUEUES, Crew, Plant
from tests.services.local_processes import Worker

ONCE = {(JobState.SUCCEEDED, 1)}


@pytest.fixture
def broker_back(plant: Plant) -> Iterator[None]:
    """Whatever the test did, the broker runs again afterwards."""
    yield
    plant.broker.container.server.start()


@pytest.fixture(scope="module")
def crew(plant: Plant) -> Iterator[Crew]:
    with plant.crew(worker_concurrency=4) as crew:
        yield crew


def test_jobs_end_and_are_settled_while_the_broker_is_away_and_new_ones_run_when_it_is_back(
    plant: Plant, crew: Crew, broker_back: None
) -> None:
    ending, dying, asked, limited = (
        plant.submit("probe.naps", crew.lane, seconds=1.5),
        plant.submit("probe.crash_once", crew.lane, ring=False),
        plant.submit("demo.sleep", crew.lane, seconds=60),
        plant.submit("probe.soft", crew.lane, seconds=60),
    )
    plant.running(ending)
    plant.running(asked)
    plant.running(limited)

    plant.broker.kill()
    plant.cancel(asked)
    meanwhile = [plant.submit("demo.echo", crew.lane, message=str(number)) for number in range(5)]
    settled = [plant.finished(job_id, seconds=8)["state"] for job_id in (ending, asked, limited)]

    assert settled == [JobState.SUCCEEDED, JobState.CANCELLED, JobState.FAILED]
    assert {plant.job(job_id)["state"] for job_id in meanwhile} == {JobState.QUEUED}
    plant.broker.container.server.start()
    assert {(row["state"], row["attempt"]) for row in plant.all_finished(meanwhile)} == ONCE
    assert plant.finished(dying)["state"] == JobState.SUCCEEDED


def test_a_broker_that_dies_under_load_costs_no_job_and_repeats_none(
    plant: Plant, crew: Crew, worker: Worker, broker_back: None
) -> None:
    ids = [plant.submit("probe.naps", crew.lane, seconds=0.02) for _ in range(200)]
    plant.until(lambda: plant.job(ids[20])["state"] == JobState.SUCCEEDED, "the load is being worked on")

    plant.broker.kill()
    plant.broker.container.server.start()
    more = plant.echoes(50, crew.lane)

    assert {(row["state"], row["attempt"]) for row in plant.all_finished(ids + more)} == ONCE
    assert plant.finished(plant.submit("demo.echo", message="the other worker lives too"))


def test_a_wiped_broker_is_filled_again(plant: Plant, crew: Crew) -> None:
    busy = [plant.submit("probe.naps", crew.lane, seconds=2) for _ in range(4)]
    for job_id in busy:
        plant.running(job_id)
    waiting = plant.echoes(100, crew.lane)

    _wipe(plant)
    rows = plant.all_finished([*busy, *waiting], seconds=30)

    assert {(row["state"], row["attempt"]) for row in rows} == ONCE
    assert plant.finished(plant.submit("demo.echo", crew.lane, message="after"))["state"] == JobState.SUCCEEDED


def test_a_worker_with_full_hands_lives_through_the_loss_of_its_queue(plant: Plant, crew: Crew) -> None:
    pid = crew.worker.pid
    busy = [plant.submit("probe.naps", crew.lane, seconds=4) for _ in range(4)]
    for job_id in busy:
        plant.running(job_id)
    waiting = plant.echoes(10, crew.lane)
    plant.until(lambda: _listeners(plant, crew.lane) == 0, "the worker has stopped listening", seconds=4)

    _wipe(plant)
    rows = plant.all_finished([*busy, *waiting], seconds=30)

    assert {row["state"] for row in rows} == {JobState.SUCCEEDED}
    assert crew.worker.pid == pid


def test_postgresql_may_restart_while_jobs_run(plant: Plant, crew: Crew, postgres_server: PostgresServer) -> None:
    ids = [plant.submit("probe.naps", crew.lane, seconds=0.1) for _ in range(100)]
    plant.until(lambda: plant.job(ids[5])["state"] == JobState.SUCCEEDED, "the load is being worked on")

    plant.restart(postgres_server)
    rows = plant.all_finished(ids)

    assert {row["state"] for row in rows} == {JobState.SUCCEEDED}
    accepted = plant.ask(
        "SELECT job_id FROM attempts WHERE job_id = ANY(:ids) AND outcome = 'succeeded' GROUP BY 1 HAVING count(*) > 1",
        ids=ids,
    )
    assert accepted == []


def test_a_worker_that_starts_without_a_broker_waits_for_it(plant: Plant, broker_back: None) -> None:
    lane = plant.lane()
    plant.broker.kill()
    job_id = plant.submit("demo.echo", lane, message="early")

    early = plant.worker(queue=lane, wait=False, start_wait_seconds=60)
    plant.until(lambda: "start_waits" in early.logs(), "the worker says that it waits")
    plant.broker.container.server.start()

    assert plant.finished(job_id)["state"] == JobState.SUCCEEDED
    plant.dismiss(early)


def test_a_worker_that_starts_without_postgresql_waits_for_it(plant: Plant, postgres_server: PostgresServer) -> None:
    lane = plant.lane()
    job_id = plant.submit("demo.echo", lane, message="early")

    postgres_server.stop()
    try:
        early = plant.worker(queue=lane, wait=False, start_wait_seconds=60)
        pid = early.pid
        plant.until(lambda: "start_waits" in early.logs(), "the worker says that it waits")
    finally:
        plant.restart(postgres_server)

    assert plant.finished(job_id)["state"] == JobState.SUCCEEDED
    assert early.pid == pid
    plant.dismiss(early)


def test_a_worker_that_waits_for_postgresql_can_be_told_to_stop(plant: Plant, postgres_server: PostgresServer) -> None:
    postgres_server.stop()
    try:
        early = plant.worker(queue=plant.lane(), wait=False, start_wait_seconds=60)
        plant.until(lambda: "start_waits" in early.logs(), "the worker says that it waits")

        early.stop()
    finally:
        plant.restart(postgres_server)

    assert early.container.exit_code == 0


def _listeners(plant: Plant, queue: str) -> int:
    """Return how many consumers the broker counts for a queue; Redis counts none."""
    if plant.broker_url.startswith("redis"):
        return 0
    channel: Any
    with plant.connection() as connection, connection.channel() as channel:
        return int(channel.queue_declare(queue=queue, passive=True).consumer_count)


def _wipe(plant: Plant) -> None:
    """Take everything away that the broker holds."""
    if plant.broker_url.startswith("redis"):
        with Redis.from_url(plant.broker_url) as client:
            client.flushall()
        return
    for name in (*QUEUES, *(f"{queue}.dead" for queue in QUEUES)):
        channel: Any
        with plant.connection() as connection, connection.channel() as channel:
            try:
                channel.queue_delete(name)
            except ChannelError:
                continue
