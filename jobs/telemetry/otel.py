"""The OpenTelemetry SDK as every process uses it. Imported only where traces are on.

A span of an attempt has an id that follows from the job and the attempt's number. So whoever comes later, a retry in
another worker or a replay months after, links to it without anybody having kept it.
"""

import hashlib
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, TraceFlags, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from jobs.model import Attempt, JobId, Taken
from jobs.release import release_version

log = structlog.get_logger()

FLUSH_SECONDS: Final = 2.0
"""How long a process that ends waits for its last spans to be taken."""
_COMPLAIN_EVERY: Final = 60.0
_CARRIER: Final = "traceparent"
_CONTEXTS: Final = TraceContextTextMapPropagator()

Ids = tuple[int, int]
"""Of a trace, and of a span in it."""
_chosen: Final[ContextVar[Ids | None]] = ContextVar("chosen_ids", default=None)


class _ChosenIds(RandomIdGenerator):
    """Random ids, but for the span of an attempt."""

    def generate_span_id(self) -> int:
        """Return the id of the span that is about to begin."""
        chosen = _chosen.get()
        return chosen[1] if chosen else super().generate_span_id()

    def generate_trace_id(self) -> int:
        """Return the id of the trace that begins with that span."""
        chosen = _chosen.get()
        return chosen[0] if chosen else super().generate_trace_id()


class _Collector(SpanExporter):
    """The collector: when it is away that is said once a minute, without a word of where it is."""

    def __init__(self) -> None:
        self._exporter = OTLPSpanExporter()
        self._complain_at = 0.0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS and time.monotonic() >= self._complain_at:
            self._complain_at = time.monotonic() + _COMPLAIN_EVERY
            log.warning("spans_not_exported", count=len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the exporter says no types here


class Tracing:
    """The traces of one process. Spans wait for the collector in a bounded queue; what is beyond is dropped."""

    def __init__(self, role: str, *, is_global: bool = True) -> None:
        """Begin to export, to where `OTEL_EXPORTER_OTLP_ENDPOINT` says; `is_global`: also what others trace here."""
        for name in ("opentelemetry.sdk", "opentelemetry.exporter"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # a traceback for each batch, with the address in it
        facts = {"service.version": release_version()}
        if "OTEL_SERVICE_NAME" not in os.environ:
            facts["service.name"] = f"penstock-{role}"
        self._provider = TracerProvider(
            resource=Resource.create(facts),
            id_generator=_ChosenIds(),
            shutdown_on_exit=False,  # it would wait for a collector that is away for half a minute
        )
        self._provider.add_span_processor(BatchSpanProcessor(_Collector()))
        self.tracer: Tracer = self._provider.get_tracer("penstock", release_version())
        if is_global:
            trace.set_tracer_provider(self._provider)

    def close(self) -> None:
        """Hand the last spans to the collector, within a bounded time."""
        thread = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        thread.start()
        thread.join(FLUSH_SECONDS)


def traceparent_of(span: Span) -> str:
    """Return the W3C `traceparent` that makes others its children."""
    carrier: dict[str, str] = {}
    _CONTEXTS.inject(carrier, trace.set_span_in_context(span, Context()))
    return carrier[_CARRIER]


def context_of(traceparent: str | None) -> Context:
    """Return the context that a `traceparent` carries; without a valid one, that of a root."""
    return _CONTEXTS.extract({_CARRIER: traceparent} if traceparent else {}, Context())


def ids_of(job_id: JobId, number: int, traceparent: str | None) -> Ids:
    """Return the ids of the span of an attempt; without a trace of the request the job has one of its own."""
    given = trace.get_current_span(context_of(traceparent)).get_span_context()
    trace_id = given.trace_id if given.is_valid else _digest(job_id.bytes, 16)
    return trace_id, _digest(job_id.bytes + number.to_bytes(8, "big"), 8)


def _digest(text: bytes, size: int) -> int:
    return int.from_bytes(hashlib.blake2b(text, digest_size=size).digest(), "big") or 1


def link_to(job_id: JobId, number: int, traceparent: str | None) -> Link:
    """Return a link to the span of an attempt."""
    flags = trace.get_current_span(context_of(traceparent)).get_span_context().trace_flags
    return Link(SpanContext(*ids_of(job_id, number, traceparent), is_remote=True, trace_flags=TraceFlags(flags)))


def attempt_span(tracing: Tracing, one: Attempt | Taken, facts: Mapping[str, Any], began: int | None = None) -> Span:
    """Return the span of an attempt, which begins now or began then, in nanoseconds since 1970; the caller ends it."""
    links = [link_to(one.job_id, one.number - 1, one.traceparent)] if one.number > 1 else []
    told: dict[str, Any] = {
        "penstock.job.id": str(one.job_id),
        "penstock.attempt": one.number,
        "penstock.task": one.task,
        "penstock.queue": one.queue,
        "penstock.tenant": one.tenant,
        **facts,
    }
    start = tracing.tracer.start_span
    with chosen(ids_of(one.job_id, one.number, one.traceparent)):
        return start(f"run {one.task}", context_of(one.traceparent), SpanKind.CONSUMER, told, links, began)


@contextmanager
def chosen(ids: Ids) -> Iterator[None]:
    """Give the span that begins in this block these ids."""
    token = _chosen.set(ids)
    try:
        yield
    finally:
        _chosen.reset(token)
