"""Spans of attempts, and of the SQL and HTTP that a task does in one. Imported only where traces are on.

The calls of psycopg and httpcore (on which httpx stands) are wrapped here, and not by OpenTelemetry's instrumentations
of them: those are betas that go with one release of the SDK each, and they tell whole statements and addresses, which
may hold what no trace may hold. A task may use them, or spans of its own, through the SDK's global provider.
"""

import functools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpcore
import psycopg
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, StatusCode

from jobs.model import Attempt
from jobs.telemetry.otel import Tracing, attempt_span, traceparent_of
from worker.execution import Ending, How

_VERBS: Final = frozenset(
    {"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "WITH", "COPY", "CALL", "VALUES", "LOCK", "SET", "SHOW"}
    | {"EXPLAIN", "CREATE", "ALTER", "DROP", "TRUNCATE", "DO", "NOTIFY", "LISTEN", "ANALYZE", "VACUUM"}
)
_FAILED: Final = (How.ERRED, How.GAVE_UP, How.TIMED_OUT, How.LOST)
_CLIENT_ERROR: Final = 400

_locks: Final = {"begin": threading.Lock()}
_here: dict[int, Tracing] = {}
"""The traces of this process, by its pid: a thread that exports does not outlive a fork."""


def _forked() -> None:
    """Begin with a lock of our own: another thread of the main process may have held that one."""
    _locks["begin"] = threading.Lock()


os.register_at_fork(after_in_child=_forked)


def _tracing(*, is_global: bool = True) -> Tracing:
    with _locks["begin"]:
        found = _here.get(os.getpid())
        if found is None:
            _here.clear()
            found = _here[os.getpid()] = Tracing("worker", is_global=is_global)
    return found


def close(**_: Any) -> None:
    """Hand the last spans of this process to the collector, within a bounded time."""
    found = _here.pop(os.getpid(), None)
    if found is not None:
        found.close()


def begin(*, is_global: bool) -> None:
    """Begin the traces of the main process, before it forks any other: a lock that a thread holds then stays locked.

    They are not global where those of the processes that it forks are to be.
    """
    _tracing(is_global=is_global)


def install() -> None:
    """Have tasks traced in this process and in those that it forks."""
    psycopg.Cursor.execute = _sql(psycopg.Cursor.execute)  # type: ignore[method-assign]  # the seam that psycopg leaves
    psycopg.Cursor.executemany = _sql(psycopg.Cursor.executemany)  # type: ignore[method-assign]  # the same
    psycopg.AsyncCursor.execute = _async_sql(psycopg.AsyncCursor.execute)  # type: ignore[method-assign]  # the same
    httpcore.ConnectionPool.handle_request = _http(httpcore.ConnectionPool.handle_request)  # type: ignore[method-assign]  # the same
    asynchronous = httpcore.AsyncConnectionPool
    asynchronous.handle_async_request = _async_http(asynchronous.handle_async_request)  # type: ignore[method-assign]  # the same


def attempt(one: Attempt, run: Callable[[], Ending]) -> Ending:
    """Return what `run` returns, under a span of the attempt that goes on where the request's trace was."""
    span = _span_of(one)
    with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        ending = run()
        _tell_end(span, ending)
    return ending


def killed(one: Attempt, ending: Ending) -> None:
    """Give an attempt the span that its process did not live to end: a retry is linked to it."""
    began = int(one.started_at.timestamp() * 1e9)  # by the database's clock, which may be ahead of ours
    span = _span_of(one, began)
    _tell_end(span, ending)
    span.end(max(began, time.time_ns()))


def _span_of(one: Attempt, began: int | None = None) -> Span:
    waited = (one.started_at - one.run_at).total_seconds()
    return attempt_span(_tracing(), one, {"penstock.wait_seconds": waited}, began)


def _tell_end(span: Span, ending: Ending) -> None:
    span.set_attribute("penstock.ended", ending.how.value)
    if ending.how in _FAILED:
        # The type alone: a message may quote the payload. It is kept with the attempt.
        span.set_status(StatusCode.ERROR, ending.failure.type if ending.failure else None)


def _is_idle() -> bool:
    """Tell whether nobody asks what happens here: outside of an attempt, or in one that is not sampled."""
    return not trace.get_current_span().is_recording()


@contextmanager
def _calling(name: str, facts: dict[str, Any]) -> Iterator[Span]:
    start = _tracing().tracer.start_as_current_span
    with start(name, None, SpanKind.CLIENT, facts, record_exception=False, set_status_on_exception=False) as span:
        try:
            yield span
        except BaseException as error:
            span.set_status(StatusCode.ERROR, type(error).__name__)
            raise


# SQL: the verb and where, never the statement


def _sql(plain: Any) -> Any:
    @functools.wraps(plain)
    def execute(cursor: Any, query: Any, *more: Any, **options: Any) -> Any:
        if _is_idle():
            return plain(cursor, query, *more, **options)
        with _calling(*_of_statement(cursor, query)):
            return plain(cursor, query, *more, **options)

    return execute


def _async_sql(plain: Any) -> Any:
    @functools.wraps(plain)
    async def execute(cursor: Any, query: Any, *more: Any, **options: Any) -> Any:
        if _is_idle():
            return await plain(cursor, query, *more, **options)
        with _calling(*_of_statement(cursor, query)):
            return await plain(cursor, query, *more, **options)

    return execute


def _of_statement(cursor: Any, query: Any) -> tuple[str, dict[str, Any]]:
    text = query.decode(errors="replace") if isinstance(query, bytes) else query
    words = text.split(None, 1) if isinstance(text, str) else []
    verb = words[0].upper() if words and words[0].upper() in _VERBS else "SQL"
    where = cursor.connection.info
    facts = {"db.system.name": "postgresql", "db.operation.name": verb, "db.namespace": where.dbname}
    return verb, facts | {"server.address": where.host, "server.port": where.port}


# HTTP: the method and the host, never path, query or headers


def _http(plain: Any) -> Any:
    @functools.wraps(plain)
    def handle(pool: Any, request: httpcore.Request) -> httpcore.Response:
        if _is_idle():
            return plain(pool, request)  # type: ignore[no-any-return]  # httpcore's own
        with _calling(*_of_request(request)) as span:
            _carry_on(span, request)
            return _judged(span, plain(pool, request))

    return handle


def _async_http(plain: Any) -> Any:
    @functools.wraps(plain)
    async def handle(pool: Any, request: httpcore.Request) -> httpcore.Response:
        if _is_idle():
            return await plain(pool, request)  # type: ignore[no-any-return]  # httpcore's own
        with _calling(*_of_request(request)) as span:
            _carry_on(span, request)
            return _judged(span, await plain(pool, request))

    return handle


def _of_request(request: httpcore.Request) -> tuple[str, dict[str, Any]]:
    method, url = request.method.decode("ascii", "replace"), request.url
    facts: dict[str, Any] = {"http.request.method": method, "url.scheme": url.scheme.decode("ascii", "replace")}
    facts["server.address"] = url.host.decode("ascii", "replace")
    if url.port is not None:
        facts["server.port"] = url.port
    return method, facts


def _carry_on(span: Span, request: httpcore.Request) -> None:
    """Tell the server the trace, unless the task has told it one."""
    if all(name.lower() != b"traceparent" for name, _ in request.headers):
        request.headers.append((b"traceparent", traceparent_of(span).encode()))


def _judged(span: Span, response: httpcore.Response) -> httpcore.Response:
    span.set_attribute("http.response.status_code", response.status)
    if response.status >= _CLIENT_ERROR:
        span.set_status(StatusCode.ERROR)
    return response
