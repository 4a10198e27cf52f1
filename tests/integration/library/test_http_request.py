"""`http.request`: what it sends, and what it makes of the answers of a server that misbehaves."""

import base64
import json
import logging
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.errors import PermanentError, Throttled
from tasks.library.failures import OutboundError, ServerTroubleError, UrlRefusedError
from tasks.library.http_request import request
from tasks.library.outbound import USER_AGENT, Call
from tests.integration.library.calls import call, closed_port
from tests.servers.web import WebServer


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


def test_a_header_that_slipped_through_is_permanent(web: WebServer) -> None:
    with pytest.raises(PermanentError, match="malformed"):
        call(web.url(), headers={"X-A": "b\r\nX-B: c"})

    assert web.requests == []


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
