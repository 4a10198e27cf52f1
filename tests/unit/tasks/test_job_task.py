"""What a person who writes tasks may call, and what is refused because a job is more than a message."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import Ignore

from tasks.app import build
from tasks.context import RetryIn, current_job
from tasks.job_task import NotSubmittedHere
from tasks.settings import TaskSettings


@pytest.fixture
def task() -> Any:
    app: Celery = build(TaskSettings())
    make: Any = app.task(name="test.task", bind=True, shared=False)

    def body(self: Any, size: int) -> int:
        return size

    return make(body)


def test_a_task_can_be_called_like_a_function(task: Any) -> None:
    assert task(3) == 3


@pytest.mark.parametrize("call", ["delay", "apply_async"])
def test_a_message_without_a_job_cannot_be_published(call: str, task: Any) -> None:
    with pytest.raises(NotSubmittedHere, match="POST /api/v1/jobs"):
        getattr(task, call)(3)


def test_there_is_no_job_outside_of_an_attempt(task: Any) -> None:
    assert current_job.get() is None
    with pytest.raises(RuntimeError, match="outside of a job"):
        _ = task.job


def test_retry_carries_the_wait_the_cause_and_the_limit(task: Any) -> None:
    cause = ValueError("why")

    with pytest.raises(RetryIn) as asked:
        task.retry(exc=cause, countdown=7, max_retries=2)

    request = asked.value
    assert (request.exc, request.delay, request.most_retries) == (cause, timedelta(seconds=7), 2)
    again = request.__reduce__()[0](*request.__reduce__()[1])
    assert (again.delay, again.most_retries) == (timedelta(seconds=7), 2)


@pytest.mark.parametrize("zone", [UTC, None])
def test_retry_may_name_an_instant_and_never_one_that_has_passed(zone: Any, task: Any) -> None:
    later = task.retry(eta=datetime.now(UTC).replace(tzinfo=zone) + timedelta(hours=1), throw=False)
    past = task.retry(eta=datetime(2020, 1, 1, tzinfo=UTC), throw=False)

    assert timedelta(minutes=59) < later.delay <= timedelta(hours=1)
    assert past.delay == timedelta(0)


@pytest.mark.parametrize("change", [{"args": (1,)}, {"kwargs": {"size": 2}}, {"queue": "bulk"}])
def test_a_retry_keeps_the_payload_and_the_options(change: dict[str, Any], task: Any) -> None:
    with pytest.raises(TypeError, match="keeps its payload"):
        task.retry(**change)


def test_a_running_task_cannot_be_replaced(task: Any) -> None:
    with pytest.raises(Ignore):
        task.replace(None)
