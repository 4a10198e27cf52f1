"""One attempt from its payload to its ending, in the process that runs it; no database is needed for that."""

from typing import NoReturn

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from celery.app.trace import build_tracer

import tests.worker_tasks as probes
from jobs.errors import AttemptFenced, JobCancelled
from tasks.app import build, load_catalogue
from tasks.context import RetryIn, current_job
from tasks.settings import TaskSettings
from tests.factories import attempt
from worker import pool_process
from worker.execution import How, describe, run_attempt

SETTINGS = TaskSettings(task_modules=("tests.worker_tasks",))
LIMIT = 2000


def _no_database() -> NoReturn:
    raise AssertionError("a task that asks for nothing needs no connection")


@pytest.fixture(autouse=True)
def process() -> pool_process.PoolProcess:
    app = build(SETTINGS)
    catalogue = load_catalogue(app, SETTINGS)
    for name, task in app.tasks.items():
        task.__trace__ = build_tracer(name, task, app.loader, "unit", app=app)  # as the pool does in each child
    here = pool_process.PoolProcess(app=app, catalogue=catalogue, result_limit_bytes=LIMIT, open_database=_no_database)
    pool_process.enter(here)
    return here


def test_a_result_is_json() -> None:
    ending = run_attempt(attempt(task="demo.echo", payload='{"message": "hello"}'))

    assert (ending.how, ending.result, ending.failure) == (How.SUCCEEDED, '"hello"', None)


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("plain", How.ERRED),
        ("memory", How.ERRED),
        ("exit", How.ERRED),
        ("interrupt", How.ERRED),
        ("recursion", How.ERRED),
        ("permanent", How.GAVE_UP),
        ("reject", How.GAVE_UP),
        ("ignore", How.SUCCEEDED),
    ],
)
def test_an_error_becomes_an_ending(kind: str, how: How) -> None:
    assert run_attempt(attempt(task="probe.raises", payload=f'{{"kind": "{kind}"}}')).how is how


@pytest.mark.parametrize(
    ("error", "how"),
    [
        (JobCancelled(), How.CANCELLED),
        (AttemptFenced(), How.FENCED),
        (SoftTimeLimitExceeded(), How.TIMED_OUT),
        (RetryIn(None, None, None), How.ASKED_RETRY),
    ],
)
def test_what_a_task_is_told_becomes_an_ending(error: Exception, how: How, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(probes.ERRORS, "plain", error)

    assert run_attempt(attempt(task="probe.raises", payload='{"kind": "plain"}')).how is how


@pytest.mark.parametrize(
    ("task", "payload"),
    [("demo.echo", "{}"), ("demo.echo", '{"message": 1}'), ("no.such", "{}")],
)
def test_a_job_that_cannot_be_run_gives_up(task: str, payload: str) -> None:
    assert run_attempt(attempt(task=task, payload=payload)).how is How.GAVE_UP


def test_an_attempt_leaves_nothing_behind() -> None:
    run_attempt(attempt(task="probe.raises", payload='{"kind": "plain"}'))

    assert current_job.get() is None


def test_an_error_is_described_without_what_cannot_be_stored() -> None:
    failure = describe(ValueError("a\0b \ud800"))

    assert (failure.type, failure.message) == ("ValueError", "a\ufffdb \ufffd")


class _OddError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("even this fails")


def test_an_error_that_cannot_say_what_it_is_still_ends_its_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(probes.ERRORS, "plain", _OddError())

    assert run_attempt(attempt(task="probe.raises", payload='{"kind": "plain"}')).how is How.ERRED
