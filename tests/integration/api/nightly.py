"""A schedule for the tests of the API, and short ways to write it."""

from typing import Any, Final

import httpx

from jobs.database import transaction
from jobs.planning import editing
from jobs.planning.model import Definition
from tests.services.api import Person

PATH: Final = "/api/v1/schedules/nightly"
NIGHTLY: Final[dict[str, Any]] = {"cron": "0 3 * * *", "zone": "Europe/Berlin", "task": "demo.noop"}
EVERYTHING: Final[dict[str, Any]] = {
    "cron": "*/5 8-18 * * MON-FRI",
    "zone": "America/New_York",
    "on_gap": "skip",
    "on_fold": "both",
    "jitter_seconds": 30,
    "missed_after_seconds": 300,
    "start_at": "2026-01-01T00:00:00Z",
    "end_at": "2036-01-01T00:00:00Z",
    "task": "demo.echo",
    "payload": {"message": "hello"},
    "queue": "bulk",
    "priority": 9,
    "expires_after_seconds": 600,
    "unique_key": "report",
    "tags": ["a", "b"],
    "retry": {"max_retries": 7},
    "time_limit": {"soft_seconds": 5, "hard_seconds": 9},
    "catch_up": {"mode": "all", "window_seconds": 3600, "limit": 12},
    "overlap": "wait",
}


def put(person: Person, body: dict[str, Any] | None = None, path: str = PATH, **headers: str) -> httpx.Response:
    """Write a schedule whole: the nightly one, unless `body` is another."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return person.http.put(path, json=NIGHTLY if body is None else body, headers=named)


def patch(person: Person, body: Any, **headers: str) -> httpx.Response:
    """Change the nightly schedule."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return person.http.patch(PATH, json=body, headers=named)


def of_code(person: Person, name: str = "nightly") -> None:
    """Have code declare a schedule for this person."""
    declared = Definition(cron="0 3 * * *", task="demo.noop", queue="default")
    with transaction(person.engine) as connection:
        origin = f"beat_schedule[{name!r}]"
        editing.declare(connection, {name: (lambda *_: declared, origin)}, tenant=person.tenant)
