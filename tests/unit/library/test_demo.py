"""What the demo tasks do."""

import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from jobs.errors import JobCancelled, PermanentError
from tasks.context import JobContext
from tasks.library import demo

ID = UUID("018f8f5e-0000-7000-8000-000000000000")


class Log:
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[tuple[str, dict[str, Any]]] = []

    def info(self, event: str, /, **facts: Any) -> None:
        self.said.append((event, facts))

    debug = warning = error = info


class Job:
    """A job in memory: cancelled after so many checks, and keeps its progress."""

    def __init__(self, *, attempt: int = 1, checks: int | None = None) -> None:
        self.id = ID
        self.attempt = attempt
        self.checks = checks
        self.reports: list[tuple[float, float | None, str | None]] = []
        self.log = Log()

    @property
    def fencing_token(self) -> str:
        return str(self.attempt)

    def is_cancelled(self) -> bool:
        return self.checks == 0

    def check(self) -> None:
        if self.checks == 0:
            raise JobCancelled
        if self.checks is not None:
            self.checks -= 1

    def progress(self, done: float, total: float | None = None, note: str | None = None) -> None:
        self.reports.append((done, total, note))


def run(task: Any, job: JobContext, **payload: Any) -> Any:
    """Run the function under the task, as the worker does, with `job` at hand."""
    return task.run.__func__(SimpleNamespace(job=job), **payload)


def test_echo_returns_the_message_itself() -> None:
    assert demo.echo.run(message="hello") == "hello"


def test_noop_returns_nothing() -> None:
    assert demo.noop.run() is None


def test_sleep_takes_its_time_and_returns_it() -> None:
    began = time.monotonic()

    assert run(demo.sleep, Job(), seconds=0.25) == 0.25
    assert time.monotonic() - began >= 0.25


def test_sleep_ends_early_when_the_job_is_cancelled() -> None:
    began = time.monotonic()

    with pytest.raises(JobCancelled):
        run(demo.sleep, Job(checks=1), seconds=60)

    assert time.monotonic() - began < 5


def test_a_cancelled_job_does_not_even_begin_to_sleep() -> None:
    with pytest.raises(JobCancelled):
        run(demo.sleep, Job(checks=0), seconds=0)


def test_flaky_fails_as_often_as_told_and_then_says_which_attempt_it_is() -> None:
    for attempt in (1, 2):
        with pytest.raises(demo.DemoError):
            run(demo.flaky, Job(attempt=attempt), failures=2)

    assert run(demo.flaky, Job(attempt=3), failures=2) == 3


def test_fail_fails_for_good_or_for_now() -> None:
    with pytest.raises(PermanentError):
        demo.fail.run()
    with pytest.raises(demo.DemoError, match="on purpose"):
        demo.fail.run(permanent=False)


def test_crash_kills_its_own_process() -> None:
    program = "from tasks.library import demo; demo.crash.run()"

    ended = subprocess.run([sys.executable, "-c", program], check=False, timeout=60)

    assert ended.returncode == -signal.SIGKILL


def test_progress_reports_each_step() -> None:
    job = Job()

    assert run(demo.progress, job, steps=3, seconds=0.03) == 3
    assert job.log.said == [("step_done", {"step": step}) for step in (1, 2, 3)]
    assert job.reports == [(1, 3, "step 1 of 3"), (2, 3, "step 2 of 3"), (3, 3, "step 3 of 3")]


def test_progress_stops_when_the_job_is_cancelled() -> None:
    job = Job(checks=4)

    with pytest.raises(JobCancelled):
        run(demo.progress, job, steps=100, seconds=1)

    assert 0 < len(job.reports) < 100


def test_typed_shows_the_types_of_its_arguments() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)

    answer = demo.typed.run(id=ID, amount=Decimal("1.10"), at=at, colour=demo.Colour.RED, point=demo.Point(x=1, y=2))

    assert answer.types == {
        "id": "UUID",
        "amount": "Decimal",
        "at": "datetime",
        "colour": "Colour",
        "point": "Point",
    }
    assert answer.model_dump(mode="json")["amount"] == "1.10"
