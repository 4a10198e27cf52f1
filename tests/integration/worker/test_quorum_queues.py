"""Jobs over RabbitMQ's quorum queues: API, worker and beat as they are started, told so by one setting."""

from pathlib import Path
from typing import Any

import pytest
from amqp.exceptions import PreconditionFailed
from kombu import Connection, Producer

from deploy.stack.rabbitmq import RabbitServer
from tasks.topology import EXCHANGE, declare, depth
from tests.services import plain
from tests.services.processes import Processes, all_processes
from tests.services.stack import eventually

pytestmark = pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)


def submit(running: Processes, task: str, count: int = 1, **payload: Any) -> None:
    jobs = [{"task": task, "payload": payload, "tags": ["here"], "priority": number % 10} for number in range(count)]
    running.client.post("/jobs/batch", json={"jobs": jobs}).raise_for_status()


def states(running: Processes) -> set[str]:
    jobs = running.client.get("/jobs", params={"tag": "here", "limit": 200}).json()["jobs"]
    return {job["state"] for job in jobs}


def all_succeeded(running: Processes) -> None:
    eventually(lambda: states(running) == {"succeeded"}, 60, "every job has succeeded")


def queues_of(server: RabbitServer, broker_url: str) -> dict[str, str]:
    """Return the kind of each queue that lasts."""
    found = plain.get(f"{server.management_url}queues/{broker_url.rpartition('/')[2]}", trust_env=False).json()
    return {queue["name"]: queue["type"] for queue in found if queue["durable"]}


def test_jobs_run_are_retried_and_given_back_and_strangers_are_buried(
    tmp_path: Path, database_url: str, broker_url: str, rabbit_server: RabbitServer
) -> None:
    with all_processes(tmp_path, database_url, broker_url, PENSTOCK_RABBITMQ_QUEUES="quorum") as running:
        submit(running, "demo.noop", 60)
        submit(running, "demo.flaky", failures=1)
        all_succeeded(running)

        submit(running, "demo.sleep", 4, seconds=2)  # both slots are taken for so long that doorbells are given back
        submit(running, "demo.noop", 40)
        all_succeeded(running)

        with Connection(broker_url) as connection:
            Producer(connection.default_channel).publish(b"no doorbell", exchange=EXCHANGE.name, routing_key="default")
            eventually(lambda: depth(connection, "default.dead"), 30, "the stranger is buried")
        submit(running, "demo.noop", 5)
        all_succeeded(running)

    names = [f"{queue}{end}" for queue in ("default", "critical", "bulk") for end in ("", ".dead")]
    assert queues_of(rabbit_server, broker_url) == dict.fromkeys(names, "quorum")


def test_queues_of_the_other_kind_are_refused_and_stay_as_they_are(broker_url: str) -> None:
    with Connection(broker_url) as connection:
        declare(connection, ["default"])

        with pytest.raises(PreconditionFailed):
            declare(connection, ["default"], "quorum")
