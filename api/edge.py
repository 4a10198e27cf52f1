"""The edge of the API: what every request gets before and after its route, in one plain ASGI layer."""

import asyncio
import os
import re
import time
from collections.abc import Iterable
from typing import Any, Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import problems
from jobs.errors import OutcomeUnknown, Unavailable
from jobs.telemetry import logs
from jobs.telemetry.metrics import Instruments

log = structlog.get_logger()

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,128}")
#: W3C Trace Context, "Versioning of traceparent": of a later version is read what this one knows.
_TRACEPARENT: Final = re.compile(
    rb"(?P<version>(?!ff)[0-9a-f]{2})-"
    rb"(?P<ids>(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
_KNOWN: Final = b"00"
_SAMPLED: Final = 1

#: After the OWASP REST Security Cheat Sheet: answers are data, never a page, and are not kept by caches.
SAFE_HEADERS: Final = [
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
]
_DOCS: Final = ("/docs", "/redoc")
"""The interactive pages need scripts: the policy above would blank them."""


class Edge:
    """Gives each request an id and a trace, each answer its headers, and both a place in logs and metrics."""

    def __init__(self, app: ASGIApp, instruments: Instruments) -> None:
        """Wrap `app`."""
        self._app = app
        self._requests = instruments["http_requests"]
        self._seconds = instruments["http_request_seconds"]
        self._known: dict[tuple[str, str, int], tuple[Any, Any]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["request_id"], scope["traceparent"] = request_id, traceparent = _identify(scope)
        began = time.perf_counter()
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _with_headers(message["headers"], scope["path"], request_id)
                message["headers"] += scope.get("ratelimit", ())
            await send(message)

        # Each request is a task of its own, with a context of its own.
        logs.request.set({"request_id": request_id, "trace_id": traceparent[3:35]})
        try:
            await self._app(scope, receive, answer)
        except asyncio.CancelledError:  # the process stops, and has waited for us as long as it may
            if status:
                raise
            error = Unavailable("The process stops.") if scope["method"] == "GET" else OutcomeUnknown()
            await problems.render(error, path=scope["path"], request_id=request_id)(scope, receive, answer)
        except Exception as error:
            log.exception("request_failed")
            if status:  # too late for another answer: the server cuts this one off
                raise
            await problems.render(error, path=scope["path"], request_id=request_id)(scope, receive, answer)
        finally:
            self._record(scope, status, time.perf_counter() - began)

    def _of(self, method: str, route: str, status: int) -> tuple[Any, Any]:
        """Return the two instruments, kept: making their labels costs more than counting."""
        key = (method, route, status)
        found = self._known.get(key)
        if found is None:
            labels = (method, route, str(status))
            found = self._known[key] = (self._requests.labels(*labels), self._seconds.labels(*labels))
        return found

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        # The route's own pattern, never the path: a path holds ids, and strangers choose it.
        route = getattr(scope.get("route"), "path_format", "unmatched")
        method = scope["method"] if scope.get("route") else "OTHER"
        count, histogram = self._of(method, route, status)
        count.inc()
        histogram.observe(seconds)
        if status >= 500:  # noqa: PLR2004 - server errors
            log.warning("http_request", method=method, route=route, status=status, seconds=round(seconds, 4))


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the request's id: the client's when it is well formed, else a new one."""
    for name, value in headers:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return value.decode()
    return os.urandom(16).hex()


def _identify(scope: Scope) -> tuple[str, str]:
    """Return the request's id and W3C trace context: the client's when they are well formed, else new ones."""
    request_id, traces = None, []
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            request_id = value.decode()
        elif name == b"traceparent":
            traces.append(value)
    traceparent = known_of(traces[0]) if len(traces) == 1 else None  # of several nobody knows which is meant
    if request_id is None or traceparent is None:
        noise = os.urandom(40).hex()
        request_id = request_id or noise[:32]
        traceparent = traceparent or f"00-{noise[32:64]}-{noise[64:]}-00"
    return request_id, traceparent


def known_of(given: bytes) -> str | None:
    """Return a `traceparent` of the version that we know; None: it is none."""
    found = _TRACEPARENT.fullmatch(given)
    if found is None:
        return None
    if found["version"] == _KNOWN:
        return None if found["more"] else given.decode()
    return f"00-{found['ids'].decode()}-{int(found['flags'], 16) & _SAMPLED:02x}"


def _with_headers(given: Any, path: str, request_id: str) -> list[tuple[bytes, bytes]]:
    names = {name for name, _ in given}
    extra = [] if path.startswith(_DOCS) else [header for header in SAFE_HEADERS if header[0] not in names]
    return [*given, *extra, (b"x-request-id", request_id.encode())]
