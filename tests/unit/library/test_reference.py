"""The reference page of the tasks that ship is complete."""

import inspect
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from tasks.library import demo, email_send, http_request
from tasks.library.mail import MailReceipt
from tasks.library.outbound import HttpAnswer
from tasks.library.settings import HttpSettings, SmtpSettings

PAGE = Path(__file__).parents[3].joinpath("docs/reference/tasks.md").read_text()
TASKS = [
    http_request.request, email_send.send, demo.crash, demo.echo, demo.fail, demo.flaky, demo.noop, demo.progress,
    demo.sleep, demo.typed,
]  # fmt: skip


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_each_task_and_each_of_its_fields_is_on_the_page(task: Any) -> None:
    assert f"`{task.name}`" in PAGE
    for field in inspect.signature(task.run).parameters:
        assert f"`{field}`" in PAGE


@pytest.mark.parametrize("settings", [HttpSettings, SmtpSettings])
def test_each_setting_is_on_the_page(settings: type[HttpSettings | SmtpSettings]) -> None:
    for field in settings.model_fields:
        assert f"`{settings.model_config['env_prefix']}{field}`".upper() in PAGE


@pytest.mark.parametrize("result", [HttpAnswer, MailReceipt])
def test_each_field_of_a_result_is_on_the_page(result: type[BaseModel]) -> None:
    for field in result.model_fields:
        assert f"`{field}`" in PAGE


@pytest.mark.parametrize(
    ("task", "policy"),
    [
        (http_request.request, "Policy: {} retries, base {} s, cap {} s, soft time limit {} s, hard {} s."),
        (email_send.send, "Policy: {} retries, base {} s, cap {} s, soft time limit {} s, hard {} s."),
        (demo.flaky, "{} retries, base {} s, cap {} s"),
    ],
)
def test_the_policies_on_the_page_are_the_policies_in_force(task: Any, policy: str) -> None:
    figures = (
        task.max_retries, task.retry_backoff, task.retry_backoff_max, task.soft_time_limit, task.time_limit,
    )  # fmt: skip

    assert policy.format(*figures) in PAGE
