"""A Redis or Valkey whose memory is full takes nothing any more; workers live through that, and so do their jobs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import Engine

from jobs.state import JobState
from tests.conformance.plant import Plant
from tests.services.local_processes import Broker, ServerFace


@pytest.fixture
def plant(broker_url: str, database_url: str, engine: Engine, tmp_path: Path, valkey_server: object) -> Iterator[Plant]:
    """A plant of this test's own on Valkey, with a beat."""
    made = Plant(Broker(ServerFace(valkey_server, broker_url)), broker_url, database_url, engine, tmp_path)  # type: ignore[arg-type]  # the server of the fixture
    made.beat()
    yield made
    made.close()


@contextmanager
def full(url: str) -> Iterator[None]:
    """Leave the broker without memory for the block."""
    with Redis.from_url(url) as client:
        client.config_set("maxmemory", "1")
        try:
            yield
        finally:
            client.config_set("maxmemory", "0")


def test_a_worker_beside_a_broker_without_memory_ends_its_jobs_and_runs_what_waits_there(
    plant: Plant, broker_url: str
) -> None:
    worker = plant.worker(worker_concurrency=2)
    pid = worker.pid
    short, long = plant.submit("probe.naps", seconds=4), plant.submit("probe.naps", seconds=7)
    plant.running(short)
    plant.running(long)
    waiting = [plant.submit("demo.echo", message=str(number)) for number in range(5)]
    plant.until(lambda: plant.depth("default") == 5, "the worker has given back what it cannot run yet")

    with full(broker_url):
        assert {row["state"] for row in plant.all_finished([short, long, *waiting])} == {JobState.SUCCEEDED}

    assert worker.pid == pid


def test_a_worker_that_comes_back_to_a_broker_without_memory_waits_for_it(plant: Plant, broker_url: str) -> None:
    worker = plant.worker()
    pid = worker.pid

    with full(broker_url):
        _cut_off(broker_url)
        plant.until(lambda: "OutOfMemoryError" in worker.logs(), "the worker is refused")
        job_id = plant.submit("demo.echo", message="early")

    assert plant.finished(job_id)["state"] == JobState.SUCCEEDED
    assert worker.pid == pid
    assert "Unrecoverable" not in worker.logs()


def test_a_worker_that_starts_beside_a_broker_without_memory_waits_for_it(plant: Plant, broker_url: str) -> None:
    with full(broker_url):
        early = plant.worker(wait=False)
        plant.until(lambda: "start_waits" in early.logs(), "the worker waits")
        job_id = plant.submit("demo.echo", message="early")

    assert plant.finished(job_id)["state"] == JobState.SUCCEEDED


def _cut_off(url: str) -> None:
    """Close every connection to the broker."""
    with Redis.from_url(url) as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
