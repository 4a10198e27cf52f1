"""How `http.request` connects: to the address that was checked, within its time, and with TLS that is checked."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address

import pytest

from tasks.library.addresses import IpAddress
from tasks.library.connection import dial
from tasks.library.failures import BrokenAnswerError, TooSlowError, UnreachableError, UrlRefusedError
from tasks.library.outbound import Call, send
from tasks.library.settings import HttpSettings
from tests.integration.library.calls import OPEN, call, closed_port
from tests.servers.certificates import Certificate
from tests.servers.sockets import watched_connections
from tests.servers.web import WebServer, running_web_server


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
