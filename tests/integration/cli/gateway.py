"""A gateway in front of a real API that loses, refuses and garbles requests to order."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HEADERS = ("Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID")


class Gateway(ThreadingHTTPServer):
    """Passes requests on; each fault in `faults` befalls one request, in order.

    `lose`: the API gets the request and the client no answer. `busy`: 503 with Retry-After, `page`: a 404 in HTML,
    `other`: a JSON list, `text`: a 200 in HTML; these never reach the API.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int) -> None:
        """Stand in front of the API at `port`."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.api_port = port
        self.faults: list[str] = []
        self.keys: list[str | None] = []
        self.paths: list[str] = []

    @property
    def url(self) -> str:
        """How a client reaches it."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: connections are cut on purpose here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Gateway

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the standard library
        """Say nothing."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.keys.append(self.headers.get("Idempotency-Key"))
        self.server.paths.append(self.path)
        match self.server.faults.pop(0) if self.server.faults else "":
            case "busy":
                self._answer(503, b'{"type": "/problems/overloaded", "title": "Too much is waiting"}', retry_after="0")
            case "page":
                self._answer(404, b"<h1>Not here</h1>")
            case "other":
                self._answer(200, b"[]")
            case "text":
                self._answer(200, b"<h1>Hello</h1>")
            case fault:
                status, content, headers = self._pass_on(body)
                if fault == "lose":
                    self.close_connection = True
                    return
                self._answer(status, content, **headers)

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - http.server calls them so

    def _pass_on(self, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.api_port, timeout=30)
        headers = {name: self.headers[name] for name in HEADERS if name in self.headers}
        upstream.request(self.command, self.path, body, headers)
        answer = upstream.getresponse()
        content = answer.read()
        upstream.close()
        replayed = {"idempotency_replayed": "true"} if answer.getheader("Idempotency-Replayed") else {}
        return answer.status, content, replayed

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"content_length": str(len(body)), "content_type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def running_gateway(port: int) -> Iterator[Gateway]:
    """Lend a gateway that listens."""
    gateway = Gateway(port)
    thread = threading.Thread(target=gateway.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield gateway
    finally:
        gateway.shutdown()
        thread.join()
        gateway.server_close()
