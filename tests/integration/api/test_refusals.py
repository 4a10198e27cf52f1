"""A request that cannot be accepted is answered by a problem that says why, and leaves nothing behind."""

import http.client
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.integration.api.problems import fields, problem
from tests.services.api import Person

LIMIT = 262_144


@pytest.fixture(autouse=True)
def _nothing_is_stored(person: Person) -> Iterator[None]:
    yield
    assert person.stored() == 0
    assert person.keys_stored() == 0


def echo_of(size: int) -> bytes:
    """Return a valid request of exactly so many bytes."""
    frame = b'{"task": "demo.echo", "payload": {"message": "%s"}}'
    return frame % (b"x" * (size - len(frame) + 2))


MALFORMED = {
    "empty": b"",
    "blank": b"  ",
    "cut off": b'{"task": "demo.noop"',
    "two documents": b'{"task": "demo.noop"} {}',
    "a word": b"nonsense",
    "single quotes": b"{'task': 'demo.noop'}",
    "a comment": b'{"task": "demo.noop" /* why not */}',
    "not UTF-8": b'{"task": "demo.echo", "payload": {"message": "\xff\xfe"}}',
    "UTF-16": '{"task": "demo.noop"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"task": "demo.noop"}',
    "a raw control character": b'{"task": "demo.echo", "payload": {"message": "a\x00b"}}',
    "half a surrogate pair": b'{"task": "demo.echo", "payload": {"message": "\\ud800"}}',
    "the other half": b'{"task": "demo.echo", "payload": {"message": "\\udc00"}}',
    "an integer of 5000 digits": b'{"task": "demo.noop", "priority": ' + b"1" * 5000 + b"}",
    "33 levels": b'{"task": "demo.echo", "payload": ' + b'{"a":' * 32 + b"1" + b"}" * 33,
    "100000 levels of arrays": b"[" * 100_000,
    "40000 levels of objects": b'{"a":' * 40_000 + b"1" + b"}" * 40_000,
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}], ids=["", "with a key"])
def test_a_body_that_is_not_json_is_malformed(person: Person, body: bytes, headers: dict[str, str]) -> None:
    problem(person.send(body, **headers), 400, "malformed-body")


def test_32_levels_are_not_too_deep(person: Person) -> None:
    nested = b'{"task": "demo.noop", "payload": {"x": ' + b"[" * 30 + b"]" * 30 + b"}}"

    # Deep enough to be looked at, and refused for the argument that demo.noop does not have.
    assert fields(problem(person.send(nested), 422, "invalid-payload")) == ["payload.x"]


def test_brackets_inside_strings_are_not_levels(person: Person) -> None:
    body = json.dumps({"task": "demo.noop", "payload": {"x": '[[{{"' * 100}}).encode()

    assert fields(problem(person.send(body), 422, "invalid-payload")) == ["payload.x"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": ' + b'"\\"' * 80_000 + b"[" * 40,
        b'"' + b"\\\\" * 120_000 + b"[" * 40,
        b'"' + b'\\"' * 120_000 + b"[" * 40,
    ],
)
def test_no_body_costs_more_than_its_length(person: Person, body: bytes) -> None:
    began = time.monotonic()

    problem(person.send(body), 400, "malformed-body")

    assert time.monotonic() - began < 2


INVALID: dict[str, tuple[Any, list[str]]] = {
    "an array": ([], ["body"]),
    "a string": ("demo.noop", ["body"]),
    "null": (None, ["body"]),
    "an object without a task": ({}, ["task"]),
    "a task that is empty": ({"task": ""}, ["task"]),
    "a task that is a number": ({"task": 5}, ["task"]),
    "an unknown field": ({"task": "demo.noop", "prioritty": 5}, ["prioritty"]),
    "someone else's tenant": ({"task": "demo.noop", "tenant": "acme"}, ["tenant"]),
    "a priority in quotes": ({"task": "demo.noop", "priority": "5"}, ["priority"]),
    "a priority with a fraction": ({"task": "demo.noop", "priority": 5.0}, ["priority"]),
    "a priority that is true": ({"task": "demo.noop", "priority": True}, ["priority"]),
    "a priority above 9": ({"task": "demo.noop", "priority": 10}, ["priority"]),
    "a priority below 0": ({"task": "demo.noop", "priority": -1}, ["priority"]),
    "a payload that is an array": ({"task": "demo.noop", "payload": []}, ["payload"]),
    "a payload that is null": ({"task": "demo.noop", "payload": None}, ["payload"]),
    "a delay in quotes": ({"task": "demo.noop", "delay_seconds": "5"}, ["delay_seconds"]),
    "a delay below 0": ({"task": "demo.noop", "delay_seconds": -1}, ["delay_seconds"]),
    "a delay of two years": ({"task": "demo.noop", "delay_seconds": 63_072_000}, ["delay_seconds"]),
    "a date that is a number": ({"task": "demo.noop", "run_at": 1_900_000_000}, ["run_at"]),
    "a date that is a number in quotes": ({"task": "demo.noop", "run_at": "1900000000"}, ["run_at"]),
    "a date without a zone": ({"task": "demo.noop", "run_at": "2030-01-01T00:00:00"}, ["run_at"]),
    "a date that does not exist": ({"task": "demo.noop", "run_at": "2030-02-30T00:00:00Z"}, ["run_at"]),
    "a date after the calendar": ({"task": "demo.noop", "run_at": "9999-12-31T23:59:59-12:00"}, ["run_at"]),
    "an expiry after the calendar": ({"task": "demo.noop", "expires_at": "9999-12-31T23:59:59-12:00"}, ["expires_at"]),
    "a date before the calendar": ({"task": "demo.noop", "run_at": "0001-01-01T00:00:00+14:00"}, ["run_at"]),
    "two dates": ({"task": "demo.noop", "run_at": "2030-01-01T00:00:00Z", "delay_seconds": 5}, ["body"]),
    "tags that are a string": ({"task": "demo.noop", "tags": "a"}, ["tags"]),
    "21 tags": ({"task": "demo.noop", "tags": ["a"] * 21}, ["tags"]),
    "an empty tag": ({"task": "demo.noop", "tags": ["a", ""]}, ["tags.1"]),
    "a tag with a newline": ({"task": "demo.noop", "tags": ["a\n"]}, ["tags.0"]),
    "a unique key with NUL": ({"task": "demo.noop", "unique_key": "a\0"}, ["unique_key"]),
    "a unique key of 256 letters": ({"task": "demo.noop", "unique_key": "a" * 256}, ["unique_key"]),
    "retries in quotes": ({"task": "demo.noop", "retry": {"max_retries": "3"}}, ["retry.max_retries"]),
    "retries below 0": ({"task": "demo.noop", "retry": {"max_retries": -1}}, ["retry.max_retries"]),
    "an unknown wish": ({"task": "demo.noop", "retry": {"times": 3}}, ["retry.times"]),
    "limits in the wrong order": (
        {"task": "demo.noop", "time_limit": {"soft_seconds": 3, "hard_seconds": 2}}, ["time_limit"]),
    "a limit of 0": ({"task": "demo.noop", "time_limit": {"hard_seconds": 0}}, ["time_limit.hard_seconds"]),
}  # fmt: skip


@pytest.mark.parametrize(("wish", "wrong"), INVALID.values(), ids=INVALID.keys())
def test_a_field_that_is_wrong_is_named(person: Person, wish: Any, wrong: list[str]) -> None:
    body = problem(person.send(json.dumps(wish).encode()), 422, "invalid-request")

    assert fields(body) == wrong
    assert all(error["message"] for error in body["errors"])


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400000", "-1e309"])
@pytest.mark.parametrize(
    ("frame", "slug"),
    [
        ('{"task": "demo.sleep", "payload": {"seconds": %s}}', "invalid-payload"),
        ('{"task": "demo.noop", "delay_seconds": %s}', "invalid-request"),
    ],
)
def test_a_number_that_json_does_not_know_is_refused(person: Person, number: str, frame: str, slug: str) -> None:
    problem(person.send((frame % number).encode()), 422, slug)


@pytest.mark.parametrize("escaped", [r"\u0000", r"a\\\u0000", r"\\\\\u0000b"])
def test_the_character_nul_cannot_be_kept(person: Person, escaped: str) -> None:
    body = b'{"task": "demo.echo", "payload": {"message": "%s"}}' % escaped.encode()

    assert fields(problem(person.send(body), 422, "invalid-payload")) == ["payload"]


@pytest.mark.parametrize(
    ("task", "payload", "wrong"),
    [
        ("demo.echo", {}, ["payload.message"]),
        ("demo.echo", {"message": 5}, ["payload.message"]),
        ("demo.echo", {"message": "a", "massage": "b", "other": 1}, ["payload.massage", "payload.other"]),
        ("demo.sleep", {"seconds": 3601}, ["payload.seconds"]),
        ("demo.sleep", {"seconds": "soon"}, ["payload.seconds"]),
        ("demo.typed", {"id": "x", "amount": "y", "at": "z", "colour": "pink", "point": {"x": 1}},
         ["payload.id", "payload.amount", "payload.at", "payload.colour", "payload.point.y"]),
    ],
)  # fmt: skip
def test_a_payload_that_does_not_fit_the_task_is_explained(
    person: Person, task: str, payload: dict[str, Any], wrong: list[str]
) -> None:
    body = problem(person.submit(task, payload=payload), 422, "invalid-payload")

    assert fields(body) == wrong


def test_an_unknown_task_is_named(person: Person) -> None:
    body = problem(person.submit("demo.nope"), 422, "unknown-task")

    assert "'demo.nope'" in body["detail"]
    assert fields(body) == ["task"]


def test_an_unknown_queue_is_told_which_there_are(person: Person) -> None:
    body = problem(person.submit(queue="nope"), 422, "unknown-queue")

    assert "bulk, critical, default" in body["detail"]
    assert fields(body) == ["queue"]


@pytest.mark.parametrize(
    "times",
    [
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"expires_at": "2030-01-01T00:00:00Z", "run_at": "2030-01-01T00:00:00Z"},
        {"expires_at": "2030-01-01T00:00:00Z", "run_at": "2030-01-01T02:00:00+01:00"},
        {"expires_at": "2027-01-01T00:00:00Z", "delay_seconds": 31_000_000},
    ],
)
def test_a_job_that_would_expire_before_it_runs_is_refused(person: Person, times: dict[str, Any]) -> None:
    body = problem(person.submit(**times), 422, "invalid-job")

    assert fields(body) == ["expires_at"]
    assert "index" not in body


def test_very_many_wrong_fields_are_counted_and_not_listed(person: Person) -> None:
    body = problem(person.submit(payload={f"x{number}": 1 for number in range(5000)}), 422, "invalid-payload")

    assert body["errors"] == [{"field": "payload", "message": "is wrong in 5000 places"}]


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data", "application/jsonp", "text/json", ""])
def test_only_json_is_taken(person: Person, kind: str) -> None:
    problem(person.send(b'{"task": "demo.noop"}', content_type=kind), 415, "unsupported-media-type")


def test_a_body_without_a_content_type_is_not_guessed_at(person: Person) -> None:
    answer = person.http.post("/api/v1/jobs", content=b'{"task": "demo.noop"}')

    problem(answer, 415, "unsupported-media-type")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity, gzip"])
def test_a_packed_body_is_not_unpacked(person: Person, encoding: str) -> None:
    answer = person.send(b'{"task": "demo.noop"}', content_encoding=encoding)

    problem(answer, 415, "unsupported-media-type")


def test_a_body_over_the_limit_is_refused_by_what_it_announces(person: Person) -> None:
    body = problem(person.send(echo_of(LIMIT + 1)), 413, "body-too-large")

    assert body["limit_bytes"] == LIMIT


def test_a_body_over_the_limit_is_counted_where_no_length_is_announced(person: Person) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(33):
            yield b" " * 8192

    answer = person.http.post("/api/v1/jobs", content=chunks(), headers={"Content-Type": "application/json"})

    problem(answer, 413, "body-too-large")


def test_the_server_stops_reading_where_the_limit_is_passed(person: Person) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 100_000_000:
            sent += 65_536
            yield b" " * 65_536

    try:
        answer = person.http.post("/api/v1/jobs", content=endless(), headers={"Content-Type": "application/json"})
    except httpx.TransportError:  # it hung up on us
        return
    problem(answer, 413, "body-too-large")


def test_a_length_that_lies_makes_no_job(person: Person) -> None:
    place = urlsplit(person.url)
    connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=10)
    headers = person.headers | {"Content-Type": "application/json", "Content-Length": "21"}

    connection.request("POST", "/api/v1/jobs", b'{"task": "demo.noop", "payload": {}}', headers)
    answer = connection.getresponse()

    # What is announced is read, and no more: half a document. The rest is no request.
    assert answer.status == 400
    connection.close()


def test_a_client_that_leaves_in_the_middle_of_its_body_makes_no_job(person: Person) -> None:
    place = urlsplit(person.url)
    connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=10)
    headers = person.headers | {"Content-Type": "application/json", "Content-Length": "1000"}

    connection.request("POST", "/api/v1/jobs", b'{"task": "demo.noop"}', headers)
    connection.close()

    assert person.http.get("/health").status_code == 200
