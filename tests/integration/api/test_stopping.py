"""A process that is told to stop answers everybody, leaves no traceback, and does not wait for what hangs."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from sqlalchemy import Engine

from tests.integration.api.test_processes import Served
from tests.services import plain
from tests.services.api import Person
from tests.services.databases import connect_to
from tests.services.proxy import Proxy
from tests.services.stack import eventually

STREAM = {"Accept": "text/event-stream"}


@pytest.fixture
def directly(database_url: str) -> Iterator[Engine]:
    """A way to the database that no fault lies on."""
    engine = connect_to(database_url)
    yield engine
    engine.dispose()


def someone(served: Served, directly: Engine) -> Person:
    """Return somebody with a key and patience."""
    person = Person(served.url, directly)
    person.http.timeout = 60
    return person


def until(served: Served, gauge: str, count: int) -> None:
    """Return when a gauge of the API tells this number."""
    line = f"penstock_{gauge} {count}.0"
    eventually(lambda: line in plain.get(f"{served.url}/metrics", timeout=20).text, 20, line)


def clean(served: Served) -> list[dict[str, Any]]:
    """Return the log, in which nothing went wrong."""
    lines = served.lines()
    assert not [line for line in lines if "exception" in line or "Traceback" in str(line)]
    return lines


@pytest.mark.parametrize("processes", [1, 2])
def test_readers_who_wait_are_answered_when_the_process_stops(
    database_url: str, broker_url: str, tmp_path: Path, directly: Engine, processes: int
) -> None:
    with Served(database_url, broker_url, tmp_path, api_processes=processes) as served, ThreadPoolExecutor(6) as pool:
        person = someone(served, directly)
        job_id = person.accepted()
        polls = [pool.submit(person.get, f"/jobs/{job_id}", params={"wait_seconds": 60}) for _ in range(4)]
        stream: Future[httpx.Response] = pool.submit(person.get, f"/jobs/{job_id}/events", headers=STREAM)
        until(served, "readers_waiting", 5)
        began = time.monotonic()
        served.process.kill("SIGTERM")

        answers = [poll.result() for poll in polls]
        told = stream.result()
        served.process.wait(20)

    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["state"] for answer in answers} == {"queued"}
    assert {answer.headers["connection"] for answer in answers} == {"close"}
    assert told.text.count("event: accept") == 1
    assert time.monotonic() - began < 20
    assert served.process.exit_code in {0, -15}
    clean(served)
    person.http.close()


def test_a_hung_postgresql_does_not_keep_a_process_from_stopping(
    database_url: str, broker_url: str, tmp_path: Path, proxy: Proxy, directly: Engine
) -> None:
    with Served(proxy.through(database_url), broker_url, tmp_path) as served, ThreadPoolExecutor(4) as pool:
        person = someone(served, directly)
        job_id = person.accepted()
        assert person.get(f"/jobs/{job_id}").status_code == 200
        proxy.swallow()
        reading = pool.submit(person.get, f"/jobs/{job_id}")
        submitting = pool.submit(person.submit)
        until(served, "requests_under_way", 3)  # the question itself is the third
        served.process.kill("SIGTERM")

        answers = [reading.result(), submitting.result()]
        served.process.wait(30)

    # Cut off by the end, or, on a machine that was slow to come to it, out of patience before.
    assert {answer.status_code for answer in answers} == {503}
    assert answers[0].json()["type"] in {"/problems/unavailable", "/problems/database-unavailable"}
    assert answers[1].json()["type"] == "/problems/outcome-unknown"
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)

    assert served.process.exit_code in {0, -15}
    clean(served)
    person.http.close()


@pytest.mark.parametrize("processes", [1, 2])
def test_a_process_that_leaves_is_not_ready_long_before_it_stops_listening(
    database_url: str, broker_url: str, tmp_path: Path, directly: Engine, processes: int
) -> None:
    with Served(database_url, broker_url, tmp_path, api_processes=processes, api_drain_seconds=600) as served:
        person = someone(served, directly)
        before = plain.get(f"{served.url}/ready", timeout=20).status_code

        served.process.kill("SIGTERM")

        # Each connection is a new one, and may meet either process.
        for _ in range(5):
            eventually(lambda: plain.get(f"{served.url}/ready", timeout=20).status_code == 503, 20, "it is not ready")
        left = plain.get(f"{served.url}/ready", timeout=20).json()["dependencies"]
        answers = [plain.get(f"{served.url}/health", timeout=20).status_code, person.submit().status_code]
        impatient(served.process.pid)
        served.process.wait(20)

    assert (before, answers) == (200, [200, 202])
    assert left["accepting"] == {"ok": False, "detail": "is stopping"}
    assert left["postgresql"]["ok"] is True
    clean(served)
    person.http.close()


def impatient(pid: int) -> None:
    """Ask again, each process: the wait is over then."""
    main = psutil.Process(pid)
    for process in [main, *main.children(recursive=True)]:
        process.terminate()
