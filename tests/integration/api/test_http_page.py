"""The page of HTTP examples is true: each example is sent, in order, and answered as shown."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.services import plain
from tests.services.api import Api, Person, running_api
from tests.unit.api.pages import DOCS

EXAMPLE = re.compile(r"```http\n(.*?)\n```", re.DOTALL)
METHODS = {"get", "post", "put", "patch", "delete"}


def send(person: Person, asked: str, job_id: str) -> httpx.Response:
    """Send the request of an example."""
    head, _, body = asked.partition("\n\n")
    line, *headers = head.splitlines()
    method, path = line.split()
    named = dict(header.split(": ", 1) for header in headers)
    content = body.encode() if body else None
    return person.http.request(
        method,
        path.replace("ID", job_id),
        content=content,
        headers=named | ({"content-type": "application/json"} if body else {}),
    )


def holds(found: Any, shown: Any) -> bool:
    """Tell whether `found` has all that is shown; it may have more."""
    if isinstance(shown, dict):
        return isinstance(found, dict) and all(name in found and holds(found[name], shown[name]) for name in shown)
    if isinstance(shown, list):
        return isinstance(found, list) and len(found) == len(shown) and all(map(holds, found, shown))
    return bool(found == shown)


@pytest.fixture
def person(database_url: str, broker_url: str) -> Iterator[Person]:
    """Somebody alone: queues and workers are shared by all tenants, and the page shows them empty."""
    with running_api(database_url, broker_url) as api:
        yield api.person()


def test_every_example_is_answered_as_shown(person: Person) -> None:
    job_id = ""
    examples = EXAMPLE.findall((DOCS / "http.md").read_text())
    assert len(examples) >= 15
    for example in examples:
        asked, status, shown = re.fullmatch(r"(.*)\n\n(\d{3})\n(.*)", example, re.DOTALL).groups()  # type: ignore[union-attr]  # or the page is wrong
        answer = send(person, asked, job_id)

        assert answer.status_code == int(status), (asked, answer.text)
        assert holds(answer.json(), json.loads(shown)), (asked, answer.text)
        job_id = job_id or answer.json().get("id", "")


def test_every_operation_is_on_the_page(api: Api) -> None:
    page = (DOCS / "http.md").read_text()
    for path, operations in plain.get(f"{api.url}/openapi.json").json()["paths"].items():
        for method in METHODS & operations.keys():
            written = (
                path.replace("{job_id}", "ID").replace("queues/{name}", "queues/default").replace("{name}", "nightly")
            )
            assert re.search(rf"{method.upper()} {re.escape(written)}\b|`{re.escape(written)}`", page), (method, path)


def test_every_field_of_a_job_is_on_the_page(api: Api) -> None:
    page = (DOCS / "http.md").read_text()
    document = plain.get(f"{api.url}/openapi.json").json()["components"]["schemas"]
    for name in ("JobRequest", "Retry", "TimeLimit", "ScheduleRequest", "CatchUpRequest", "BackfillRequest"):
        for field in document[name]["properties"]:
            assert re.search(rf"\b{field}\b", page), field
