"""The gate: requests that would have to wait too long are sent away at once, before they cost anything.

A refusal looks at nothing but the request's first line and its length: no body is read, no key looked up. So a
process that is asked for three times what it can do spends most of its time on what it accepts.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from api import edge, problems
from api.lag import Lag
from api.problems import Overloaded
from jobs.errors import Unavailable
from jobs.telemetry.metrics import Instruments

log = structlog.get_logger()

Verdict = Callable[[float], type[Unavailable] | None]
"""Given how late the event loop is, in seconds: why a request should not be let in, or None."""

READS: Final = "/api/v1/"
"""Below this, whatever is asked with GET is one lane."""
TELL_EVERY: Final = 1.0
"""Seconds between two lines of the log about refusals, however many there are."""


@dataclass(frozen=True, slots=True)
class Lane:
    """Requests of one kind, and what they wait for."""

    verdicts: Sequence[Verdict]
    route: str = "unmatched"
    body_limit: int = 0
    """The largest body in bytes; 0 where nothing is kept of it."""


class Gate:
    """Lets requests in as long as their lane says that they will be served in time.

    What belongs to no lane is always let in: whoever cancels a job, or looks after the process, does so for a reason.
    """

    def __init__(
        self,
        app: ASGIApp,
        submissions: Mapping[tuple[str, str], Lane],
        reads: Lane,
        instruments: Instruments,
        *,
        bodies_limit: int,
    ) -> None:
        """Stand in front of `app`; `submissions` are known by method and path, `bodies_limit` is for all together."""
        self._app = app
        self._submissions = submissions
        self._reads = reads
        self._bodies_limit = bodies_limit
        self._bodies = 0
        self._lag = Lag()
        self._refusals = _Refusals(instruments)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request, or refuse it."""
        lane = self._lane_of(scope) if scope["type"] == "http" else None
        if lane is None:
            await self._app(scope, receive, send)
            return
        room = _room_for(scope, lane.body_limit) if lane.body_limit else 0
        reason = self._reason(lane, room)
        if reason is not None:
            await self._refusals.send(reason, lane, scope, send)
            return
        self._bodies += room
        try:
            with self._lag:
                await self._app(scope, receive, send)
        finally:
            self._bodies -= room

    def _lane_of(self, scope: Scope) -> Lane | None:
        lane = self._submissions.get((scope["method"], scope["path"]))
        if lane is None and scope["method"] == "GET" and scope["path"].startswith(READS):
            return self._reads
        return lane

    def _reason(self, lane: Lane, room: int) -> type[Unavailable] | None:
        if room and self._bodies and self._bodies + room > self._bodies_limit:
            return Overloaded
        lag = self._lag.seconds()
        for verdict in lane.verdicts:
            if (reason := verdict(lag)) is not None:
                return reason
        return None


def _room_for(scope: Scope, limit: int) -> int:
    """Return how many bytes of body there may be; where that is not announced, as many as are allowed."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            return min(int(value), limit) if value.isdigit() else 0
    return limit if any(name == b"transfer-encoding" for name, _ in scope["headers"]) else 0


class _Refusals:
    """Problems whose text is made once; only the path, the id and when to come back differ."""

    def __init__(self, instruments: Instruments) -> None:
        self._refused = instruments["requests_refused"]
        self._answered = instruments["http_requests"]
        self._texts: dict[type[Unavailable], tuple[problems.Problem, bytes, bytes, bytes]] = {}
        self._untold = 0
        self._told_at = float("-inf")

    async def send(self, reason: type[Unavailable], lane: Lane, scope: Scope, send: Send) -> None:
        if reason not in self._texts:
            self._texts[reason] = _text_of(reason)
        problem, before, between, after = self._texts[reason]
        request_id = edge.request_id_of(scope).encode()
        body = b"".join((before, problems.encoded(scope["path"]), between, request_id, after))
        headers = [
            (b"content-type", problems.MEDIA_TYPE.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"retry-after", b"%d" % problems.retry_after(problem)),
            *edge.SAFE_HEADERS,
            (b"x-request-id", request_id),
        ]
        self._count(problem, scope["method"], lane.route)
        await send({"type": "http.response.start", "status": problem.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _count(self, problem: problems.Problem, method: str, route: str) -> None:
        """Count each, and tell of them now and then: as many lines of the log would be a load of their own."""
        self._refused.labels(problem.slug).inc()
        self._answered.labels(method, route, str(problem.status)).inc()
        self._untold += 1
        now = time.monotonic()
        if now - self._told_at >= TELL_EVERY:
            log.warning("requests_refused", problem=problem.slug, route=route, count=self._untold)
            self._untold, self._told_at = 0, now


_PATH, _ID = "a-path", "an-id"


def _text_of(reason: type[Unavailable]) -> tuple[problems.Problem, bytes, bytes, bytes]:
    """Return the problem, and its document in three parts: what is before, between and after path and id."""
    error = reason()
    text = problems.encoded(problems.document(error, path=_PATH, request_id=_ID))
    before, _, rest = text.partition(problems.encoded(_PATH))
    between, _, after = rest.partition(_ID.encode())
    return problems.problem_of(error), before, between, after
