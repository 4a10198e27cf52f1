"""An OTLP collector, and a web server that somebody calls: what is sent to it is kept."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Told:
    """A span as it was received."""

    def __init__(self, span: Span, service: str) -> None:
        """Take it apart."""
        self.name, self.service, self.kind = span.name, service, Span.SpanKind.Name(span.kind)
        self.trace, self.id, self.parent = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
        self.links = [(link.trace_id.hex(), link.span_id.hex()) for link in span.links]
        self.facts = {fact.key: getattr(fact.value, str(fact.value.WhichOneof("value"))) for fact in span.attributes}
        self.failed = span.status.code == span.status.STATUS_CODE_ERROR
        self.status = span.status.message


class Collector(ThreadingHTTPServer):
    """Keeps every request: those to /v1/traces as spans, all others by their headers."""

    daemon_threads = True

    def __init__(self) -> None:
        """Listen on a free port."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.bodies: list[bytes] = []
        self.spans: list[Told] = []
        self.called: list[dict[str, str]] = []

    def take(self, body: bytes) -> None:
        """Keep the spans of one request."""
        self.bodies.append(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            facts = {fact.key: fact.value.string_value for fact in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [Told(span, facts["service.name"]) for span in scope.spans]

    def trace(self, trace_id: str) -> list[Told]:
        """Return the spans of one trace."""
        return [span for span in self.spans if span.trace == trace_id]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Collector

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the standard library
        """Say nothing."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.take(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
        self._answer(200)

    def do_GET(self) -> None:
        self.server.called.append({name.lower(): value for name, value in self.headers.items()})
        self._answer(204)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def collecting() -> Iterator[Collector]:
    """Lend a collector that listens."""
    collector = Collector()
    thread = threading.Thread(target=collector.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield collector
    finally:
        collector.shutdown()
        thread.join()
        collector.server_close()
