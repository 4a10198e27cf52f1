"""A CPU profile of an API that runs: who may take one, what is in it, and what it costs to ask for too much."""

import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

from api import profiler
from tests.integration.api.problems import fields, problem
from tests.integration.api.test_processes import Served
from tests.integration.api.test_stopping import until
from tests.services.api import Api, Person, running_api
from tests.services.stack import eventually

PROFILE = "/diagnostics/profile"


@pytest.fixture
def api(database_url: str, broker_url: str) -> Iterator[Api]:
    with running_api(database_url, broker_url, diagnostics=True) as running:
        yield running


@pytest.fixture
def person(api: Api) -> Person:
    return api.person()


@pytest.fixture
def busy() -> Iterator[None]:
    """A thread that uses the processor, as nothing else here does."""
    done = threading.Event()
    thread = threading.Thread(target=burn, args=(done,), name="busy-bee")
    thread.start()
    yield
    done.set()
    thread.join()


def burn(done: threading.Event) -> None:
    text = b"honey"
    while not done.is_set():
        for _ in range(1000):
            text = hashlib.sha256(text).digest()


@pytest.mark.usefixtures("busy")
def test_a_profile_for_speedscope_shows_who_has_used_the_processor(person: Person) -> None:
    answer = person.http.get(PROFILE, params={"seconds": 1})
    document = answer.json()

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert document["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    names = {frame["name"] for frame in document["shared"]["frames"]}
    assert "burn" in names
    assert "busy-bee" in names


@pytest.mark.usefixtures("busy")
def test_a_profile_as_text_is_a_tree_with_the_busiest_first(person: Person) -> None:
    answer = person.http.get(PROFILE, params={"seconds": 1, "format": "text"})

    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert "burn" in answer.text
    assert Path(__file__).name in answer.text


def test_a_thread_that_waits_has_used_nothing(person: Person) -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait, name="idle-bear")
    thread.start()

    answer = person.http.get(PROFILE, params={"seconds": 0.5})
    done.set()
    thread.join()

    assert "idle-bear" not in answer.text


def test_there_is_one_at_a_time(api: Api, person: Person) -> None:
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(person.http.get, PROFILE, params={"seconds": 3})
        eventually(lambda: api.app.state.profiler.is_running, 20, "it is running")
        second = person.http.get(PROFILE, params={"seconds": 0.1})
        answer = first.result()
    after = person.http.get(PROFILE, params={"seconds": 0.1})

    problem(second, 409, "profile-running")
    assert (answer.status_code, after.status_code) == (200, 200)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [("seconds", "61"), ("seconds", "0"), ("seconds", "nan"), ("seconds", "inf"), ("format", "flame")],
)
def test_too_much_is_refused(person: Person, field: str, wrong: str) -> None:
    assert fields(problem(person.http.get(PROFILE, params={field: wrong}), 422, "invalid-request")) == [field]


def test_who_has_no_key_gets_no_profile(api: Api) -> None:
    problem(httpx.get(f"{api.url}{PROFILE}"), 401, "unauthorized")


def test_it_is_off_unless_someone_turns_it_on(database_url: str, broker_url: str) -> None:
    with running_api(database_url, broker_url) as api:
        body = problem(api.person().http.get(PROFILE), 404, "not-found")

    assert "PENSTOCK_DIAGNOSTICS=true" in body["detail"]


def test_without_the_extra_the_cure_is_named(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiler, "INSTALLED", False)

    body = problem(person.http.get(PROFILE), 501, "not-installed")

    assert "penstock[diagnostics]" in body["detail"]


def test_without_the_extra_the_api_starts_all_the_same() -> None:
    code = "import sys; sys.modules['pyinstrument'] = None; import api.app, api.profiler as p; print(p.INSTALLED)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"


def test_a_profile_does_not_keep_a_process_from_stopping(
    engine: Engine, database_url: str, broker_url: str, tmp_path: Path
) -> None:
    with (
        Served(database_url, broker_url, tmp_path, diagnostics="true") as served,
        ThreadPoolExecutor(1) as pool,
    ):
        person = Person(served.url, engine)
        taking = pool.submit(person.http.get, PROFILE, params={"seconds": 60})
        until(served, "requests_under_way", 2)  # the question itself is the second
        began = time.monotonic()

        served.process.kill("SIGTERM")
        served.process.wait(30)

        assert time.monotonic() - began < 30
        assert taking.result().status_code == 503  # a stopping API answers everybody
        person.http.close()
