"""A task with Celery's `autoretry_for` is judged by our policy, on the error that it really raised."""

from typing import NoReturn

import pytest
from celery import Celery

from jobs.errors import PermanentError
from tasks.catalogue import describe
from tasks.context import Recorder, recorder
from tasks.job_task import JobTask

app = Celery("autoretry", task_cls=JobTask, set_as_current=False)


@app.task(
    name="tests.listed",
    shared=False,
    autoretry_for=(Exception,),
    retry_backoff=3,
    retry_kwargs={"max_retries": 7},
)
def listed() -> NoReturn:
    raise PermanentError("for good")


@app.task(name="tests.fixed", shared=False, autoretry_for=(Exception,), retry_kwargs={"countdown": 4})
def fixed() -> None:
    """Wait four seconds between attempts."""


def test_the_error_of_a_listed_task_is_kept_as_it_was_raised() -> None:
    app.finalize()
    kept = Recorder()
    token = recorder.set(kept)

    with pytest.raises(PermanentError):
        app.tasks["tests.listed"]()

    recorder.reset(token)
    assert isinstance(kept.error, PermanentError)


def test_retry_kwargs_are_part_of_the_policy() -> None:
    app.finalize()

    policy = describe(app.tasks["tests.listed"], default_queue="default").policy

    assert policy.max_retries == 7
    assert policy.backoff_seconds == 3.0


def test_a_countdown_in_retry_kwargs_is_a_fixed_delay() -> None:
    app.finalize()

    policy = describe(app.tasks["tests.fixed"], default_queue="default").policy

    assert policy.fixed_delay_seconds == 4.0
