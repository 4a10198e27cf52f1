"""`http.request` against a server that misbehaves."""

import base64
import json
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.errors import PermanentError, Throttled
from tasks.library.addresses import IpAddress
from tasks.library.connection import dial
from tasks.library.failures import (
    BrokenAnswerError,
    OutboundError,
    ServerTroubleError,
    TooSlowError,
    UnreachableError,
    UrlRefusedError,
)
from tasks.library.http_request import request
from tasks.library.outbound import USER_AGENT, Call, HttpAnswer, send
from tasks.library.settings import HttpSettings
from tests.servers.certificates import Certificate
from tests.servers.sockets import watched_connections
from tests.servers.web import WebServer, running_web_server

OPEN = HttpSettings(allow_private_addresses=True)


def call(url: str, **facts: Any) -> HttpAnswer:
    return send(Call(url=url, **{"timeout_seconds": 10, **facts}), OPEN)


@contextmanager
def silent_port() -> Iterator[int]:
    """Lend a port that leaves attempts to connect unanswered, as a blackholed address does: its backlog is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = int(listener.getsockname()[1])
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield port


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_request_arrives_as_described_and_the_answer_comes_back(web: WebServer) -> None:
    answer = call(web.url("/echo?q=1"), method="PUT", headers={"X-Colour": "green"}, body={"grün": [1, None]})

    seen = web.requests[0]
    assert (seen.method, seen.path) == ("PUT", "/echo?q=1")
    assert (seen.headers["x-colour"], seen.headers["content-type"]) == ("green", "application/json")
    assert json.loads(seen.body) == {"grün": [1, None]}
    assert (seen.headers["user-agent"], seen.headers["host"]) == (USER_AGENT, f"127.0.0.1:{web.port}")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert json.loads(answer.body)["path"] == "/echo?q=1"
    assert (answer.body_is_base64, answer.headers_truncated) == (False, False)
    assert 0 < answer.elapsed_seconds < 10


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
def test_a_request_without_a_body_announces_none(web: WebServer, method: str) -> None:
    answer = call(web.url(), method=method)

    assert "content-length" not in web.requests[0].headers
    assert "content-type" not in web.requests[0].headers
    assert (answer.body == "") is (method == "HEAD")


def test_a_post_without_a_body_announces_an_empty_one(web: WebServer) -> None:
    call(web.url(), method="POST")

    assert web.requests[0].headers["content-length"] == "0"


def test_a_text_body_is_sent_as_it_is(web: WebServer) -> None:
    call(web.url(), method="POST", body="<ü/>", headers={"content-type": "application/xml"})

    assert web.requests[0].body == "<ü/>".encode()
    assert web.requests[0].headers["content-type"] == "application/xml"


def test_the_jobs_id_is_the_idempotency_key_unless_the_caller_has_one(
    web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_HTTP_ALLOW_PRIVATE_ADDRESSES", "true")
    running = SimpleNamespace(request=SimpleNamespace(id="018f8f5e-0000-7000-8000-000000000000"))
    run: Any = request.run.__func__  # type: ignore[attr-defined]  # the function under the bound method

    run(running, url=web.url(), expected_status=[200, 201])
    run(running, url=web.url(), headers={"idempotency-key": "mine"}, expected_status=200)
    run(SimpleNamespace(request=SimpleNamespace(id=None)), url=web.url())

    keys = [seen.headers.get("idempotency-key") for seen in web.requests]
    assert keys == ["018f8f5e-0000-7000-8000-000000000000", "mine", None]


def test_private_addresses_are_refused_by_the_task_out_of_the_box(web: WebServer) -> None:
    running = SimpleNamespace(request=SimpleNamespace(id=None))
    run: Any = request.run.__func__  # type: ignore[attr-defined]  # the function under the bound method

    with pytest.raises(UrlRefusedError):
        run(running, url=web.url())

    assert web.connections == 0


def test_nothing_is_taken_from_the_environment(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")

    assert call(web.url()).status == 200


def test_cookies_are_not_kept(web: WebServer) -> None:
    call(web.url("/cookie"))
    call(web.url("/echo"))

    assert "cookie" not in web.requests[1].headers


def test_a_redirect_is_not_followed(web: WebServer) -> None:
    with pytest.raises(PermanentError, match="302"):
        call(web.url("/redirect"))

    assert web.connections == 1


def test_a_redirect_that_is_expected_is_an_answer(web: WebServer) -> None:
    answer = call(web.url("/redirect"), expected_statuses=frozenset({302}))

    assert (answer.status, answer.headers["location"]) == (302, "/redirect")
    assert web.connections == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 422, 300, 304])
def test_a_status_that_a_retry_would_not_change_is_permanent(web: WebServer, status: int) -> None:
    with pytest.raises(PermanentError, match=str(status)):
        call(web.url(f"/status?code={status}&retry-after=5"))


def test_a_success_that_was_not_expected_is_permanent(web: WebServer) -> None:
    with pytest.raises(PermanentError, match="200"):
        call(web.url(), expected_statuses=frozenset({201}))


@pytest.mark.parametrize("status", [404, 500, 503, 429])
def test_any_status_can_be_expected(web: WebServer, status: int) -> None:
    answer = call(web.url(f"/status?code={status}&retry-after=5"), expected_statuses=frozenset({status}))

    assert answer.status == status


@pytest.mark.parametrize("status", [429, 500, 501, 502, 503, 504, 599])
def test_trouble_without_a_time_burns_an_attempt(web: WebServer, status: int) -> None:
    with pytest.raises(ServerTroubleError, match=str(status)):
        call(web.url(f"/status?code={status}"))


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_trouble_with_a_time_is_waited_out(web: WebServer, status: int) -> None:
    with pytest.raises(Throttled) as throttled:
        call(web.url(f"/status?code={status}&retry-after=7"))

    assert throttled.value.retry_after == timedelta(seconds=7)


@pytest.mark.parametrize(("status", "retry_after"), [(500, "7"), (503, "soon"), (429, "-1")])
def test_a_time_that_does_not_count_burns_an_attempt(web: WebServer, status: int, retry_after: str) -> None:
    with pytest.raises(ServerTroubleError):
        call(web.url(f"/status?code={status}&retry-after={retry_after}"))


def test_an_hour_is_the_longest_wait(web: WebServer) -> None:
    with pytest.raises(Throttled) as throttled:
        call(web.url("/status?code=503&retry-after=86400"))

    assert throttled.value.retry_after == timedelta(hours=1)


def test_a_date_to_wait_for_is_read_by_the_servers_own_clock(web: WebServer) -> None:
    dates = "date=Sun, 06 Nov 1994 08:49:37 GMT&retry-after=Sun, 06 Nov 1994 08:50:07 GMT"

    with pytest.raises(Throttled) as throttled:
        call(web.url("/clock?" + dates.replace(" ", "%20")))

    assert throttled.value.retry_after == timedelta(seconds=30)


def test_a_huge_body_is_cut_off_while_it_streams(web: WebServer) -> None:
    with pytest.raises(PermanentError, match="max_response_bytes"):
        call(web.url("/huge"), max_response_bytes=100_000)


def test_a_gzip_bomb_is_counted_as_what_it_unpacks_to(web: WebServer) -> None:
    with pytest.raises(PermanentError, match="max_response_bytes"):
        call(web.url("/bomb?bytes=50000000"), max_response_bytes=100_000)


def test_a_gzip_body_is_unpacked(web: WebServer) -> None:
    assert call(web.url("/gzip?text=hello")).body == "hello"
    assert web.requests[0].headers["accept-encoding"] == "gzip"


def test_a_body_that_is_not_text_comes_in_base64(web: WebServer) -> None:
    answer = call(web.url("/bytes"))

    assert answer.body_is_base64
    assert base64.b64decode(answer.body) == bytes(range(256))


@pytest.mark.parametrize(("count", "size"), [(99, 10), (20, 1000)])
def test_headers_are_kept_up_to_a_bound(web: WebServer, count: int, size: int) -> None:
    answer = call(web.url(f"/headers?count={count}&size={size}"))

    assert answer.headers_truncated
    assert len(answer.headers) <= 100
    assert sum(len(name) + len(value) for name, value in answer.headers.items()) <= 16 * 1024
    assert answer.headers["x-0"] == "v" * size


def test_more_than_the_ceiling_may_not_be_asked_for(web: WebServer) -> None:
    with pytest.raises(PermanentError, match="at most 1048576"):
        call(web.url(), max_response_bytes=1024 * 1024 + 1)

    assert web.connections == 0


@pytest.mark.parametrize("path", ["/silence", "/slow-headers", "/drip?bytes=1000"])
def test_a_slow_answer_is_given_up_when_the_total_time_is_over(web: WebServer, path: str) -> None:
    began = time.monotonic()

    with pytest.raises(TooSlowError):
        call(web.url(path), timeout_seconds=0.5)

    assert 0.4 < time.monotonic() - began < 3


def test_a_request_that_is_not_taken_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(TooSlowError):
        call(
            f"http://127.0.0.1:{listener.getsockname()[1]}/",
            method="POST",
            body="x" * 20_000_000,
            timeout_seconds=0.5,
        )


@pytest.mark.parametrize("path", ["/reset", "/short", "/nonsense"])
def test_an_answer_that_breaks_off_can_be_tried_again(web: WebServer, path: str) -> None:
    with pytest.raises(BrokenAnswerError):
        call(web.url(path))


def test_a_server_that_hangs_up_on_a_large_request_can_be_tried_again() -> None:
    with running_web_server() as server:
        server.verify_request = lambda request, client_address: False  # type: ignore[method-assign]  # takes none

        with pytest.raises(BrokenAnswerError):
            call(server.url(), method="POST", body="x" * 20_000_000)


def test_a_server_that_is_not_there_can_be_tried_again() -> None:
    with pytest.raises(UnreachableError):
        call(f"http://127.0.0.1:{closed_port()}/")


def test_an_address_that_does_not_answer_is_given_up_when_the_time_to_connect_is_over() -> None:
    began = time.monotonic()

    with silent_port() as port, pytest.raises(TooSlowError):
        call(f"http://127.0.0.1:{port}/", connect_timeout_seconds=0.3)

    assert time.monotonic() - began < 3


def test_an_address_that_does_not_answer_leaves_time_for_the_next(web: WebServer) -> None:
    with silent_port() as silent:

        def half_dead(address: IpAddress, port: int, seconds: float) -> socket.socket:
            return dial(ip_address("127.0.0.1"), silent if address.version == 6 else port, seconds)

        answer = send(
            Call(url=web.url(host="web.test"), connect_timeout_seconds=1),
            OPEN,
            resolver=lambda host: [ip_address("::1"), ip_address("127.0.0.1")],
            dialler=half_dead,
        )

    assert answer.status == 200


def test_the_next_address_is_tried_when_one_refuses(web: WebServer) -> None:
    def resolver(host: str) -> list[IpAddress]:
        return [ip_address("::1"), ip_address("127.0.0.1")]

    answer = send(Call(url=web.url(host="web.test")), OPEN, resolver=resolver)

    assert answer.status == 200
    assert web.requests[0].headers["host"] == f"web.test:{web.port}"


def test_a_name_that_changes_its_address_is_connected_to_where_it_was_checked(web: WebServer) -> None:
    answers = [["127.0.0.1"], ["127.0.0.2"], ["127.0.0.3"]]
    asked: list[str] = []

    def rebinding(host: str) -> list[IpAddress]:
        asked.append(host)
        return [ip_address(address) for address in answers[len(asked) - 1]]

    with watched_connections() as connected:
        answer = send(Call(url=web.url(host="rebind.test")), OPEN, resolver=rebinding)

    assert answer.status == 200
    assert asked == ["rebind.test"]
    assert connected == [("127.0.0.1", web.port)]


def test_a_connection_that_ends_elsewhere_is_refused_before_a_byte_is_sent(web: WebServer) -> None:
    dialled: list[IpAddress] = []

    def diverted(address: IpAddress, port: int, seconds: float) -> socket.socket:
        dialled.append(address)
        return dial(ip_address("127.0.0.1"), web.port, seconds)

    with pytest.raises(UrlRefusedError, match="another address"):
        send(
            Call(url="http://public.example/"),
            HttpSettings(),
            resolver=lambda host: [ip_address("93.184.215.14")],
            dialler=diverted,
        )

    assert dialled == [ip_address("93.184.215.14")]
    assert web.requests == []


def test_a_header_that_slipped_through_is_permanent(web: WebServer) -> None:
    with pytest.raises(PermanentError, match="malformed"):
        call(web.url(), headers={"X-A": "b\r\nX-B: c"})

    assert web.requests == []


def test_tls_is_checked_against_the_name_in_the_url(certificate: Certificate) -> None:
    settings = HttpSettings(allow_private_addresses=True, ca_file=certificate.certificate_file)
    asked: list[str] = []

    def resolver(host: str) -> list[IpAddress]:
        asked.append(host)
        return [ip_address("127.0.0.1")]

    with running_web_server(certificate.server_context()) as server:
        answer = send(Call(url=server.url(host="web.test", scheme="https")), settings, resolver=resolver)
        with pytest.raises(UnreachableError, match="certificate"):
            send(Call(url=server.url(host="other.test", scheme="https")), settings, resolver=resolver)
        with pytest.raises(UnreachableError, match="certificate"):
            send(Call(url=server.url(host="web.test", scheme="https")), OPEN, resolver=resolver)

    assert answer.status == 200
    assert [(seen.sni, seen.headers["host"]) for seen in server.requests] == [("web.test", f"web.test:{server.port}")]


def test_a_server_without_tls_can_be_tried_again(web: WebServer) -> None:
    with pytest.raises(UnreachableError, match="TLS"):
        call(web.url("/nonsense", scheme="https"))


def test_a_handshake_that_does_not_end_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(TooSlowError):
        call(f"https://127.0.0.1:{listener.getsockname()[1]}/", connect_timeout_seconds=0.3)


@pytest.mark.parametrize("path", ["/echo", "/status?code=404", "/status?code=500", "/short", "/huge", "/cookie"])
def test_no_secret_of_a_request_gets_into_logs_or_errors(
    web: WebServer, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    secrets = ("in-query", "in-header", "in-body", "session=secret")
    url = web.url(path + ("&" if "?" in path else "?") + "token=in-query")

    with caplog.at_level(logging.DEBUG):
        try:
            call(url, method="POST", headers={"Authorization": "Bearer in-header"}, body="in-body")
        except (OutboundError, PermanentError) as failure:
            shown = repr(failure) + str(failure)
        else:
            shown = ""

    assert b"in-body" in web.requests[0].body
    assert not any(secret in caplog.text + shown for secret in secrets)
    assert "in-" not in repr(Call(url=url, headers={"Authorization": "in-header"}, body="in-body"))


def test_no_connection_is_left_open(web: WebServer) -> None:
    with pytest.raises(PermanentError):
        call(web.url("/status?code=404"))
    call(web.url())

    assert web.requests[0].headers["connection"] == "close"
    assert web.connections == 2
