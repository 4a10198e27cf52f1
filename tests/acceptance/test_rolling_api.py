"""APIs are restarted one after the other under load: no client sees a 5xx, nothing is lost, nothing is there twice."""

import itertools
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, func, select

from jobs.tables import jobs
from tests.integration.api.test_processes import PROMPT, Served
from tests.services.api_process import ApiProcess, new_key
from tests.services.databases import connect_to
from tests.services.stack import eventually

CLIENTS = 6
TRIES = 40
SERVE_SECONDS = 40.0
TENANT = "crowd"
GONE = "Finished server process"


class Crowd:
    """Clients behind a load balancer: who gets no answer asks the next API, with the same key."""

    def __init__(self, urls: Sequence[str], key: str) -> None:
        self.urls = urls
        self.headers = {"Authorization": f"Bearer {key}"}
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.failures: list[str] = []
        self.accepted: list[str] = []
        self.unanswered = 0
        self._over = threading.Event()

    def __enter__(self) -> "Crowd":
        self._pool = ThreadPoolExecutor(CLIENTS)
        self._work = [self._pool.submit(self._live, number) for number in range(CLIENTS)]
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._pool.shutdown()
        for one in self._work:
            one.result()

    def _live(self, number: int) -> None:
        with httpx.Client(headers=self.headers, verify=False, timeout=60) as http:
            for turn in itertools.count(number):
                if self._over.is_set():
                    return
                accepted = self._ask(http, turn, "POST", "/api/v1/jobs", json={"task": "demo.noop"})
                job_id = accepted.json().get("id")
                if accepted.status_code == httpx.codes.ACCEPTED:
                    self.accepted.append(job_id)
                    # One of them has nothing else to do: it waits for as long as it takes, or until it is cut off.
                    wait = {"wait_seconds": 8 if number == 0 else 0.01}
                    self._ask(http, turn, "GET", f"/api/v1/jobs/{job_id}", params=wait)

    def _ask(self, http: httpx.Client, turn: int, method: str, path: str, **request: object) -> httpx.Response:
        headers = {"Idempotency-Key": uuid.uuid4().hex} if method == "POST" else {}
        for attempt in range(TRIES):
            url = self.urls[(turn + attempt) % len(self.urls)] + path
            try:
                answer = http.request(method, url, headers=headers, **request)  # type: ignore[arg-type]  # passed on
            except httpx.TransportError:
                self.unanswered += 1
                continue
            self.statuses[method, answer.status_code] += 1
            if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
                self.failures.append(answer.text)
            return answer
        raise AssertionError(f"{TRIES} tries of {method} {path} without an answer")

    def goes_on(self) -> None:
        """Return when some more has been accepted."""
        enough = len(self.accepted) + 4 * CLIENTS
        eventually(lambda: len(self.accepted) >= enough, SERVE_SECONDS, "the crowd is served")


@pytest.fixture
def directly(database_url: str) -> Iterator[Engine]:
    """A way to the database that is no API's."""
    engine = connect_to(database_url)
    yield engine
    engine.dispose()


def _verify(crowd: Crowd, directly: Engine) -> None:
    with directly.connect() as connection:
        stored = connection.scalar(select(func.count()).where(jobs.c.tenant == TENANT))
    assert crowd.failures == []
    assert crowd.statuses.keys() == {("POST", 202), ("GET", 200)}
    assert len(set(crowd.accepted)) == len(crowd.accepted) == stored


def _roll(crowd: Crowd, restarts: Sequence[Callable[[], None]]) -> None:
    crowd.goes_on()
    for restart in restarts:
        restart()
        crowd.goes_on()


def test_two_apis_are_restarted_in_turn_and_nobody_sees_an_error(
    database_url: str, broker_url: str, tmp_path: Path, directly: Engine
) -> None:
    key, stops = new_key(directly, TENANT), []
    with ExitStack() as running:
        apis = [running.enter_context(_api(tmp_path / name, database_url, broker_url)).start() for name in ("a", "b")]

        def restarted(api: ApiProcess) -> None:
            began = time.monotonic()
            stops.append((api.stop(), time.monotonic() - began))
            api.start()

        with Crowd([api.url for api in apis], key) as crowd:
            _roll(crowd, [lambda api=api: restarted(api) for api in (*apis, *apis)])  # type: ignore[misc]  # binds the loop's value

        logs = "".join(api.log.read_text() for api in apis)

    _verify(crowd, directly)
    assert all(stopped and seconds < 20 for stopped, seconds in stops)
    assert "Traceback" not in logs
    assert "exception" not in logs


def _api(home: Path, database_url: str, broker_url: str) -> ApiProcess:
    home.mkdir()
    return ApiProcess(home, database_url=database_url, broker_url=broker_url)


def test_the_processes_that_share_a_port_are_replaced_one_by_one_at_a_signal(
    database_url: str, broker_url: str, tmp_path: Path, directly: Engine
) -> None:
    key = new_key(directly, TENANT)
    with Served(database_url, broker_url, tmp_path, api_processes=2) as served:
        before = _pids(served, PROMPT)

        def replace() -> None:
            served.process.kill("SIGHUP")
            eventually(lambda: _pids(served, GONE) >= before, 2 * SERVE_SECONDS, "both have been replaced")

        with Crowd([served.url], key) as crowd:
            _roll(crowd, [replace])

        after = _pids(served, PROMPT) - before
        logs = served.process.logs()

    _verify(crowd, directly)
    assert (len(before), len(after)) == (2, 2)
    assert "Traceback" not in logs
    assert "exception" not in logs


def _pids(served: Served, told: str) -> set[int]:
    """Return the processes that have written a line of this kind."""
    return {line["pid"] for line in served.lines() if told in line["event"]}
