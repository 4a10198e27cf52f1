"""A process's own HTTP answers: /health, /ready and /metrics, from a thread that busy work cannot block."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

log = structlog.get_logger()

Check = Callable[[], dict[str, bool]]


class _Answers(BaseHTTPRequestHandler):
    registry: ClassVar[CollectorRegistry]
    check: ClassVar[Check]
    timeout = 5

    def do_GET(self) -> None:
        match self.path.partition("?")[0]:
            case "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, generate_latest(self.registry))
            case "/health":
                self._answer(200, "application/json", b'{"status": "alive"}')
            case "/ready":
                found = type(self).check()
                ready = all(found.values())
                body = {"status": "ready" if ready else "not_ready", "dependencies": found}
                self._answer(200 if ready else 503, "application/json", json.dumps(body).encode())
            case _:
                self._answer(404, "application/json", b'{"status": "not_found"}')

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's name
        """Keep scrapes out of the log."""


def serve(host: str, port: int, registry: CollectorRegistry, check: Check) -> ThreadingHTTPServer | None:
    """Answer on `host` and `port` from a thread, until the process ends or `shutdown` is called.

    None: the address cannot be had, which is logged. That is no reason to run no jobs.
    """
    answers = type("Answers", (_Answers,), {"registry": registry, "check": staticmethod(check)})
    try:
        server = ThreadingHTTPServer((host, port), answers)
    except OSError as error:
        log.error("monitor_not_served", host=host, port=port, reason=str(error))  # noqa: TRY400 - the reason says it all
        return None
    threading.Thread(target=server.serve_forever, name="monitor", daemon=True).start()
    return server
