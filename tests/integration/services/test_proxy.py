"""The proxy does to a connection what it was told to, and nothing else."""

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.services.proxy import Proxy, When
from tests.services.stack import eventually


class Echo:
    """A server that sends back what it gets, and keeps a record."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.heard = b""
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            try:
                while chunk := connection.recv(1000):
                    self.heard += chunk
                    connection.sendall(chunk)
            except OSError:
                return


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.listener.shutdown(socket.SHUT_RDWR)
    server.listener.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy("127.0.0.1", echo.port) as made:
        yield made


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), 5) as connection:
        yield connection


def is_turned_away(proxy: Proxy) -> bool:
    """Tell whether a new connection is cut, or not even made: the reset may be there first."""
    try:
        with socket.create_connection(("127.0.0.1", proxy.port), 5) as another:
            return ended(another)
    except OSError:
        return True


def ended(client: socket.socket) -> bool:
    """Tell whether the other side has hung up, one way or the other."""
    try:
        return client.recv(1000) == b""
    except ConnectionError:
        return True


def test_it_passes_what_it_gets(client: socket.socket) -> None:
    client.sendall(b"hello")

    assert client.recv(1000) == b"hello"


def test_a_cut_before_keeps_the_bytes_from_the_server(echo: Echo, proxy: Proxy, client: socket.socket) -> None:
    proxy.cut(b"COMMIT", When.BEFORE)
    client.sendall(b"COMMIT")

    assert ended(client)
    assert echo.heard == b""
    assert proxy.cuts == 1


def test_a_cut_after_keeps_the_answer_from_the_client(echo: Echo, proxy: Proxy, client: socket.socket) -> None:
    proxy.cut(b"COMMIT", When.AFTER)
    client.sendall(b"COMMIT")

    assert ended(client)
    assert echo.heard == b"COMMIT"


def test_a_late_cut_delivers_when_the_client_has_gone(echo: Echo, proxy: Proxy, client: socket.socket) -> None:
    proxy.cut(b"COMMIT", When.LATE, seconds=0.2)
    client.sendall(b"COMMIT")

    assert ended(client)
    assert echo.heard == b""
    eventually(lambda: echo.heard == b"COMMIT", 5, "the server has it")


def test_a_pattern_is_found_across_two_packets(echo: Echo, proxy: Proxy, client: socket.socket) -> None:
    proxy.cut(b"COMMIT", When.BEFORE)
    client.sendall(b"COM")
    assert client.recv(1000) == b"COM"
    client.sendall(b"MIT")

    assert ended(client)
    assert echo.heard == b"COM"


def test_a_cut_is_made_as_often_as_asked(proxy: Proxy) -> None:
    proxy.cut(b"x", When.BEFORE, times=2)
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", proxy.port), 5) as client:
            client.sendall(b"x")
            assert ended(client)

    with socket.create_connection(("127.0.0.1", proxy.port), 5) as client:
        client.sendall(b"x")
        assert client.recv(10) == b"x"
    assert proxy.cuts == 2


def test_a_black_hole_lets_go_when_it_heals(echo: Echo, proxy: Proxy, client: socket.socket) -> None:
    proxy.swallow()
    client.sendall(b"hello")
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.recv(1000)
    assert echo.heard == b""

    proxy.heal()

    client.settimeout(5)
    assert client.recv(1000) == b"hello"


def test_who_is_refused_is_cut_off(proxy: Proxy, client: socket.socket) -> None:
    proxy.refuse()

    assert ended(client)
    assert is_turned_away(proxy)

    proxy.heal()
    with socket.create_connection(("127.0.0.1", proxy.port), 5) as another:
        another.sendall(b"x")
        assert another.recv(10) == b"x"


def test_an_address_is_rewritten_with_its_user_and_its_database(proxy: Proxy) -> None:
    assert proxy.through("postgresql://u:p@db:5432/name?a=b") == f"postgresql://u:p@127.0.0.1:{proxy.port}/name?a=b"
    assert proxy.through("redis://db:1/0") == f"redis://127.0.0.1:{proxy.port}/0"


def test_a_muted_connection_brings_back_only_what_is_kept_and_a_new_one_everything(
    proxy: Proxy, client: socket.socket, echo: Echo
) -> None:
    client.settimeout(5)
    client.sendall(b"1")
    assert client.recv(10) == b"1"

    proxy.mute(keep=b"tick")
    client.sendall(b"news")
    eventually(lambda: echo.heard.endswith(b"news"), 5, "what the client says gets through")
    client.sendall(b"tick")
    assert client.recv(10) == b"tick"
    with socket.create_connection(("127.0.0.1", proxy.port), 5) as another:
        another.sendall(b"news")
        assert another.recv(10) == b"news"

    proxy.heal()
    client.sendall(b"again")
    assert client.recv(10) == b"again"


def test_only_the_connection_that_asks_for_it_is_muted(proxy: Proxy, client: socket.socket) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), 5) as other:
        client.settimeout(0.3)
        for one in (client, other):
            one.sendall(b"hello")
            assert one.recv(10) == b"hello"

        proxy.mute(b"BRPOP")
        client.sendall(b"BRPOP")
        other.sendall(b"hello")

        assert other.recv(10) == b"hello"
        with pytest.raises(TimeoutError):
            client.recv(10)


def test_what_was_held_back_or_lost_is_counted_by_connection(proxy: Proxy, client: socket.socket) -> None:
    client.settimeout(5)
    client.sendall(b"hello")
    assert client.recv(10) == b"hello"
    assert proxy.met == (0, 0)

    proxy.delay(0.05)
    client.sendall(b"late")
    assert client.recv(10) == b"late"
    assert proxy.met == (1, 4)

    proxy.heal()
    client.sendall(b"prompt")
    assert client.recv(10) == b"prompt"
    assert proxy.met == (1, 4)

    proxy.swallow()
    assert proxy.met == (0, 0)
    with socket.create_connection(("127.0.0.1", proxy.port), 5) as another:
        client.sendall(b"held")
        another.sendall(b"too")
        eventually(lambda: proxy.met == (2, 7), 5, "both are held back")
    proxy.heal()
    assert client.recv(10) == b"held"

    proxy.forget()
    client.sendall(b"lost")
    eventually(lambda: proxy.met == (1, 4), 5, "it is lost")


def test_what_was_cut_off_is_counted(proxy: Proxy, client: socket.socket) -> None:
    client.settimeout(5)
    client.sendall(b"hello")
    assert client.recv(10) == b"hello"

    assert proxy.drop() == 1
    assert ended(client)
    eventually(lambda: proxy.drop() == 0, 5, "nothing is left to cut")
