"""Spans of the API: one for each request, and in it one for what is enqueued. Imported only where traces are on.

The context goes on in the `traceparent` of the job's row, not in a message: whoever starts the job has it from there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, StatusCode
from sqlalchemy import Connection, Engine, select
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import replays
from api.group_commit import GroupCommit
from api.reads import look
from jobs.intake import Answer
from jobs.model import Acceptance, Doorbell, JobId, Submission
from jobs.tables import jobs
from jobs.telemetry.otel import Tracing, context_of, link_to, traceparent_of

_TRACEPARENT: Final = b"traceparent"
_SERVER_ERROR: Final = 500
_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


@cache
def tracing() -> Tracing:
    """Return the traces of this process, which begin at the first call."""
    return Tracing("api")


def close() -> None:
    """Hand the last spans of this process to the collector, within a bounded time."""
    tracing().close()


class TracedRequests:
    """Gives each request a span, which goes on where the client's `traceparent` says."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand in front of `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = [value.decode("latin-1") for name, value in scope["headers"] if name == _TRACEPARENT]
        method = scope["method"] if scope["method"] in _METHODS else "HTTP"
        span = tracing().tracer.start_span(
            method, context_of(given[0] if len(given) == 1 else None), SpanKind.SERVER, {"http.request.method": method}
        )
        headers = [header for header in scope["headers"] if header[0] != _TRACEPARENT]
        scope["headers"] = [*headers, (_TRACEPARENT, traceparent_of(span).encode())]

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                _tell_status(span, message["status"])
            await send(message)

        try:
            with trace.use_span(span, record_exception=False, set_status_on_exception=False):
                await self._app(scope, receive, answer)
        finally:
            # The route's own pattern, never the path: a path holds ids, and strangers choose it.
            route = getattr(scope.get("route"), "path_format", None)
            if route:
                span.update_name(f"{method} {route}")
                span.set_attribute("http.route", route)
            span.end()


def _tell_status(span: Span, status: int) -> None:
    span.set_attribute("http.response.status_code", status)
    if status >= _SERVER_ERROR:
        span.set_status(StatusCode.ERROR)


class TracedCommits(GroupCommit):
    """Group commit in which each submission has a span, from its coming in line until it is durable."""

    async def submit(self, submission: Submission) -> Answer:
        """Return the answer once it is durable. Raises what `GroupCommit.submit` raises."""
        with _enqueuing(submission) as (traced, span):
            return _told(span, await super().submit(traced))

    def submit_alone(self, submission: Submission) -> Answer:
        """Commit one large submission. Raises what `GroupCommit.submit_alone` raises."""
        with _enqueuing(submission) as (traced, span):
            return _told(span, super().submit_alone(traced))


@contextmanager
def _enqueuing(submission: Submission) -> Iterator[tuple[Submission, Span]]:
    """Give the submission with the context of its span, and the span."""
    first = submission.jobs[0]
    facts: dict[str, Any] = {"penstock.task": first.task, "penstock.queue": first.queue}
    facts |= {"penstock.job.id": str(first.id), "messaging.batch.message_count": len(submission.jobs)}
    with _producing(f"enqueue {first.task}", facts) as span:
        traceparent = traceparent_of(span)
        yield replace(submission, jobs=tuple(replace(job, traceparent=traceparent) for job in submission.jobs)), span


@contextmanager
def _producing(name: str, facts: dict[str, Any], **options: Any) -> Iterator[Span]:
    quiet: dict[str, Any] = {"record_exception": False, "set_status_on_exception": False}
    start = tracing().tracer.start_as_current_span
    with start(name, kind=SpanKind.PRODUCER, attributes=facts, **options, **quiet) as span:
        try:
            yield span
        except Exception as error:
            span.set_status(StatusCode.ERROR, type(error).__name__)  # its message may quote what a client sent
            raise


def _told(span: Span, answer: Answer) -> Answer:
    if isinstance(answer, Acceptance):
        span.set_attribute("penstock.idempotency.replayed", answer.replayed)
    else:
        span.set_status(StatusCode.ERROR, type(answer).__name__)
    return answer


def replay(
    engine: Engine, job_id: JobId, *, tenant: str, changes: dict[str, Any], **wishes: Any
) -> tuple[Acceptance, list[Doorbell]]:
    """Replay the job under a span that is linked to the last attempt at it. Raises what `api.replays.replay` raises."""

    def earlier(connection: Connection) -> Any:
        columns = (jobs.c.task, jobs.c.attempt, jobs.c.traceparent)
        return connection.execute(select(*columns).where(jobs.c.id == job_id, jobs.c.tenant == tenant)).one_or_none()

    found = look(engine, earlier)
    links = [link_to(job_id, found.attempt, found.traceparent)] if found and found.attempt else []
    facts = {"penstock.replay_of": str(job_id)}
    with _producing(f"replay {found.task}" if found else "replay", facts, links=links) as span:
        traced = {**changes, "traceparent": traceparent_of(span)}
        return replays.replay(engine, job_id, tenant=tenant, changes=traced, **wishes)
