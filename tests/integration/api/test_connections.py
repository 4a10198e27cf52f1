"""Whatever a client may hold open is bounded: connections, requests that arrive slowly, readers who wait."""

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import httpx
import pytest

from tests.integration.api.problems import problem
from tests.services.api import Api, running_api
from tests.services.stack import eventually

HEAD = b"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 20\r\n"
QUIET_SECONDS = 20.0


@pytest.fixture
def strict(database_url: str, broker_url: str) -> Iterator[Api]:
    """An API with small bounds."""
    bounds: dict[str, Any] = {"connections_limit": 4, "receive_timeout_seconds": 1.0, "readers_limit": 2}
    with running_api(database_url, broker_url, bodies_limit_bytes=100_000, **bounds) as api:
        yield api


def line_to(api: Api) -> socket.socket:
    """Return a plain connection."""
    address = httpx.URL(api.url)
    return socket.create_connection((address.host, address.port or 80), timeout=QUIET_SECONDS)


def heard(line: socket.socket) -> bytes:
    """Return all that comes until the other side hangs up."""
    found = b""
    while part := line.recv(65_536):
        found += part
    return found


@pytest.mark.parametrize(
    "sent",
    [b"POST /api/v1/jobs HT", HEAD, HEAD + b"Authorization: Bearer KEY\r\n\r\n", HEAD + b"\r\n{"],
    ids=["a line", "a head", "no body", "half a body"],
)
def test_a_request_that_does_not_arrive_is_given_up(strict: Api, sent: bytes) -> None:
    person = strict.person()
    with closing(line_to(strict)) as line:
        line.sendall(sent.replace(b"KEY", person.key.encode()))
        answer = heard(line)

    assert answer.startswith((b"HTTP/1.1 408 ", b"HTTP/1.1 401 "))
    assert b"connection: close" in answer or b" 401 " in answer
    assert person.submit().status_code == 202


def test_a_request_that_was_given_up_is_a_problem(strict: Api) -> None:
    with closing(line_to(strict)) as line:
        line.sendall(HEAD)
        head, _, body = heard(line).partition(b"\r\n\r\n")

    assert b"content-type: application/problem+json" in head
    assert json.loads(body)["type"] == "/problems/request-timeout"


def test_a_connection_on_which_nothing_is_ever_said_is_closed(strict: Api) -> None:
    with closing(line_to(strict)) as line:
        assert heard(line) == b""


def test_a_body_that_trickles_in_after_its_refusal_is_not_listened_to_for_ever(strict: Api) -> None:
    with closing(line_to(strict)) as line:
        line.sendall(HEAD + b"\r\n{")
        assert heard(line).startswith(b"HTTP/1.1 401 ")


def test_a_reader_who_waits_is_not_taken_for_a_slow_sender(strict: Api) -> None:
    person = strict.person()
    job_id = person.accepted()

    answer = person.get(f"/jobs/{job_id}", params={"wait_seconds": 3})

    assert answer.status_code == 200


def test_one_connection_too_many_is_told_so_and_closed(strict: Api) -> None:
    with ExitStack() as lines:
        for _ in range(4):
            lines.enter_context(closing(line_to(strict)))
        eventually(lambda: len(_open(strict)) == 4, 10, "four are open")
        one_more = lines.enter_context(closing(line_to(strict)))
        head, _, body = heard(one_more).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: " in head
    assert json.loads(body)["type"] == "/problems/overloaded"
    eventually(lambda: not _open(strict), 10, "all are closed")
    assert strict.person().submit().status_code == 202


def _open(api: Api) -> set[Any]:
    return set(api.app.state.doorway.connections)


def test_only_so_many_readers_may_wait(strict: Api) -> None:
    person = strict.person()
    job_id = person.accepted()
    path, stream = f"/api/v1/jobs/{job_id}/events", {"Accept": "text/event-stream"}
    with ExitStack() as streams:
        opened = [streams.enter_context(person.http.stream("GET", path, headers=stream)) for _ in range(2)]
        told = [one.iter_lines() for one in opened]  # kept: a stream is closed with its last reader
        assert [next(lines) for lines in told] == ["id: 1", "id: 1"]

        with person.http.stream("GET", path, headers=stream) as third:
            assert third.status_code == 503
        problem(person.get(f"/jobs/{job_id}", params={"wait_seconds": 5}), 503, "overloaded")
        assert person.get(f"/jobs/{job_id}").status_code == 200

    eventually(lambda: person.get(f"/jobs/{job_id}", params={"wait_seconds": 0.1}).status_code == 200, 10, "seats free")


def test_only_so_many_bytes_of_bodies_are_held_at_a_time(strict: Api) -> None:
    person = strict.person()
    with closing(line_to(strict)) as line:
        line.sendall(
            b"POST /api/v1/jobs/batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Authorization: Bearer %s\r\nContent-Length: 90000\r\n\r\n{" % person.key.encode()
        )
        eventually(lambda: strict.app.front._bodies == 90_000, 10, "a body is on its way")

        answer = person.send(
            b'{"jobs": [{"task": "demo.noop", "payload": "%s"}]}' % (b"x" * 20_000), "/api/v1/jobs/batch"
        )
        problem(answer, 503, "overloaded")
        assert person.submit().status_code == 202

    eventually(lambda: strict.app.front._bodies == 0, 10, "it was given up")


def test_a_body_of_unknown_length_counts_as_the_largest_that_may_be(strict: Api) -> None:
    person = strict.person()
    address = httpx.URL(strict.url)
    with closing(http.client.HTTPConnection(address.host, address.port, timeout=QUIET_SECONDS)) as line:
        line.putrequest("POST", "/api/v1/jobs")
        line.putheader("Transfer-Encoding", "chunked")
        line.putheader("Authorization", f"Bearer {person.key}")
        line.putheader("Content-Type", "application/json")
        line.endheaders()
        eventually(lambda: strict.app.front._bodies == 262_144, 10, "a body is on its way")

        problem(person.submit(), 503, "overloaded")
        assert person.get("/jobs").status_code == 200
