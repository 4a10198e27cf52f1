"""Connections to clients, bounded: how many there are, and how long a request may take to arrive.

uvicorn bounds neither. This hooks into its `HttpToolsProtocol`, whose methods are asyncio's and httptools' callbacks.
"""

import asyncio
import time
from typing import Any, Final

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from api import problems
from api.gate import Gate
from api.problems import Overloaded, RequestTimeout
from api.waiting import Lookout
from jobs.errors import PenstockError
from jobs.telemetry.metrics import Instruments

log = structlog.get_logger()

LINGER: Final = 1.0
"""Seconds for which an idle connection stays open when the process stops."""
SWEEP_EVERY: Final = 1.0
"""Seconds between two looks for connections whose request does not arrive."""


class Doorway:
    """What the connections of one process have in common."""

    def __init__(
        self, limit: int, receive_seconds: float, gate: Gate, lookout: Lookout, instruments: Instruments
    ) -> None:
        """Let in `limit` connections, with `receive_seconds` for each request to arrive."""
        self.limit = limit
        self.gate = gate
        self.connections: set[Connection] = set()
        self._receive_seconds = receive_seconds
        self._lookout = lookout
        self._instruments = instruments
        self._answers: list[tuple[Connection, bytes, bool]] = []
        self._is_closing = False
        self._turned_away = 0

    def sweep(self) -> None:
        """Hang up on all that have been at sending one request for too long; do so again and again."""
        latest = time.monotonic() - self._receive_seconds
        late = [one for one in self.connections if one.is_receiving_since(latest)]
        for one in late:
            one.give_up()
        if late or self._turned_away:
            log.warning("connections_refused", slow=len(late), beyond_the_limit=self._turned_away)
            self._turned_away = 0
        self.gate.tell()
        self._count()
        if not self._is_closing:
            asyncio.get_running_loop().call_later(SWEEP_EVERY, self.sweep)

    def _count(self) -> None:
        self._instruments["connections"].set(len(self.connections))
        self._instruments["requests_under_way"].set(sum(one.is_at_work() for one in self.connections))
        self._instruments["readers_waiting"].set(self._lookout.seated)

    def answer_soon(self, connection: "Connection", whole: bytes, *, last: bool) -> None:
        """Have the connection answered when all that have something to say were heard once.

        An answer at once would let the same few ask again and again before the event loop comes to anything else:
        libuv reads on for as long as there is much to read.
        """
        if not self._answers:
            asyncio.get_running_loop().call_soon(self._answer)
        self._answers.append((connection, whole, last))

    def _answer(self) -> None:
        answers, self._answers = self._answers, []
        for connection, whole, last in answers:
            connection.answer(whole, last=last)

    def turn_away(self) -> None:
        """Count a connection that was one too many."""
        self._turned_away += 1

    def close(self) -> None:
        """Say that the process stops, once, before anybody is waited for."""
        if not self._is_closing:
            self._is_closing = True
            self._lookout.close()


class _Answered(RequestResponseCycle):
    """Stands where a request was that has been answered without being served."""

    response_started = response_complete = True
    disconnected = keep_alive = False

    def __init__(self) -> None:
        self.message_event = asyncio.Event()


_ANSWERED: Final = _Answered()


class Connection(HttpToolsProtocol):
    """A client's connection, of which there are only so many, and which is not waited for without end."""

    _is_parting = False
    _since: float | None = None
    """When the request that is arriving began to; None while none is."""

    @property
    def _doorway(self) -> Doorway | None:
        found: Doorway | None = self.app_state.get("doorway")
        return found

    def connection_made(self, transport: Any) -> None:
        """Take the connection, or answer 503 and hang up."""
        super().connection_made(transport)
        self._since = time.monotonic()
        doorway = self._doorway
        if doorway is None:
            return
        if len(doorway.connections) >= doorway.limit:
            doorway.turn_away()
            self._answer_and_close(Overloaded("As many connections are open as may be."))
            return
        doorway.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._doorway is not None:
            self._doorway.connections.discard(self)
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A request begins to arrive."""
        self._since = time.monotonic()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Ask the gate, and begin to serve the request, or answer it here and now."""
        doorway, under_way = self._doorway, self.is_at_work()
        if doorway is not None and not under_way:
            last = self._is_parting or not self.parser.should_keep_alive()
            refusal = doorway.gate.refusal(self.parser.get_method(), self.url, self.headers, last=last)
            if refusal is not None:
                self.cycle = _ANSWERED
                doorway.answer_soon(self, refusal, last=last)
                return
        super().on_headers_complete()
        if self._is_parting:
            self.cycle.keep_alive = False

    def answer(self, whole: bytes, *, last: bool) -> None:
        """Send an answer to a request that is not served."""
        if self.transport.is_closing():
            return
        self.transport.write(whole)
        if last:
            self.transport.close()
        self.on_response_complete()

    def on_message_complete(self) -> None:
        """The request has arrived; where it was answered before, the connection is idle only now."""
        self._since = None
        super().on_message_complete()
        if self.cycle.response_complete and self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def shutdown(self) -> None:
        """Finish what is under way, and close then: the server stops.

        A connection that is idle gets a moment more: a request may be on its way to it.
        """
        if self._doorway is not None:
            self._doorway.close()
        self._is_parting = True
        if self.is_at_work():
            super().shutdown()
        else:
            self.loop.call_later(LINGER, self._part)

    def _part(self) -> None:
        if not self.is_at_work():
            self.transport.close()

    def is_receiving_since(self, moment: float) -> bool:
        """Tell whether a request has been arriving since `moment`; one that we ourselves keep waiting is not."""
        return self._since is not None and self._since <= moment and not self.pipeline

    def is_at_work(self) -> bool:
        """Tell whether a request has not been answered yet."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def give_up(self) -> None:
        """Answer 408 where nothing was answered yet, and hang up."""
        has_begun = self.scope is not None
        cycle: RequestResponseCycle | None = self.cycle
        if has_begun and (cycle is None or not cycle.response_started):
            self._answer_and_close(RequestTimeout())
        else:
            self.transport.close()

    def _answer_and_close(self, error: PenstockError) -> None:
        problem = problems.problem_of(error)
        document = problems.document(error, path="", request_id=None)
        body = problems.encoded({name: value for name, value in document.items() if value})
        fields = {"content-type": problems.MEDIA_TYPE, "content-length": len(body), "connection": "close"}
        if problem.retry_after_seconds is not None:
            fields["retry-after"] = problems.retry_after(problem)
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.transport.write(STATUS_LINE[problem.status] + head.encode() + b"\r\n" + body)
        self.transport.close()
