"""What people read of a job: at once, when it has changed, when it has finished, and as it happens."""

import json
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, event

from api.waiting import SLOWEST, Lookout
from jobs import attempts as life
from tests import factories
from tests.integration.api.problems import fields, problem
from tests.integration.jobs import scenes
from tests.services.api import Api, Person
from tests.services.stack import eventually


def running(person: Person, **wishes: Any) -> Any:
    """Return the first attempt at a new job of this person."""
    (attempt,) = scenes.start(person.engine, person.accepted(**wishes))
    return attempt


def test_a_finished_job_is_shown_with_its_attempts_result_and_timings(person: Person) -> None:
    attempt = running(person)
    scenes.end(person.engine, attempt, factories.success('{"answer": 42}'))
    shown = person.get(f"/jobs/{attempt.job_id}").json()
    attempts = person.get(f"/jobs/{attempt.job_id}/attempts").json()["attempts"]

    assert (shown["state"], shown["attempt"], shown["result"], shown["error"]) == ("succeeded", 1, {"answer": 42}, None)
    assert shown["worker"] is None
    assert shown["timings"]["waited_seconds"] >= 0
    assert shown["timings"]["ran_seconds"] >= 0
    total = shown["timings"]["waited_seconds"] + shown["timings"]["ran_seconds"]
    assert shown["timings"]["total_seconds"] == pytest.approx(total, abs=0.001)
    assert [(one["number"], one["outcome"], one["worker"], one["error"]) for one in attempts] == [
        (1, "succeeded", "worker-1", None)
    ]
    assert attempts[0]["started_at"] <= attempts[0]["finished_at"]


def test_what_a_task_logged_is_read_from_where_the_reader_left_off(person: Person) -> None:
    attempt = running(person)
    scenes.log(person.engine, attempt.job_id, "fetched", "stored", "sent")

    first = person.get(f"/jobs/{attempt.job_id}/logs?limit=2").json()["lines"]
    rest = person.get(f"/jobs/{attempt.job_id}/logs?after={first[-1]['seq']}").json()["lines"]

    assert [(line["attempt"], line["level"], line["event"], line["facts"]) for line in first + rest] == [
        (1, "info", event, None) for event in ("fetched", "stored", "sent")
    ]
    assert first[0]["at"].endswith("Z")


def test_the_log_of_somebody_elses_job_is_not_found(api: Api, person: Person) -> None:
    attempt = running(person)
    scenes.log(person.engine, attempt.job_id, "fetched")

    problem(api.person().get(f"/jobs/{attempt.job_id}/logs"), 404, "not-found")


def test_a_job_that_erred_shows_the_error_and_when_it_is_due_again(person: Person) -> None:
    attempt = running(person)
    scenes.end(person.engine, attempt, factories.retry(seconds=60))
    shown = person.get(f"/jobs/{attempt.job_id}").json()
    (tried,) = person.get(f"/jobs/{attempt.job_id}/attempts").json()["attempts"]

    assert (shown["state"], shown["error_count"]) == ("retrying", 1)
    assert shown["error"] == tried["error"] == factories.BROKEN.as_json()
    assert shown["timings"]["total_seconds"] is None
    assert shown["run_at"] > shown["started_at"]


def test_a_running_job_shows_its_worker_and_progress(person: Person) -> None:
    attempt = running(person)
    with person.engine.begin() as connection:
        life.progress(connection, attempt.job_id, 1, {"done": 3, "total": 10, "note": "half asleep"})
    shown = person.get(f"/jobs/{attempt.job_id}").json()

    assert (shown["state"], shown["worker"]) == ("running", "worker-1")
    assert shown["progress"] == {"done": 3, "total": 10, "note": "half asleep"}
    assert shown["timings"]["ran_seconds"] is None


# ETag


def test_an_unchanged_job_is_not_sent_again(person: Person) -> None:
    job_id = person.accepted()
    first = person.get(f"/jobs/{job_id}")
    tag = first.headers["etag"]

    for header in (tag, f'"x", {tag}', f"W/{tag}", "*"):
        again = person.get(f"/jobs/{job_id}", headers={"If-None-Match": header})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)


def test_a_changed_job_is_sent_again(person: Person) -> None:
    job_id = person.accepted()
    tag = person.get(f"/jobs/{job_id}").headers["etag"]
    scenes.start(person.engine, job_id)

    again = person.get(f"/jobs/{job_id}", headers={"If-None-Match": tag})

    assert again.status_code == 200
    assert again.headers["etag"] != tag


# Long polls


def test_a_reader_who_waits_is_answered_when_the_job_ends(person: Person, api: Api) -> None:
    attempt = running(person)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(person.get, f"/jobs/{attempt.job_id}", params={"wait_seconds": 20})
        eventually(lambda: waiters(api), 10, "somebody waits")
        scenes.end(person.engine, attempt, factories.success())
        ended_at = time.monotonic()
        answer = waiting.result()

    assert answer.json()["state"] == "succeeded"
    assert time.monotonic() - ended_at < SLOWEST + 1


def waiters(api: Api) -> int:
    """Return how many requests wait for a job to finish."""
    lookout: Lookout = api.app.state.lookout
    return sum(map(len, list(lookout._waiters.values())))


def test_a_reader_who_waits_in_vain_is_answered_at_the_deadline(person: Person) -> None:
    job_id = person.accepted()
    began = time.monotonic()

    answer = person.get(f"/jobs/{job_id}", params={"wait_seconds": 0.5})

    assert answer.json()["state"] == "queued"
    assert 0.5 <= time.monotonic() - began < 3


def test_a_finished_job_is_not_waited_for(person: Person) -> None:
    attempt = running(person)
    scenes.end(person.engine, attempt, factories.success())
    began = time.monotonic()

    assert person.get(f"/jobs/{attempt.job_id}", params={"wait_seconds": 20}).json()["state"] == "succeeded"
    assert time.monotonic() - began < 5


def test_a_reader_who_waits_for_a_change_that_does_not_come_gets_304(person: Person) -> None:
    job_id = person.accepted()
    tag = person.get(f"/jobs/{job_id}").headers["etag"]

    answer = person.get(f"/jobs/{job_id}", params={"wait_seconds": 0.3}, headers={"If-None-Match": tag})

    assert answer.status_code == 304


@contextmanager
def looks_at(engine: Engine) -> Iterator[list[str]]:
    """Collect the looks at jobs that somebody waits for."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("SELECT jobs.id, jobs.version, jobs.state"):
            seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


def test_a_hundred_readers_who_wait_share_their_looks(person: Person, api: Api) -> None:
    attempts = [running(person) for _ in range(4)]
    many = httpx.Client(
        base_url=person.url, headers=person.headers, timeout=30, limits=httpx.Limits(max_connections=100)
    )
    with many, ThreadPoolExecutor(100) as pool:
        paths = [f"/api/v1/jobs/{attempts[turn % 4].job_id}" for turn in range(100)]
        waiting = [pool.submit(many.get, path, params={"wait_seconds": 20}) for path in paths]
        eventually(lambda: waiters(api) == 100, 15, "a hundred wait")
        with looks_at(api.app.state.lookout._engine) as looks:
            eventually(lambda: len(looks) >= 3, 10, "they have been looked after")
            for attempt in attempts:
                scenes.end(person.engine, attempt, factories.success())
            answers = [one.result() for one in waiting]
        # A busy machine may send one away; whoever asks again is told.
        asked_again = [many.get(path) for path, one in zip(paths, answers, strict=True) if one.status_code == 503]
        told = [answer for answer in answers if answer.status_code != 503] + asked_again

    assert {answer.json()["state"] for answer in told} == {"succeeded"}
    assert len(looks) < 30  # a look each would have made more than 300


@pytest.mark.parametrize("seconds", ["-1", "301", "soon", "nan"])
def test_a_wait_has_bounds(person: Person, seconds: str) -> None:
    answer = person.get(f"/jobs/{person.accepted()}", params={"wait_seconds": seconds})

    assert fields(problem(answer, 422, "invalid-request")) == ["wait_seconds"]


# Events


def test_events_are_told_in_order(person: Person) -> None:
    attempt = running(person)
    scenes.end(person.engine, attempt, factories.success())
    told = person.get(f"/jobs/{attempt.job_id}/events").json()["events"]

    assert [(one["seq"], one["name"], one["state"], one["attempt"]) for one in told] == [
        (1, "accept", "queued", 0),
        (2, "start", "running", 1),
        (3, "succeed", "succeeded", 1),
    ]
    assert told[1]["facts"] == {"worker": "worker-1"}


def test_events_after_one_that_is_known_are_asked_for_by_its_number(person: Person) -> None:
    attempt = running(person)

    told = person.get(f"/jobs/{attempt.job_id}/events", headers={"Last-Event-ID": "1"}).json()["events"]

    assert [one["seq"] for one in told] == [2]


class Stream:
    """A reader of server-sent events."""

    def __init__(self, person: Person, job_id: uuid.UUID, **headers: str) -> None:
        self.headers = {"Accept": "text/event-stream"} | headers
        self.opened = person.http.stream("GET", f"/api/v1/jobs/{job_id}/events", headers=self.headers)

    def __enter__(self) -> "Stream":
        self.answer = self.opened.__enter__()
        self.lines = self.answer.iter_lines()
        return self

    def __exit__(self, *given: Any) -> None:
        self.opened.__exit__(*given)

    def next(self) -> dict[str, str]:
        """Return the next event by its fields."""
        found: dict[str, str] = {}
        for line in self.lines:
            if not line and found:
                return found
            if line and not line.startswith(":"):
                name, _, value = line.partition(": ")
                found[name] = value
        return found


def test_a_stream_tells_what_was_and_what_happens_and_ends_with_the_job(person: Person) -> None:
    job_id = person.accepted()
    with Stream(person, job_id) as stream:
        assert stream.answer.status_code == 200
        assert stream.answer.headers["content-type"].startswith("text/event-stream")
        assert stream.next()["event"] == "accept"

        (attempt,) = scenes.start(person.engine, job_id)
        begun = stream.next()
        assert (begun["id"], begun["event"]) == ("2", "start")
        assert json.loads(begun["data"])["facts"] == {"worker": "worker-1"}

        scenes.end(person.engine, attempt, factories.success())
        assert stream.next()["event"] == "succeed"
        assert stream.next() == {}


def test_a_stream_that_broke_goes_on_where_it_was(person: Person) -> None:
    attempt = running(person)
    with Stream(person, attempt.job_id, **{"Last-Event-ID": "1"}) as stream:
        assert stream.next()["id"] == "2"


def test_a_stream_of_a_finished_job_ends_and_is_not_asked_for_again(person: Person) -> None:
    attempt = running(person)
    scenes.end(person.engine, attempt, factories.success())
    with Stream(person, attempt.job_id) as stream:
        assert [stream.next().get("id") for _ in range(4)] == ["1", "2", "3", None]

    done = person.get(f"/jobs/{attempt.job_id}/events", headers={"Accept": "text/event-stream", "Last-Event-ID": "3"})
    assert (done.status_code, done.content) == (204, b"")


@pytest.mark.parametrize("number", ["-1", "x", "2147483648"])
def test_an_event_has_a_number(person: Person, number: str) -> None:
    answer = person.get(f"/jobs/{person.accepted()}/events", headers={"Last-Event-ID": number})

    assert fields(problem(answer, 422, "invalid-request")) == ["last-event-id"]
