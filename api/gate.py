"""The gate: requests that would have to wait too long are sent away at once, before they cost anything.

A refusal looks at nothing but the request's first line and its length: no body is read, no key looked up. So a
process that is asked for three times what it can do spends most of its time on what it accepts.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from api import edge, problems
from api.lag import Lag
from jobs.errors import Unavailable
from jobs.telemetry.metrics import Instruments

log = structlog.get_logger()

Verdict = Callable[[float], type[Unavailable] | None]
"""Given how late the event loop is, in seconds: why a request should not be let in, or None."""

TELL_EVERY: Final = 1.0
"""Seconds between two lines of the log about refusals, however many there are."""


class Gate:
    """Lets requests in as long as their lane says that they will be served in time."""

    def __init__(self, app: ASGIApp, lanes: Mapping[tuple[str, str], Verdict], instruments: Instruments) -> None:
        """Stand in front of `app`; `lanes` are the methods and paths that may be refused."""
        self._app = app
        self._lanes = lanes
        self._lag = Lag()
        self._refused = instruments["requests_refused"]
        self._answered = instruments["http_requests"]
        self._known: dict[tuple[str, str, type[Unavailable]], _Refusal] = {}
        self._untold = 0
        self._told_at = float("-inf")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        verdict = self._lanes.get((scope["method"], scope["path"]))
        reason = verdict(self._lag.seconds()) if verdict is not None else None
        if reason is not None:
            await self._refuse(reason, scope, send)
            return
        with self._lag:
            await self._app(scope, receive, send)

    async def _refuse(self, reason: type[Unavailable], scope: Scope, send: Send) -> None:
        method, path = scope["method"], scope["path"]
        refusal = self._known.get((method, path, reason))
        if refusal is None:
            refusal = self._known[method, path, reason] = self._prepare(method, path, reason)
        refusal.count()
        self._tell(refusal.problem.slug)
        await refusal.send(edge.request_id_of(scope), send)

    def _prepare(self, method: str, path: str, reason: type[Unavailable]) -> "_Refusal":
        problem = problems.problem_of(reason())
        counters = (self._refused.labels(problem.slug), self._answered.labels(method, path, str(problem.status)))
        return _Refusal(reason, path, counters)

    def _tell(self, slug: str) -> None:
        self._untold += 1
        now = time.monotonic()
        if now - self._told_at >= TELL_EVERY:
            log.warning("requests_refused", problem=slug, count=self._untold)
            self._untold, self._told_at = 0, now


class _Refusal:
    """An answer that is written once, but for its id and when to come back."""

    def __init__(self, reason: type[Unavailable], path: str, counters: tuple[Any, ...]) -> None:
        error = reason()
        self.problem = problems.problem_of(error)
        self._counters = counters
        document = problems.document(error, path=path, request_id=_PLACE)
        self._before, self._after = problems.encoded(document).split(_PLACE.encode())
        self._headers = [(b"content-type", problems.MEDIA_TYPE.encode()), *edge.SAFE_HEADERS]

    def count(self) -> None:
        for counter in self._counters:
            counter.inc()

    async def send(self, request_id: str, send: Send) -> None:
        name = request_id.encode()
        body = b"".join((self._before, name, self._after))
        headers = [
            *self._headers,
            (b"content-length", b"%d" % len(body)),
            (b"retry-after", b"%d" % problems.retry_after(self.problem)),
            (b"x-request-id", name),
        ]
        await send({"type": "http.response.start", "status": self.problem.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


_PLACE: Final = "request-id-goes-here"
