"""RabbitMQ cuts off a worker that holds a message for too long: that limits no job, and ends no worker."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from kombu import Connection

from jobs.state import JobState
from tasks.topology import depth, transport_options
from tests.chaos.brokers import ChaosRabbit
from tests.services.fixtures import running
from tests.services.insistent import settled
from tests.services.processes import Processes, all_processes
from tests.services.stack import eventually

#: Half an hour, and a look once a minute, unless a node is told otherwise (RabbitMQ, "Consumers").
HASTE: Final = {"consumer_timeout": 2000, "channel_tick_interval": 500}
LONG_SECONDS: Final = 8
WAITING: Final = 10
TAKEN_BACK_SECONDS: Final = 30


class HastyRabbit(ChaosRabbit):
    """A node that waits two seconds for an acknowledgement."""

    def start(self) -> "HastyRabbit":
        super().start()
        orders = [f"application:set_env(rabbit, {name}, {value})" for name, value in HASTE.items()]
        self._control("eval", f"{', '.join(orders)}.")
        return self


@pytest.fixture(scope="module")
def hasty(services_home: Path) -> Iterator[HastyRabbit]:
    with running(HastyRabbit(services_home / "hasty", durable=False)) as server:
        yield server


@pytest.fixture
def site(hasty: HastyRabbit, database_url: str, tmp_path: Path) -> Iterator[Processes]:
    with all_processes(tmp_path, database_url, hasty.url, PENSTOCK_WORKER_CONCURRENCY=2) as made:
        yield made


@contextmanager
def held_still(site: Processes) -> Iterator[None]:
    site.worker.kill("SIGSTOP")
    try:
        yield
    finally:
        site.worker.kill(signal.SIGCONT)


def waiting_in(broker: HastyRabbit) -> int:
    with Connection(broker.url, transport_options=transport_options(broker.url)) as connection:
        return depth(connection, "default")


def test_a_job_may_take_longer_than_the_broker_waits_for_its_message(site: Processes) -> None:
    pid = site.worker.pid
    long = [site.submit("demo.sleep", seconds=LONG_SECONDS) for _ in range(2)]
    behind = [site.submit("demo.noop") for _ in range(WAITING)]

    settled(site.engine, long + behind)

    assert {site.client.get(f"/jobs/{job_id}").json()["attempt"] for job_id in long} == {1}
    assert site.worker.pid == pid


def test_a_worker_whose_messages_were_taken_back_connects_anew_and_runs_them(
    site: Processes, hasty: HastyRabbit
) -> None:
    pid = site.worker.pid
    long = site.submit("demo.sleep", seconds=LONG_SECONDS)
    path = f"/jobs/{long}"
    eventually(lambda: site.client.get(path).json()["state"] == JobState.RUNNING, 30, "the long job runs")

    with held_still(site):
        held = [site.submit("demo.noop") for _ in range(WAITING)]
        eventually(lambda: waiting_in(hasty) >= WAITING, TAKEN_BACK_SECONDS, "the broker has taken back what it gave")
    settled(site.engine, [long, *held])

    assert site.client.get(path).json()["attempt"] == 1
    assert "PRECONDITION_FAILED" in site.worker.logs()
    assert site.worker.pid == pid
