"""A server that jobs call is in trouble: each attempt says what it met, and what is given up can be sent again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.servers.web import WebServer, running_web_server
from tests.services.insistent import settled
from tests.services.processes import Processes, all_processes
from tests.services.proxy import Proxy
from tests.services.stack import FINAL, eventually

FINISH_SECONDS: Final = 60
TWICE: Final = {"max_retries": 1, "backoff_seconds": 0.05}
SHORT: Final = {"timeout_seconds": 1, "max_response_bytes": 1000}

#: What the server does -> the error of each attempt, and why the job was given up.
TROUBLES: Final[dict[str, tuple[list[str], str]]] = {
    "/status?code=500": (["ServerTroubleError", "ServerTroubleError"], "exhausted"),
    "/silence": (["TooSlowError", "TooSlowError"], "exhausted"),
    "/drip?bytes=500": (["TooSlowError", "TooSlowError"], "exhausted"),
    "/reset": (["BrokenAnswerError", "BrokenAnswerError"], "exhausted"),
    "/nonsense": (["BrokenAnswerError", "BrokenAnswerError"], "exhausted"),
    "/redirect": (["PermanentError"], "permanent"),
    "/status?code=410": (["PermanentError"], "permanent"),
    "/huge": (["PermanentError"], "permanent"),
}


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    with running_web_server() as server:
        yield server


@pytest.fixture
def site(database_url: str, broker_url: str, tmp_path: Path) -> Iterator[Processes]:
    own = {"PENSTOCK_HTTP_ALLOW_PRIVATE_ADDRESSES": 1, "PENSTOCK_WORKER_CONCURRENCY": 4}
    with all_processes(tmp_path, database_url, broker_url, **own) as made:
        yield made


def call(site: Processes, url: str) -> str:
    wish = {"task": "http.request", "payload": {"url": url, **SHORT}, "retry": TWICE}
    answer = site.client.post("/jobs", json=wish)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def finished(site: Processes, job_id: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        job: dict[str, Any] = site.client.get(f"/jobs/{job_id}").json()
        return job if job["state"] in FINAL else None

    return eventually(look, FINISH_SECONDS, "the job is final") or {}


def errors(site: Processes, job_id: str) -> list[str]:
    told = site.client.get(f"/jobs/{job_id}/attempts").json()["attempts"]
    return [attempt["error"]["type"].rpartition(".")[2] for attempt in told]


def test_every_trouble_of_a_target_is_on_record_attempt_by_attempt(site: Processes, web: WebServer) -> None:
    ids = {trouble: call(site, web.url(trouble)) for trouble in TROUBLES}
    jobs = {trouble: finished(site, job_id) for trouble, job_id in ids.items()}

    met = {trouble: (errors(site, job_id), jobs[trouble]["reason"]) for trouble, job_id in ids.items()}
    assert met == TROUBLES
    assert {job["state"] for job in jobs.values()} == {"failed"}
    letters = site.client.get("/dead-letters", params={"limit": 100}).json()["dead_letters"]
    assert {letter["id"] for letter in letters} == set(ids.values())


def test_what_was_given_up_while_its_target_was_away_succeeds_when_it_is_sent_again(
    site: Processes, web: WebServer
) -> None:
    with Proxy("127.0.0.1", web.port) as way:
        way.refuse()
        job_id = call(site, f"http://127.0.0.1:{way.port}/echo")
        assert finished(site, job_id)["reason"] == "exhausted"

        way.heal()
        again = site.client.post(f"/dead-letters/{job_id}/replay")
        settled(site.engine, [again.json()["id"]])

    assert site.client.get("/dead-letters").json()["dead_letters"] == []
