"""What every problem must look like."""

from typing import Any

import httpx

MEMBERS = {"type", "title", "status", "detail", "instance", "request_id"}


def problem(answer: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    """Return the problem, which is whole, of this kind, and says what the answer's headers say."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body.keys() >= MEMBERS
    assert body["type"] == f"/problems/{slug}", body
    assert body["status"] == status
    assert body["instance"] == answer.request.url.path
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["title"]
    assert body["detail"]
    if status in {429, 503}:
        assert int(answer.headers["retry-after"]) >= 1
    if status == 401:
        assert answer.headers["www-authenticate"] == "Bearer"
    return body


def fields(body: dict[str, Any]) -> list[str]:
    """Return the names of the fields that the problem finds fault with."""
    return [error["field"] for error in body["errors"]]
