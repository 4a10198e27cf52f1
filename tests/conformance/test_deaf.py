"""A worker that is connected and starts nothing while jobs wait connects anew; one that has nothing to do does not."""

from collections.abc import Iterator
from typing import Final

import pytest
from celery import Celery

from deploy.stack.ports import LOOPBACK, free_port
from jobs.model import Doorbell, JobId
from jobs.state import JobState
from tests.conformance.plant import Crew, Plant
from tests.services import plain
from tests.services.proxy import Proxy

QUIET_SECONDS: Final = 5
"""How long a worker is given to be wrongly called deaf."""
AMQP_HEARTBEAT: Final = b"\x08\x00\x00\x00\x00\x00\x00\xce"
"""A whole frame: type 8, channel 0, no payload (AMQP 0-9-1, 4.2.7)."""


@pytest.fixture
def proxy(plant: Plant) -> Iterator[Proxy]:
    """A proxy between the broker and whoever is told of it."""
    with Proxy(LOOPBACK, plant.broker.container.server.port) as made:
        yield made


def deafen(proxy: Proxy, plant: Plant) -> None:
    """Let nothing but signs of life come through to those who are connected now."""
    if plant.broker_url.startswith("redis"):
        proxy.mute(b"BRPOP")
    else:
        proxy.mute(keep=AMQP_HEARTBEAT)


def restarts(port: int) -> float:
    """Return how often the worker whose metrics are at `port` connected anew."""
    told = plain.get(f"http://{LOOPBACK}:{port}/metrics", trust_env=False).text
    return float(told.partition("\npenstock_consumer_restarts_total ")[2].partition("\n")[0])


def aged(plant: Plant, job_id: JobId) -> JobId:
    """Have the job have waited for an hour."""
    plant.change("UPDATE jobs SET run_at = now() - interval '1 h' WHERE id = :id", id=job_id)
    return job_id


def rest(plant: Plant, crew: Crew) -> None:
    """Return after a while in which a worker of the crew had a free slot and heard nothing."""
    plant.finished(plant.submit("probe.naps", crew.lane, seconds=QUIET_SECONDS))


def test_a_deaf_worker_connects_anew_and_runs_what_waited(plant: Plant, proxy: Proxy) -> None:
    port, url = free_port(), proxy.through(plant.broker_url)
    with plant.crew(worker_concurrency=2, deaf_seconds=2, broker_url=url, worker_metrics_port=port) as crew:
        running = plant.submit("probe.naps", crew.lane, seconds=15)
        plant.running(running)
        assert restarts(port) == 0

        deafen(proxy, plant)
        rows = plant.all_finished(plant.echoes(20, crew.lane), seconds=60)

        assert {(row["state"], row["attempt"]) for row in rows} == {(JobState.SUCCEEDED, 1)}
        assert restarts(port) >= 1
        assert "worker_deaf" in crew.worker.logs()
        plant.finished(running)
        assert plant.outcomes(running) == ["succeeded"]
        assert plant.finished(plant.submit("demo.echo", crew.lane, message="on"))["state"] == JobState.SUCCEEDED


def test_a_worker_that_hears_and_starts_nothing_while_a_job_waits_connects_anew(plant: Plant) -> None:
    port = free_port()
    with plant.crew(worker_concurrency=2, deaf_seconds=2, worker_metrics_port=port) as crew:
        done = plant.submit("demo.echo", crew.lane, message="done")
        plant.finished(done)
        stale = [Doorbell(done, "demo.echo", crew.lane, plant.job(done)["priority"])]

        with plant.no_upkeep():
            waiting = aged(plant, plant.submit("demo.echo", crew.lane, ring=False, message="the doorbell was lost"))

            def rung_in_vain() -> bool:
                plant.ring(stale)
                return restarts(port) >= 1

            plant.until(rung_in_vain, "the worker connects anew", 60)

        plant.finished(waiting)
        assert plant.outcomes(waiting) == ["succeeded"]
        assert plant.outcomes(done) == ["succeeded"]


def test_jobs_that_are_not_for_a_worker_do_not_make_it_deaf(plant: Plant) -> None:
    with plant.crew(worker_concurrency=2, deaf_seconds=1) as crew, plant.no_upkeep():
        aged(plant, plant.submit("demo.echo", plant.lane(), message="for another queue"))
        early = aged(plant, plant.submit("demo.echo", crew.lane, ring=False, message="not due"))
        plant.change("UPDATE jobs SET state = 'scheduled', rung_at = NULL WHERE id = :id", id=early)

        rest(plant, crew)

        assert "worker_deaf" not in crew.worker.logs()


def test_a_worker_whose_slots_are_taken_is_not_deaf(plant: Plant) -> None:
    with plant.crew(worker_concurrency=1, deaf_seconds=1) as crew:
        long = plant.submit("probe.naps", crew.lane, seconds=QUIET_SECONDS)
        plant.running(long)
        waiting = aged(plant, plant.submit("demo.echo", crew.lane, message="next"))

        plant.all_finished([long, waiting])

        assert "worker_deaf" not in crew.worker.logs()


def test_a_queue_that_an_operator_took_from_a_worker_is_not_taken_back(plant: Plant) -> None:
    taken = plant.lane()
    with plant.crew(worker_concurrency=2, deaf_seconds=1) as crew:
        both = plant.worker(queue=f"{crew.lane},{taken}", worker_concurrency=2, deaf_seconds=1)
        crew.worker.stop()

        with Celery(broker=plant.broker_url) as app:
            replies = app.control.cancel_consumer(taken, reply=True, timeout=5)  # workers of other tests answer too
        waiting = aged(plant, plant.submit("demo.echo", taken, message="nobody listens"))
        rest(plant, crew)
        said = both.logs()
        plant.dismiss(both)

    told = [answer["ok"] for reply in replies for answer in reply.values() if "ok" in answer]
    assert f"no longer consuming from {taken}" in told
    assert plant.job(waiting)["state"] == JobState.QUEUED
    assert "worker_deaf" not in said
