"""What the processes are told about broker, tasks and queues."""

import pytest
from pydantic import SecretStr, ValidationError

from tasks.settings import LONGEST_NAME, TaskSettings
from tasks.topology import broker_priority, dead_queue, is_redis, job_queue


def test_names_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_QUEUES", "default, critical ,bulk,")
    monkeypatch.setenv("PENSTOCK_TASK_MODULES", "a.tasks,b.tasks")

    settings = TaskSettings()

    assert settings.queues == ("default", "critical", "bulk")
    assert (settings.default_queue, settings.task_modules) == ("default", ("a.tasks", "b.tasks"))


@pytest.mark.parametrize("queues", [(), ("a b",), ("a.dead",), ("x" * (LONGEST_NAME + 1),), ("a", "a"), ("",)])
def test_a_queues_name_is_plain_and_its_own(queues: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError):
        TaskSettings(queues=queues)


@pytest.mark.parametrize("url", ["http://host", "memory://", "sqla+postgresql://host/db"])
def test_a_broker_is_rabbitmq_or_redis(url: str) -> None:
    with pytest.raises(ValidationError, match="must start with"):
        TaskSettings(broker_url=SecretStr(url))


def test_a_brokers_password_is_not_shown() -> None:
    settings = TaskSettings(broker_url=SecretStr("amqp://user:hunter2@host//"))

    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(("url", "redis"), [("redis://h", True), ("rediss://h", True), ("amqp://h", False)])
def test_the_most_urgent_is_first_on_either_broker(url: str, redis: bool) -> None:
    assert is_redis(url) is redis
    assert [broker_priority(url, priority) for priority in (9, 5, 0)] == ([0, 4, 9] if redis else [9, 5, 0])


def test_what_nobody_can_read_has_a_queue_of_its_own() -> None:
    queue = job_queue("critical")

    assert dead_queue("critical").name == "critical.dead"
    assert (queue.queue_arguments or {})["x-dead-letter-routing-key"] == "critical.dead"


def test_a_quorum_queue_has_no_priorities_and_never_buries_what_was_only_given_back() -> None:
    arguments = job_queue("critical", "quorum").queue_arguments or {}

    assert arguments["x-queue-type"] == "quorum"
    assert "x-max-priority" not in arguments, "RabbitMQ before 4.3 refuses it"
    assert arguments["x-delivery-limit"] > 1_000_000
    assert (dead_queue("critical", "quorum").queue_arguments or {})["x-queue-type"] == "quorum"


def test_the_kind_of_queues_is_one_that_rabbitmq_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_RABBITMQ_QUEUES", "mirrored")

    with pytest.raises(ValidationError, match="'classic' or 'quorum'"):
        TaskSettings()
