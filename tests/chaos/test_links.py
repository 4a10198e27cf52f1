"""A fault of a link counts when something was seen to be held back, lost or cut by it, and is missed otherwise."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.chaos.faults import links
from tests.chaos.faults.scene import Scene, Strike
from tests.chaos.parts import Part
from tests.chaos.schedule import Fault, Kind
from tests.services.proxy import Proxy
from tests.services.stack import eventually

SECONDS = 20.0
MAKES: dict[Kind, Callable[[Scene, Strike], None]] = {
    Kind.DELAY: links.delay,
    Kind.RESET: links.reset,
    Kind.SILENCE: links.silence,
}
#: Kind, and the lot that decides how: silence has three ways.
FAULTS = [
    pytest.param(Kind.DELAY, 0.0, id="delay"),
    pytest.param(Kind.RESET, 0.0, id="reset"),
    pytest.param(Kind.SILENCE, 0.0, id="silence, then goes on"),
    pytest.param(Kind.SILENCE, 0.5, id="silence, then is cut"),
    pytest.param(Kind.SILENCE, 0.9, id="silence for ever"),
]


@pytest.fixture
def link(scene: Scene, tmp_path: Path) -> Iterator[Proxy]:
    """The link of a beat to a server that takes everything and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server, Proxy("127.0.0.1", server.getsockname()[1]) as proxy:
        scene.plant.parts["beat-1"] = Part("beat-1", ["none"], {}, tmp_path / "log", "ready", links={"postgres": proxy})
        yield proxy


def make(scene: Scene, kind: Kind, lot: float) -> Strike:
    strike = Strike(Fault(1, 2.0, kind, "beat-1", "postgres", 0.1, lot))
    MAKES[kind](scene, strike)
    return strike


@pytest.mark.parametrize(("kind", "lot"), FAULTS[:2])
def test_a_link_that_nobody_uses_was_not_struck(scene: Scene, link: Proxy, kind: Kind, lot: float) -> None:
    strike = make(scene, kind, lot)

    assert not strike.struck
    assert strike.failed in {"nothing was sent that it could hold back", "no connection was open"}
    assert (strike.connections, strike.held_bytes) == (0, 0)


@pytest.mark.parametrize(("kind", "lot"), [one for one in FAULTS if one.id != "reset"])
def test_a_connection_that_is_open_and_idle_was_not_held_back(
    scene: Scene, link: Proxy, kind: Kind, lot: float
) -> None:
    with socket.create_connection(("127.0.0.1", link.port), SECONDS):
        eventually(lambda: link.connections == 1, SECONDS, "the connection is open")
        strike = make(scene, kind, lot)

    assert not strike.struck


@pytest.mark.parametrize(("kind", "lot"), FAULTS)
def test_the_connections_that_were_struck_are_counted(scene: Scene, link: Proxy, kind: Kind, lot: float) -> None:
    over = threading.Event()

    def talk(connection: socket.socket) -> None:
        with suppress(OSError):  # it is cut off
            while not over.wait(0.01):
                connection.sendall(b"word")

    with (
        socket.create_connection(("127.0.0.1", link.port), SECONDS) as one,
        socket.create_connection(("127.0.0.1", link.port), SECONDS) as other,
    ):
        eventually(lambda: link.connections == 2, SECONDS, "both are open")
        talks = [threading.Thread(target=talk, args=(connection,)) for connection in (one, other)]
        for thread in talks:
            thread.start()
        try:
            strike = make(scene, kind, lot)
        finally:
            over.set()
            for thread in talks:
                thread.join()

    assert strike.struck
    assert strike.connections == 2
    assert (strike.held_bytes > 0) is (kind is not Kind.RESET)
