"""What Celery's own picture of the world, which Flower shows, makes of what a worker tells of an attempt."""

from typing import Any

import pytest
from celery.events.event import Event
from celery.events.state import State

from tests.factories import attempt
from worker.steps import introduce


class Monitor:
    """Flower's memory, and who tells it."""

    def __init__(self) -> None:
        self.memory = State()
        self._clock = 0

    def tell(self, kind: str, **fields: Any) -> None:
        """Hear an event of a worker."""
        self._clock += 1
        about = {"hostname": "me", "clock": self._clock, "pid": 1, "utcoffset": 0, "local_received": self._clock}
        self.memory.event(Event(kind, **fields, **about))

    def state_of(self, job_id: object) -> str:
        """Return what it thinks of a job."""
        return str(self.memory.tasks[str(job_id)].state)


@pytest.mark.parametrize(
    ("kind", "before"), [("task-failed", "FAILURE"), ("task-started", "STARTED"), ("task-retried", "RETRY")]
)
def test_a_further_attempt_is_seen_whatever_was_thought_of_the_one_before(kind: str, before: str) -> None:
    monitor = Monitor()
    first = attempt(number=1, error_count=0)
    introduce(monitor.tell, first)
    monitor.tell(kind, uuid=str(first.job_id))
    thought = monitor.state_of(first.job_id)

    introduce(monitor.tell, attempt(job_id=first.job_id, number=2, error_count=0))

    assert (thought, monitor.state_of(first.job_id)) == (before, "RECEIVED")


def test_a_retry_after_an_error_is_told_once() -> None:
    told: list[str] = []

    introduce(lambda kind, **_: told.append(kind), attempt(number=2, error_count=1))

    assert told == ["task-received"]


def test_a_job_is_told_by_its_task_and_id_and_never_by_its_payload() -> None:
    monitor = Monitor()
    one = attempt(payload='{"secret": "canary"}', task="billing.charge")

    introduce(monitor.tell, one)

    seen = monitor.memory.tasks[str(one.job_id)]
    assert (seen.name, seen.uuid) == ("billing.charge", str(one.job_id))
    assert "canary" not in str(seen.as_dict())
