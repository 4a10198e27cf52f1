"""A database or a broker that is given is used, and nothing is started in its place."""

from collections.abc import Callable

import psycopg
import redis

from deploy.stack.rabbitmq import RabbitServer
from tests.services.stack import Stack, gone


def test_a_given_database_and_broker_are_used(
    new_stack: Callable[..., Stack], database_url: str, broker_url: str
) -> None:
    stack = new_stack(DATABASE_URL=database_url, BROKER_URL=broker_url).up()

    job_id = stack.submit("demo.echo", message="hello")

    assert stack.finished(job_id)["result"] == "hello"
    assert (stack.facts["database_url"], stack.facts["broker_url"]) == (database_url, broker_url)
    assert set(stack.facts["pids"]) == {"supervisor", "api", "worker", "beat", "flower"}
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT state FROM jobs WHERE id = %s", [job_id]).fetchone() == ("succeeded",)
    with redis.Redis.from_url(broker_url) as client:
        assert client.dbsize() > 0


def test_another_database_gets_a_key_that_it_knows(
    new_stack: Callable[..., Stack], database_url: str, broker_url: str
) -> None:
    stack = new_stack(BROKER_URL=broker_url).up()
    stack.interrupt()

    stack.environment["DATABASE_URL"] = database_url
    stack.up()

    assert stack.finished(stack.submit("demo.noop"))["state"] == "succeeded"


def test_jobs_run_on_a_private_rabbitmq(new_stack: Callable[..., Stack], rabbit_server: RabbitServer) -> None:
    assert rabbit_server.pid is not None, "RabbitMQ can be had here"
    stack = new_stack(BROKER="rabbitmq", WORKERS="1").up()
    processes = stack.processes()

    assert stack.finished(stack.submit("demo.echo", message="hello"))["result"] == "hello"
    assert "rabbitmq" in stack.facts["pids"]

    seconds = stack.interrupt()
    assert seconds < 5.0
    assert gone(processes, 0.0) == []
