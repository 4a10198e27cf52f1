"""A TCP proxy that breaks to order: passes, delays, swallows, refuses, or cuts where a client sends certain bytes.

    with Proxy("127.0.0.1", 5432) as proxy:
        engine = connect_to(proxy.through(url))
        proxy.cut(b"COMMIT\\0", When.AFTER)

Every fault counts its exposures, so that a test can show that it was met: `proxy.cuts`, what `proxy.drop()` returns,
and `proxy.met` of what was held back or lost. `proxy.connections` are all that were let in.
"""

import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple, Self
from urllib.parse import urlsplit, urlunsplit

CHUNK: Final = 65_536
ANSWER_SECONDS: Final = 10.0
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER for an end without a goodbye."""


class When(StrEnum):
    """Where a connection is cut, seen from the bytes that were asked for."""

    BEFORE = "before"
    """They never reach the server."""
    AFTER = "after"
    """The server has answered them, and the client does not learn of it."""
    LATE = "late"
    """The client is cut off first; the server gets them some time later."""


@dataclass
class _Cut:
    pattern: bytes
    when: When
    times: int
    seconds: float
    then_refuse: bool


class Met(NamedTuple):
    """What a fault that holds back has touched since it was ordered."""

    connections: int
    bytes: int


@dataclass(eq=False)
class _Link:
    """One connection of a client, and ours to the server."""

    client: socket.socket
    server: socket.socket
    tail: bytes = b""
    swallow: bool = False
    mute: bool = False
    forgotten: bool = False
    answered: threading.Event = field(default_factory=threading.Event)

    def reset(self) -> None:
        """End both sides without a goodbye."""
        for side in (self.client, self.server):
            _reset(side)


class Proxy:
    """Listens on 127.0.0.1 and forwards to a server, as long as nothing else was ordered."""

    def __init__(self, host: str, port: int) -> None:
        """Stand in front of this server."""
        self._target = (host, port)
        self._lock = threading.Lock()
        self._links: set[_Link] = set()
        self._threads: list[threading.Thread] = []
        self._cut: _Cut | None = None
        self._delay = 0.0
        self._held: dict[_Link, int] = {}
        self._mute: tuple[bytes, bytes, set[_Link]] = (b"", b"", set())
        self._refusing = False
        self._open = threading.Event()
        self._open.set()
        self._closing = threading.Event()
        self.cuts = 0
        self.refusals = 0
        self.connections = 0

    def __enter__(self) -> Self:
        """Begin to listen."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._spawn(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up on everybody."""
        self._closing.set()
        self._open.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()
        for thread in self._threads:
            thread.join(ANSWER_SECONDS)

    def through(self, url: str) -> str:
        """Return `url` with this proxy's address in place of the server's."""
        parts = urlsplit(url)
        place = f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{self.port}".removeprefix("@")
        return urlunsplit(parts._replace(netloc=place))

    # Faults

    def cut(
        self, pattern: bytes, when: When, *, times: int = 1, seconds: float = 0.5, then_refuse: bool = False
    ) -> None:
        """Cut the next connections on which a client sends `pattern`; LATE delivers it after `seconds`.

        With `then_refuse` nobody is let in any more after the cut, until `heal`.
        """
        with self._lock:
            self._cut = _Cut(pattern, when, times, seconds, then_refuse)

    def delay(self, seconds: float) -> None:
        """Hold back everything that a client sends for so long."""
        self._forget_met()
        self._delay = seconds

    def swallow(self) -> None:
        """Become a black hole: connections live, and nothing passes in either direction."""
        self._forget_met()
        self._open.clear()

    def mute(self, asked: bytes = b"", keep: bytes = b"") -> None:
        """Bring clients nothing back on their connections of now, but for the bytes `keep`; new ones are well.

        With `asked` only a connection on which the client sends that from now on is struck.
        """
        with self._lock:
            self._mute = (asked, keep, set(self._links))
            for link in self._links:
                link.mute = not asked

    def forget(self) -> None:
        """Let the connections of now be silent for ever, both ways; new ones pass: a firewall has lost its memory."""
        self._forget_met()
        with self._lock:
            for link in self._links:
                link.forgotten = True

    def refuse(self) -> None:
        """Cut every connection, and each new one at once."""
        self._refusing = True
        self.drop()

    def drop(self) -> int:
        """Cut every connection, and return how many there were."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.reset()
        return len(links)

    @property
    def met(self) -> Met:
        """What `delay`, `swallow` or `forget`, whichever was ordered last, has held back so far, or lost."""
        with self._lock:
            return Met(len(self._held), sum(self._held.values()))

    def _forget_met(self) -> None:
        with self._lock:
            self._held = {}

    def heal(self) -> None:
        """Pass everything again; what was held back goes on its way."""
        with self._lock:
            self._cut = None
            self._mute = (b"", b"", set())
            for link in self._links:
                link.mute = False
        self._delay, self._refusing = 0.0, False
        self._open.set()

    # Its work

    def _spawn(self, work: object, *arguments: object) -> None:
        assert callable(work)
        thread = threading.Thread(target=work, args=arguments, name="proxy", daemon=True)
        self._threads = [*(one for one in self._threads if one.is_alive()), thread]
        thread.start()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target, ANSWER_SECONDS)
            except OSError:
                _reset(client)
                continue
            server.settimeout(None)
            link = _Link(client, server)
            if self._refusing:
                self.refusals += 1
                link.reset()
                continue
            with self._lock:
                self._links.add(link)
                self.connections += 1
            self._spawn(self._up, link)
            self._spawn(self._down, link)

    def _up(self, link: _Link) -> None:
        while chunk := _read(link.client):
            self._note(link, chunk, is_held=self._delay > 0)
            if self._delay:
                self._closing.wait(self._delay)
            self._open.wait()
            link.mute = link.mute or self._is_to_mute(link, chunk)
            if link.forgotten:
                continue
            cut = self._due(link, chunk)
            if cut is not None:
                self._do(cut, link, chunk)
                break
            if not _write(link.server, chunk):
                break
        self._end(link)

    def _down(self, link: _Link) -> None:
        while chunk := _read(link.server):
            self._note(link, chunk)
            self._open.wait()
            if link.mute:
                keep = self._mute[1]
                chunk = keep * chunk.count(keep) if keep else b""
            if link.forgotten:
                continue
            if link.swallow:
                link.answered.set()
            elif not _write(link.client, chunk):
                break
        link.answered.set()
        if not link.swallow:
            self._end(link)

    def _note(self, link: _Link, chunk: bytes, *, is_held: bool = False) -> None:
        """Count what is about to be held back, or lost."""
        if is_held or link.forgotten or not self._open.is_set():
            with self._lock:
                self._held[link] = self._held.get(link, 0) + len(chunk)

    def _is_to_mute(self, link: _Link, chunk: bytes) -> bool:
        asked, _, struck = self._mute
        return bool(asked) and link in struck and asked in chunk

    def _due(self, link: _Link, chunk: bytes) -> _Cut | None:
        with self._lock:
            cut = self._cut
            if cut is None:
                return None
            seen, link.tail = link.tail + chunk, chunk[-len(cut.pattern) + 1 :]
            if cut.pattern not in seen:
                return None
            cut.times -= 1
            self._cut = cut if cut.times > 0 else None
            self._refusing = self._refusing or cut.then_refuse
            self.cuts += 1
            return cut

    def _do(self, cut: _Cut, link: _Link, chunk: bytes) -> None:
        if cut.when is When.BEFORE:
            return
        link.swallow = True
        if cut.when is When.LATE:
            _reset(link.client)
            self._closing.wait(cut.seconds)
        if _write(link.server, chunk):
            link.answered.wait(ANSWER_SECONDS)

    def _end(self, link: _Link) -> None:
        link.reset()
        with self._lock:
            self._links.discard(link)


def _read(side: socket.socket) -> bytes:
    try:
        return side.recv(CHUNK)
    except OSError:
        return b""


def _write(side: socket.socket, chunk: bytes) -> bool:
    try:
        side.sendall(chunk)
    except OSError:
        return False
    return True


def _reset(side: socket.socket) -> None:
    with suppress(OSError):
        side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    with suppress(OSError):
        side.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads from it; close alone would not
    side.close()
