"""A job in each state that Flower can show, on a real stack; and the picture of it that the README has.

`python -m tests.acceptance.flower_picture` takes the picture.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import httpx

from tests.services import plain
from tests.services.browser import Browser
from tests.services.stack import Stack, eventually

CANARY: Final = "canary-5f1c70-of-a-payload"
FLOWER_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Shown:
    """A job, and what Flower must say of it."""

    task: str
    job_id: str
    state: str


def asked(stack: Stack, path: str = "") -> httpx.Response:
    """Return Flower's answer to someone who knows the password."""
    facts = stack.facts
    return plain.get(facts["flower_url"] + path, auth=(facts["flower_user"], facts["flower_password"]), timeout=10)


def watched(stack: Stack) -> None:
    """Return when Flower has asked the workers for their events, which it does every five seconds."""

    def has_heard() -> bool:
        job_id = stack.submit("demo.noop")
        stack.finished(job_id)
        try:
            eventually(lambda: asked(stack, f"api/task/info/{job_id}").status_code == 200, 1.0, "Flower has heard")
        except (AssertionError, httpx.TransportError):
            return False
        return True

    eventually(has_heard, FLOWER_SECONDS, "Flower hears what becomes of jobs")


def play(stack: Stack) -> list[Shown]:
    """Submit a job for each state, bring it there, and return them."""
    started = submit(stack, "demo.sleep", seconds=600)
    revoked = submit(stack, "demo.sleep", seconds=600)
    stack_shows = [
        Shown("demo.echo", submit(stack, "demo.echo", message=CANARY), "SUCCESS"),
        Shown("demo.fail", submit(stack, "demo.fail"), "FAILURE"),
        Shown("http.request", submit(stack, "http.request", url=f"http://127.0.0.1:1/{CANARY}"), "FAILURE"),
        Shown("demo.sleep", submit(stack, "demo.sleep", {"time_limit": LIMIT, "retry": NONE}, seconds=60), "FAILURE"),
        Shown("demo.flaky", submit(stack, "demo.flaky", {"retry": LATE}, failures=1), "RETRY"),
        Shown("demo.sleep", started, "STARTED"),
        Shown("demo.sleep", revoked, "REVOKED"),
    ]
    eventually(lambda: stack.job(revoked)["state"] == "running", FLOWER_SECONDS, "the job runs that is to be cancelled")
    assert stack.call("POST", f"/api/v1/jobs/{revoked}/cancel").status_code == 202
    return stack_shows


LIMIT: Final = {"hard_seconds": 1}
NONE: Final = {"max_retries": 0}
LATE: Final = {"backoff_seconds": 3600, "jitter": False, "backoff_max_seconds": 3600}


def submit(stack: Stack, task: str, wishes: dict[str, Any] | None = None, **payload: Any) -> str:
    """Submit a job with wishes of its own and return its id."""
    answer = stack.call("POST", "/api/v1/jobs", {"task": task, "payload": payload, **(wishes or {})})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def on_page(browser: Browser) -> dict[str, tuple[str, str]]:
    """Return task and state of each job on the page of tasks, by its id."""
    return {row[1]: (row[0], row[2]) for row in browser.rows("tasks-table") if len(row) > 2}


def all_shown(browser: Browser, wanted: list[Shown]) -> dict[str, tuple[str, str]]:
    """Open the page of tasks until it shows these, and return what it shows in the end."""
    found: dict[str, tuple[str, str]] = {}

    def are_there() -> bool:
        browser.open("tasks")
        found.clear()
        eventually(lambda: found.update(on_page(browser)) or found, FLOWER_SECONDS, "the page has a table")
        return all(found.get(one.job_id) == (one.task, one.state) for one in wanted)

    with suppress(AssertionError):  # the caller compares, and shows what differs
        eventually(are_there, FLOWER_SECONDS, "Flower shows every job")
    return found
