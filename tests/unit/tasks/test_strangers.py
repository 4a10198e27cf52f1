"""Tasks that other libraries register must not keep ours from starting."""

from typing import Any

import pytest
from celery import Celery

from jobs.errors import ConfigurationError
from tasks import app as tasks_app
from tasks.job_task import JobTask
from tasks.settings import TaskSettings


def app_with_an_impossible_task(module: str) -> Celery:
    app = Celery("strangers", task_cls=JobTask, set_as_current=False)

    def impossible(*args: Any) -> None:
        """Take whatever comes."""

    impossible.__module__ = module
    app.task(impossible, name="strange.task", shared=False)
    return app


def test_a_strangers_impossible_task_is_left_out() -> None:
    app = app_with_an_impossible_task("some.library")

    catalogue = tasks_app.load_catalogue(app, TaskSettings())

    assert "strange.task" not in {spec.name for spec in catalogue}
    assert "demo.echo" in {spec.name for spec in catalogue}


def test_our_own_impossible_task_keeps_the_process_from_starting() -> None:
    app = app_with_an_impossible_task("tasks.library.demo")

    with pytest.raises(ConfigurationError, match=r"strange\.task"):
        tasks_app.load_catalogue(app, TaskSettings())
