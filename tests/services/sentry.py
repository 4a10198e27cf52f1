"""A server that takes what Sentry's SDK sends: envelopes, lines of JSON after one another, gzipped or not.

After https://develop.sentry.dev/sdk/data-model/envelopes/.
"""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

ANSWER_SECONDS: Final = 60.0


class SentryServer(ThreadingHTTPServer):
    """Keeps what is sent to project 1."""

    daemon_threads = True

    def __init__(self) -> None:
        """Listen on a free port."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.dsn = f"http://public@127.0.0.1:{self.server_address[1]}/1"
        self.bodies: list[bytes] = []
        self.events: list[dict[str, Any]] = []
        self.check_ins: list[dict[str, Any]] = []
        self.may_answer = threading.Event()
        """Without it what is sent is kept, and nobody is answered."""
        self.may_answer.set()

    def take(self, body: bytes) -> None:
        """Keep the items of one envelope."""
        self.bodies.append(body)
        _, _, rest = body.partition(b"\n")
        while rest.strip():
            head, _, rest = rest.partition(b"\n")
            facts = json.loads(head)
            size = facts.get("length", rest.find(b"\n"))
            item, rest = json.loads(rest[:size]), rest[size:].lstrip(b"\n")
            {"event": self.events, "check_in": self.check_ins}[facts["type"]].append(item)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: SentryServer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the standard library
        """Say nothing."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        assert self.path == "/api/1/envelope/", self.path
        self.server.take(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
        self.server.may_answer.wait(ANSWER_SECONDS)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")


@contextmanager
def receiving() -> Iterator[SentryServer]:
    """Lend a server that listens."""
    server = SentryServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
