"""What every request gets, whatever it asks for: an id, a trace, safe headers, and errors that tell no secrets."""

import re
from typing import Any

import pytest

from tests.integration.api.problems import problem
from tests.integration.jobs import scenes
from tests.services import plain
from tests.services.api import Api, Person

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SAFE = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def test_a_request_id_and_a_trace_go_in_at_the_edge_and_stay_with_the_job(person: Person) -> None:
    headers = {"X-Request-ID": "order-7.a_b", "traceparent": TRACE}
    answer = person.submit(headers=headers)
    row = scenes.row(person.engine, answer.json()["id"])
    shown = person.get(f"/jobs/{answer.json()['id']}").json()

    assert answer.headers["x-request-id"] == row["request_id"] == shown["request_id"] == "order-7.a_b"
    assert row["traceparent"] == shown["traceparent"] == TRACE


def test_a_batch_has_one_request_id_and_one_trace(person: Person) -> None:
    body = {"jobs": [{"task": "demo.noop"}] * 2}
    answer = person.post("/jobs/batch", json=body, headers={"X-Request-ID": "r", "traceparent": TRACE})

    for job_id in answer.json()["ids"]:
        row = scenes.row(person.engine, job_id)
        assert (row["request_id"], row["traceparent"]) == ("r", TRACE)


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "<script>", "ü", "a\tb", "a;b"])
def test_a_request_id_that_is_not_well_formed_is_replaced(person: Person, given: str) -> None:
    answer = person.submit(headers={b"X-Request-ID": given.encode()})
    made = answer.headers["x-request-id"]

    assert re.fullmatch("[0-9a-f]{32}", made)
    assert scenes.row(person.engine, answer.json()["id"])["request_id"] == made


@pytest.mark.parametrize(
    "given",
    [
        "", "x", TRACE.upper(), TRACE[:-1], TRACE + "-01", "ff" + TRACE[2:], "01" + TRACE[2:] + ".",
        "00-" + "0" * 32 + TRACE[35:],
        TRACE[:36] + "0" * 16 + "-01",
    ],
)  # fmt: skip
def test_a_trace_that_is_not_well_formed_is_replaced(person: Person, given: str) -> None:
    row = scenes.row(person.engine, person.submit(headers={"traceparent": given}).json()["id"])

    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", row["traceparent"])
    assert row["traceparent"] != given


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ("01" + TRACE[2:], TRACE),
        ("cc" + TRACE[2:] + "-what-the-future-will-be-like", TRACE),
        ("01" + TRACE[2:-2] + "ff", TRACE[:-2] + "01"),
        ("01" + TRACE[2:-2] + "02", TRACE[:-2] + "00"),
    ],
)
def test_of_a_trace_of_a_later_version_is_read_what_is_known(person: Person, given: str, known: str) -> None:
    row = scenes.row(person.engine, person.submit(headers={"traceparent": given}).json()["id"])

    assert row["traceparent"] == known


def test_two_traces_are_none(person: Person) -> None:
    other = TRACE.replace("b", "c")
    headers = [("traceparent", TRACE), ("traceparent", other)]

    row = scenes.row(person.engine, person.submit(headers=headers).json()["id"])

    assert row["traceparent"][:35] not in {TRACE[:35], other[:35]}


def test_two_requests_have_different_ids_and_traces(person: Person) -> None:
    rows = [scenes.row(person.engine, person.accepted()) for _ in range(2)]

    assert rows[0]["request_id"] != rows[1]["request_id"]
    assert rows[0]["traceparent"] != rows[1]["traceparent"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/tasks", 200),
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/", 404),
        ("PUT", "/api/v1/jobs", 405),
        ("GET", "/api/v1/jobs?limit=x", 422),
        ("POST", "/api/v1/jobs", 415),
        ("GET", "/health", 200),
        ("GET", "/ready", 200),
        ("GET", "/metrics", 200),
        ("GET", "/openapi.json", 200),
        ("OPTIONS", "/api/v1/jobs", 405),
        ("HEAD", "/health", 405),
    ],
)
def test_every_answer_has_an_id_and_the_safe_headers(person: Person, method: str, path: str, status: int) -> None:
    answer = person.http.request(method, path, headers={"X-Request-ID": "me"})

    assert answer.status_code == status
    assert answer.headers["x-request-id"] == "me"
    assert {name: answer.headers[name] for name in SAFE} == SAFE
    assert "server" not in answer.headers
    assert "access-control-allow-origin" not in answer.headers


def test_the_pages_for_people_may_load_their_scripts(api: Api) -> None:
    for path in ("/docs", "/redoc"):
        answer = plain.get(api.url + path)
        assert answer.headers["content-type"].startswith("text/html")
        assert "content-security-policy" not in answer.headers


@pytest.mark.parametrize(
    "path", ["/", "/api", "/api/v1", "/api/v1/jobs/", "/api/v1/jobs/x/y", "/api/v2/jobs", "/%00", "//"]
)
def test_what_is_not_there_is_a_problem(person: Person, path: str) -> None:
    problem(person.http.get(path), 404, "not-found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/v1/jobs", "GET, POST"),
        ("DELETE", "/api/v1/jobs", "GET, POST"),
        ("GET", "/api/v1/jobs/batch", "POST"),
        ("PATCH", "/api/v1/jobs/01890000-0000-7000-8000-000000000000", "GET"),
        ("GET", "/api/v1/dead-letters/01890000-0000-7000-8000-000000000000", "DELETE"),
        ("POST", "/health", "GET"),
        ("OPTIONS", "/api/v1/tasks", "GET"),
    ],
)
def test_a_method_that_is_not_served_is_a_problem_that_names_those_that_are(
    person: Person, method: str, path: str, allowed: str
) -> None:
    answer = person.http.request(method, path)

    problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == allowed


def test_the_head_of_what_cannot_be_had_so_has_no_body(person: Person) -> None:
    answer = person.http.head("/api/v1/tasks")

    assert (answer.status_code, answer.content, answer.headers["allow"]) == (405, b"", "GET")


SECRET = "sesame-4711"  # what must come back in no error


@pytest.mark.parametrize(
    "wish",
    [
        {"task": "demo.echo", "payload": {"message": {"password": SECRET}}},
        {"task": "demo.sleep", "payload": {"seconds": SECRET}},
        {"task": "demo.typed", "payload": dict.fromkeys(("id", "amount", "at", "colour", "point"), SECRET)},
        {"task": "http.request", "payload": {"url": SECRET, "headers": {"Authorization": 5, "X": SECRET + "\n"}}},
        {"task": "demo.noop", "priority": SECRET},
        {"task": "demo.noop", "run_at": SECRET},
        {"task": "demo.noop", "tags": [SECRET, SECRET + "\0"]},
        {"task": "demo.noop", "unique_key": SECRET + "\0"},
        {"task": "demo.noop", "retry": SECRET},
    ],
)  # fmt: skip
def test_an_error_quotes_no_value(person: Person, wish: dict[str, Any]) -> None:
    answer = person.post("/jobs", json=wish)

    assert answer.status_code == 422
    assert SECRET not in answer.text
    assert "input" not in answer.text.replace("Input should", "")


def test_an_error_quotes_no_header_and_no_query(person: Person) -> None:
    for answer in (
        person.get("/jobs", params={"cursor": SECRET}),
        person.get("/jobs", params={"state": SECRET, "limit": SECRET, "created_after": SECRET}),
        person.post("/jobs", json={"task": "demo.noop"}, headers={"Idempotency-Key": f'"{SECRET}'}),
        person.get("/jobs", headers={"Authorization": f"Bearer {SECRET}"}),
    ):
        assert 400 <= answer.status_code < 500
        assert SECRET not in answer.text
