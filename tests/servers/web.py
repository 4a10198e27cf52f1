"""A web server that misbehaves as its URL asks.

The last part of the path picks the behaviour, the query its numbers: `/status?code=503&retry-after=7`,
`/drip?bytes=100`, `/silence`.
"""

import gzip
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

#: Between two bytes of a dripping answer. Seconds.
DRIP_SECONDS = 0.05


@dataclass(frozen=True)
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    sni: str | None


class WebServer(ThreadingHTTPServer):
    """Listens on a port of its own; `requests` has what arrived."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        """Bind to loopback."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[Seen] = []
        self.connections = 0
        self.stopping = threading.Event()
        self.sni: str | None = None

    @property
    def port(self) -> int:
        """Return the port."""
        return int(self.server_address[1])

    def url(self, path: str = "/", host: str = "127.0.0.1", scheme: str = "http") -> str:
        """Return a URL of this server."""
        return f"{scheme}://{host}:{self.port}{path}"

    def use_tls(self, context: ssl.SSLContext) -> None:
        """Speak TLS, and note the name that each client asks for."""

        def note(_socket: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
            self.sni = name

        context.sni_callback = note
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Count the connection, and take it."""
        self.connections += 1
        return True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients hang up on purpose here."""


@contextmanager
def running_web_server(context: ssl.SSLContext | None = None) -> Iterator[WebServer]:
    """Lend a server that listens, in TLS when there is a `context`."""
    server = WebServer()
    if context is not None:
        server.use_tls(context)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WebServer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the standard library
        """Say nothing."""

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(length)
        self.server.requests.append(Seen(self.command, self.path, headers, body, self.server.sni))
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        mode = parts.path.strip("/").rpartition("/")[2].replace("-", "_") or "echo"
        behave: Callable[[dict[str, str]], None] = getattr(self, f"_{mode}")
        behave(query)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _serve  # noqa: N815 - http.server calls them so

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"content_length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _begin(self, length: int, content_type: str = "text/plain") -> None:
        self.send_response(200)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(length))
        self.end_headers()

    def _echo(self, query: dict[str, str]) -> None:
        seen = self.server.requests[-1]
        shown = {"method": seen.method, "path": seen.path, "headers": seen.headers, "body": seen.body.decode()}
        self._answer(200, json.dumps(shown).encode(), content_type="application/json")

    def _status(self, query: dict[str, str]) -> None:
        headers = {name.replace("-", "_"): query[name] for name in ("retry-after", "location") if name in query}
        self._answer(int(query["code"]), b"", **headers)

    def _clock(self, query: dict[str, str]) -> None:
        """Answer 503 with a Retry-After and a Date that are both as asked."""
        self.send_response_only(503)
        for name in ("date", "retry-after"):
            self.send_header(name, query[name])
        self.send_header("content-length", "0")
        self.end_headers()

    def _redirect(self, query: dict[str, str]) -> None:
        self._answer(302, b"", location=self.path)

    def _bytes(self, query: dict[str, str]) -> None:
        self._answer(200, bytes(range(256)), content_type=query.get("type", "application/octet-stream"))

    def _cookie(self, query: dict[str, str]) -> None:
        self._answer(200, b"", set_cookie="session=secret")

    def _headers(self, query: dict[str, str]) -> None:
        self._answer(200, b"", **{f"x_{number}": "v" * int(query["size"]) for number in range(int(query["count"]))})

    def _huge(self, query: dict[str, str]) -> None:
        """Send far more than was asked for, in chunks, with no length announced."""
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        while not self.server.stopping.is_set():
            self.wfile.write(piece)

    def _bomb(self, query: dict[str, str]) -> None:
        body = gzip.compress(bytes(int(query["bytes"])))
        self._answer(200, body, content_encoding="gzip", content_type="text/plain")

    def _gzip(self, query: dict[str, str]) -> None:
        self._answer(200, gzip.compress(query["text"].encode()), content_encoding="gzip", content_type="text/plain")

    def _drip(self, query: dict[str, str]) -> None:
        length = int(query["bytes"])
        self._begin(length)
        for _ in range(length):
            if self.server.stopping.wait(DRIP_SECONDS):
                return
            self.wfile.write(b".")
            self.wfile.flush()

    def _slow_headers(self, query: dict[str, str]) -> None:
        for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"z" * 1000:
            if self.server.stopping.wait(DRIP_SECONDS):
                return
            self.wfile.write(bytes([byte]))
            self.wfile.flush()

    def _silence(self, query: dict[str, str]) -> None:
        self.server.stopping.wait()

    def _short(self, query: dict[str, str]) -> None:
        """Promise more than is sent, and close."""
        self._begin(1000)
        self.wfile.write(b"half")
        self.close_connection = True

    def _reset(self, query: dict[str, str]) -> None:
        """Send half of the body and then RST."""
        self._begin(1_000_000)
        self.wfile.write(b"half")
        self.wfile.flush()
        # The answer's first half must have been read before the reset throws away what was not.
        self.server.stopping.wait(DRIP_SECONDS)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.rfile.close()
        self.connection.close()

    def _nonsense(self, query: dict[str, str]) -> None:
        self.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        self.close_connection = True
