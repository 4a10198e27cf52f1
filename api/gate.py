"""The gate: requests that would have to wait too long are sent away at once, before they cost anything.

A refusal looks at nothing but the request's head: no body is read, no key looked up, no task of the event loop begun.
So a process that is asked for three times what it can do spends most of its time on what it accepts.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from api import edge, problems
from api.crowd import Crowd, Verdict
from api.lag import Lag
from api.problems import Overloaded
from api.turnstile import Turnstile
from jobs.errors import Unavailable
from jobs.telemetry.metrics import Instruments

log = structlog.get_logger()


Headers = Sequence[tuple[bytes, bytes]]

FEW: Final = 64
"""Requests under way, below which nobody is refused for a late event loop."""
READS: Final = b"/api/v1/"
"""Below this, whatever is asked with GET is one lane."""


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
        self, app: ASGIApp, submissions: Sequence[Lane], reads: Lane, instruments: Instruments, *, bodies_limit: int
    ) -> None:
        """Stand in front of `app`; `submissions` are posted to their routes, `bodies_limit` is for all together."""
        self._app = app
        self._submissions = {lane.route.encode(): lane for lane in submissions}
        self._reads = reads
        self._bodies_limit = bodies_limit
        self._bodies = 0
        self._coming: Counter[str] = Counter()
        self._lag = Lag()
        self._turnstile = Turnstile()
        self._refusals = _Refusals(instruments)

    def refusal(self, method: bytes, url: bytes, headers: Headers, *, last: bool) -> bytes | None:
        """Return the whole answer to a request that should not come in; None: it should.

        With `last` the answer says that the connection is closed after it.
        """
        path, _, _ = url.partition(b"?")
        lane = self._lane_of(method, path)
        if lane is None:
            return None
        room = _room_for(headers, lane.body_limit) if lane.body_limit else 0
        reason = self._reason(lane, room)
        if reason is None:
            self._coming[lane.route] += 1
            return None
        return self._refusals.answer(reason, lane, method, path, edge.request_id_of(headers), last=last)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request that has come in, and have it counted meanwhile."""
        lane = self._lane_of(scope["method"].encode(), scope["raw_path"]) if scope["type"] == "http" else None
        if lane is None:
            await self._app(scope, receive, send)
            return
        room = _room_for(scope["headers"], lane.body_limit) if lane.body_limit else 0
        self._bodies += room
        try:
            try:
                await self._turnstile.enter()
            finally:
                self._coming[lane.route] -= self._coming[lane.route] > 0  # not all were asked at the gate
            with self._lag:
                await self._app(scope, receive, send)
        finally:
            self._bodies -= room

    def tell(self) -> None:
        """Count in the metrics, and tell the log, who was sent away since the last time."""
        self._refusals.tell()

    def _lane_of(self, method: bytes, path: bytes) -> Lane | None:
        if method == b"POST":
            return self._submissions.get(path)
        return self._reads if method == b"GET" and path.startswith(READS) else None

    def _reason(self, lane: Lane, room: int) -> type[Unavailable] | None:
        if room and self._bodies and self._bodies + room > self._bodies_limit:
            return Overloaded
        coming = self._coming[lane.route]
        # With so few the loop is late for other reasons than ours: to send them away would help nobody.
        lag = self._lag.seconds() if coming + self._lag.busy >= FEW else 0.0
        crowd = Crowd(lag, self._turnstile.wait(), coming)
        for verdict in lane.verdicts:
            if (reason := verdict(crowd)) is not None:
                return reason
        return None


def _room_for(headers: Headers, limit: int) -> int:
    """Return how many bytes of body there may be; where that is not announced, as many as are allowed."""
    for name, value in headers:
        if name == b"content-length":
            return min(int(value), limit) if value.isdigit() else 0
    return limit if any(name == b"transfer-encoding" for name, _ in headers) else 0


class _Refusals:
    """Answers whose text is made once; only the path, the request's id and when to come back differ."""

    def __init__(self, instruments: Instruments) -> None:
        self._refused = instruments["requests_refused"]
        self._answered = instruments["http_requests"]
        self._texts: dict[type[Unavailable], _Text] = {}
        self._untold: Counter[tuple[type[Unavailable], str, bytes]] = Counter()

    def answer(
        self, reason: type[Unavailable], lane: Lane, method: bytes, path: bytes, request_id: str, *, last: bool
    ) -> bytes:
        text = self._texts.get(reason)
        if text is None:
            text = self._texts[reason] = _Text(reason())
        self._untold[reason, lane.route, method] += 1
        return text.answer(path, request_id.encode(), last=last)

    def tell(self) -> None:
        """Many refusals are one line: as many lines would be a load of their own."""
        untold, self._untold = self._untold, Counter()
        for (reason, route, method), count in untold.items():
            problem = self._texts[reason].problem
            self._refused.labels(problem.slug).inc(count)
            self._answered.labels(method.decode(), route, str(problem.status)).inc(count)
            log.warning("requests_refused", problem=problem.slug, route=route, count=count)


class _Text:
    """An answer as it goes over the wire, with gaps."""

    def __init__(self, error: Unavailable) -> None:
        self.problem = problems.problem_of(error)
        document = problems.encoded(problems.document(error, path=_PATH, request_id=_ID))
        before, _, rest = document.partition(problems.encoded(_PATH))
        between, _, after = rest.partition(_ID.encode())
        self._body = (before, between, after)
        status = HTTPStatus(self.problem.status)
        fields = [(b"content-type", problems.MEDIA_TYPE.encode()), *edge.SAFE_HEADERS]
        lines = b"".join(b"%s: %s\r\n" % field for field in fields)
        self._head = b"HTTP/1.1 %d %s\r\n%s" % (status, status.phrase.encode(), lines)

    def answer(self, path: bytes, request_id: bytes, *, last: bool) -> bytes:
        before, between, after = self._body
        shown = problems.encoded(path.decode("ascii", "replace"))
        body = b"".join((before, shown, between, request_id, after))
        return _ANSWER % (
            self._head,
            len(body),
            problems.retry_after(self.problem),
            request_id,
            b"connection: close\r\n" if last else b"",
            body,
        )


_ANSWER: Final = b"%scontent-length: %d\r\nretry-after: %d\r\nx-request-id: %s\r\n%s\r\n%s"
_PATH, _ID = "a-path", "an-id"
