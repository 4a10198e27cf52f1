"""Structured logs: static event names, facts in fields, one line of JSON each.

What is bound with `about` is on every line of the flow, Celery's and the libraries' own lines included.
Payloads, keys and connection strings are never logged; a traceback is logged without the values of locals.
"""

import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Annotated, Any, Final, Literal, TextIO

import psycopg
import pydantic_core
import structlog
from pydantic import Field
from sqlalchemy.exc import DBAPIError

from jobs.environment import Settings
from jobs.model import Attempt, Taken

request: Final[ContextVar[dict[str, Any] | None]] = ContextVar("request", default=None)
"""What is known of the HTTP request that is served here, for its lines; cheaper to set than what `about` binds."""


Report = Callable[[BaseException, Mapping[str, Any]], None]
report: Report | None = None
"""Hears of each error that is logged with its exception, and what the line says; None: nobody does."""


_TALKATIVE: Final = ("httpx", "httpcore", "urllib3", "requests", "hpack")
"""Libraries that tell addresses and headers of requests, which are other people's secrets, at levels below warning."""


class LogSettings(Settings):
    """How a process writes its logs."""

    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="The least serious lines that are written")
    ] = "info"
    log_format: Annotated[
        Literal["auto", "json", "text"], Field(description="auto: text on a terminal, JSON otherwise")
    ] = "auto"


class Output:
    """Where lines go; those that cannot be written are lost. A full disk, or a reader that left, ends no work."""

    def __init__(self, stream: TextIO) -> None:
        """Write to `stream`."""
        self._stream = stream

    def write(self, text: str) -> None:
        """Write `text`, if that is possible."""
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        """Hand on what was written, if that is possible."""
        with suppress(OSError):
            self._stream.flush()


def configure(settings: LogSettings, *, role: str) -> None:
    """Send everything, the standard library's lines too, through one chain to standard error."""
    readable = is_readable(settings)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _Origin(role),
    ]
    last: list[Any] = (
        [_with_traceback, structlog.dev.ConsoleRenderer()]
        if readable
        else [_with_traceback, structlog.processors.JSONRenderer(serializer=as_json)]
    )
    output = Output(sys.stderr)
    # Our own lines skip the standard library: its records and handlers cost more than the rest of the line.
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        logger_factory=structlog.WriteLoggerFactory(output),  # type: ignore[arg-type]  # all that it uses of a file
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())


def is_readable(settings: LogSettings) -> bool:
    """Tell whether lines are written for people rather than as JSON."""
    return settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty())


def info_each(event: str, lines: Sequence[Mapping[str, Any]]) -> None:
    """Write the same event about many things, a line each, in one go.

    A hundred lines cost little more than one: what they share is made once, and they are one write.
    """
    config = structlog.get_config()
    if not lines or not structlog.get_logger().is_enabled_for(logging.INFO):
        return
    if not _writes_json(config["processors"]):
        for line in lines:
            structlog.get_logger().info(event, **line)
        return
    shared: MutableMapping[str, Any] = {"event": event}
    for process in config["processors"][:-1]:
        shared = process(None, "info", shared)
    config["logger_factory"]().msg("\n".join(as_json({**line, **shared}) for line in lines))


def _writes_json(processors: Sequence[Any]) -> bool:
    return bool(processors) and isinstance(processors[-1], structlog.processors.JSONRenderer)


def as_json(line: Any, **_: Any) -> str:
    """Return a line of the log as it is written."""
    return pydantic_core.to_json(line, fallback=repr).decode()


def _with_traceback(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put the traceback of `exc_info` on the line."""
    found = line.pop("exc_info", None)
    if found is True:
        found = sys.exc_info()
    error = found[1] if isinstance(found, tuple) else found
    if isinstance(error, BaseException):
        line["exception"] = traceback_without_values(error)
        if report is not None and line.get("level") in {"error", "critical"}:
            report(error, line)
    return line


def traceback_without_values(error: BaseException) -> str:
    """Return the traceback of `error` and of what led to it, without what PostgreSQL quotes.

    Its messages hold the values of a row that it refuses: of such an error only the SQLSTATE is told.
    """
    parts: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        own = traceback.TracebackException(type(current), current, current.__traceback__, compact=True)
        own.__cause__ = own.__context__ = None
        parts.insert(0, "".join([*own.stack.format(), _named(current, own)]))
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return "\n".join(parts)


def _named(error: BaseException, own: traceback.TracebackException) -> str:
    if not isinstance(error, DBAPIError | psycopg.Error):
        return "".join(own.format_exception_only())
    cause = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(cause, "sqlstate", None)
    # Without a SQLSTATE it is the client's own word on why it has no connection.
    told = f"SQLSTATE {state}" if state or not isinstance(cause, psycopg.OperationalError) else str(cause)
    return f"{type(error).__module__}.{type(error).__qualname__}: {told}\n"


class _Origin:
    """Names the process on every line, and the HTTP request that it is about."""

    def __init__(self, role: str) -> None:
        self._role = role

    def __call__(self, _logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        for name, value in (request.get() or {}).items():
            line.setdefault(name, value)
        line["role"] = self._role
        line["pid"] = os.getpid()
        return line


@contextmanager
def about(**facts: Any) -> Iterator[None]:
    """Put `facts` on every line that the block writes; what is None is left out."""
    known = {name: value for name, value in facts.items() if value is not None}
    with structlog.contextvars.bound_contextvars(**known):
        yield


def facts_of(one: Attempt | Taken) -> dict[str, Any]:
    """Return what every line about an attempt says."""
    return {
        "job_id": str(one.job_id),
        "task": one.task,
        "attempt": one.number,
        "tenant": one.tenant,
        "request_id": one.request_id,
        "trace_id": trace_id(one.traceparent),
    }


def tell_tenant(tenant: str) -> None:
    """Put on every further line of the HTTP request that is served here whose it is."""
    facts = request.get()
    if facts is not None:
        facts["tenant"] = tenant


def trace_id(traceparent: str | None) -> str | None:
    """Return the trace's id of a W3C `traceparent`."""
    parts = traceparent.split("-") if traceparent else []
    return parts[1] if len(parts) == 4 else None  # noqa: PLR2004 - version, trace id, parent id, flags
