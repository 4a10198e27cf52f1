"""The signatures of the tasks that ship: names, policy, and which payloads they take."""

import json
from typing import Any

import pytest

from jobs.errors import InvalidPayload
from tasks.app import build
from tasks.catalogue import TaskSpec, describe
from tasks.settings import TaskSettings

NAMES = {
    "demo.crash", "demo.echo", "demo.fail", "demo.flaky", "demo.noop", "demo.progress", "demo.sleep", "demo.typed",
    "email.send", "http.request",
}  # fmt: skip

MAIL = {"to": "ada@example.com", "subject": "s", "text": "t"}


APP = build(TaskSettings())
APP.loader.import_task_module("tasks.library")


def task(name: str) -> Any:
    return APP.tasks[name]


def spec(name: str) -> TaskSpec:
    return describe(task(name), default_queue="default")


def test_importing_the_package_registers_every_task() -> None:
    registered = {name for name in APP.tasks if name.startswith(("demo.", "email.", "http."))}

    assert registered >= NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_signature_makes_json_schemas_and_a_description(name: str) -> None:
    assert spec(name).payload_schema["type"] == "object"
    assert spec(name).payload_schema["additionalProperties"] is False
    assert isinstance(spec(name).result_schema, dict)
    assert spec(name).description.endswith(".")


def test_the_policies_are_celery_options() -> None:
    assert task("http.request").max_retries == 5
    assert (task("http.request").retry_backoff, task("http.request").retry_backoff_max) == (2, 600)
    assert task("http.request").soft_time_limit > 300
    assert (task("demo.flaky").retry_backoff, task("demo.flaky").retry_backoff_max) == (0.2, 2)
    assert task("email.send").max_retries == 8


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("http.request", {"url": "https://example.com/"}),
        ("http.request", {"url": "https://example.com/", "method": "POST", "body": {"a": [1, None]}}),
        ("http.request", {"url": "https://example.com/", "headers": {"X-A": "b c", "x-empty": ""}}),
        ("http.request", {"url": "https://example.com/", "expected_status": 404}),
        ("http.request", {"url": "https://example.com/", "expected_status": [200, 302]}),
        ("email.send", MAIL),
        ("email.send", {**MAIL, "to": ["a@b.example", "c@d.example"], "headers": {"X-Campaign": "spring €"}}),
        ("demo.noop", {}),
        ("demo.fail", {}),
        ("demo.sleep", {"seconds": 0}),
        ("demo.progress", {}),
        (
            "demo.typed",
            {"id": "018f8f5e-0000-7000-8000-000000000000", "amount": "1.10", "at": "2026-01-01T00:00:00Z",
             "colour": "red", "point": {"x": 1, "y": 2}},
        ),
    ],
)  # fmt: skip
def test_a_good_payload_is_taken(name: str, payload: dict[str, Any]) -> None:
    assert spec(name).bind(json.dumps(payload)).keys() == payload.keys()


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("http.request", {}),
        ("http.request", {"url": "http://2130706433/"}),
        ("http.request", {"url": "file:///etc/passwd"}),
        ("http.request", {"url": "https://user:secret@example.com/"}),
        ("http.request", {"url": "https://example.com/", "method": "CONNECT"}),
        ("http.request", {"url": "https://example.com/", "method": "get"}),
        ("http.request", {"url": "https://example.com/", "headers": {"X-A": "b\r\nX-B: c"}}),
        ("http.request", {"url": "https://example.com/", "headers": {"X-A": "b\n"}}),
        ("http.request", {"url": "https://example.com/", "headers": {"X A": "b"}}),
        ("http.request", {"url": "https://example.com/", "headers": {"X-A\n": "b"}}),
        ("http.request", {"url": "https://example.com/", "headers": {"Host": "internal"}}),
        ("http.request", {"url": "https://example.com/", "headers": {"transfer-ENCODING": "chunked"}}),
        ("http.request", {"url": "https://example.com/", "headers": {"X-A": "1", "x-a": "2"}}),
        ("http.request", {"url": "https://example.com/", "expected_status": 99}),
        ("http.request", {"url": "https://example.com/", "expected_status": []}),
        ("http.request", {"url": "https://example.com/", "timeout_seconds": 0}),
        ("http.request", {"url": "https://example.com/", "timeout_seconds": 301}),
        ("http.request", {"url": "https://example.com/", "max_response_bytes": -1}),
        ("email.send", {**MAIL, "to": []}),
        ("email.send", {**MAIL, "to": "Ada <ada@example.com>"}),
        ("email.send", {**MAIL, "cc": ["a@example.com, b@example.com"]}),
        ("email.send", {**MAIL, "subject": "s\r\nBcc: eve@example.com"}),
        ("email.send", {**MAIL, "headers": {"Bcc": "eve@example.com"}}),
        ("email.send", {**MAIL, "headers": {"X-A": "1\n"}}),
        ("email.send", {**MAIL, "headers": {"X-A:": "1"}}),
        ("demo.echo", {"message": 1}),
        ("demo.sleep", {"seconds": -1}),
        ("demo.sleep", {"seconds": float("nan")}),
        ("demo.sleep", {"seconds": 3601}),
        ("demo.flaky", {"failures": -1}),
        ("demo.progress", {"steps": 0}),
    ],
)
def test_a_bad_payload_is_refused_when_the_job_is_submitted(name: str, payload: dict[str, Any]) -> None:
    with pytest.raises(InvalidPayload) as refusal:
        spec(name).check(json.dumps(payload))

    assert refusal.value.errors
