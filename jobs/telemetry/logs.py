"""Structured logs: static event names, facts in fields, one line of JSON each.

What is bound with `about` is on every line of the flow, Celery's and the libraries' own lines included.
Payloads, keys and connection strings are never logged; a traceback is logged without the values of locals.
"""

import logging
import os
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import structlog
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class LogSettings(BaseSettings):
    """How a process writes its logs."""

    model_config = SettingsConfigDict(env_prefix="PENSTOCK_", extra="ignore")

    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="The least serious lines that are written")
    ] = "info"
    log_format: Annotated[
        Literal["auto", "json", "text"], Field(description="auto: text on a terminal, JSON otherwise")
    ] = "auto"


def configure(settings: LogSettings, *, role: str) -> None:
    """Send everything, the standard library's lines too, through one chain to standard error."""
    readable = settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _Origin(role),
    ]
    last: list[Any] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if readable
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    output = logging.StreamHandler(sys.stderr)
    output.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [output]
    root.setLevel(settings.log_level.upper())


class _Origin:
    """Names the process on every line."""

    def __init__(self, role: str) -> None:
        self._role = role

    def __call__(self, _logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        line["role"] = self._role
        line["pid"] = os.getpid()
        return line


@contextmanager
def about(**facts: Any) -> Iterator[None]:
    """Put `facts` on every line that the block writes; what is None is left out."""
    known = {name: value for name, value in facts.items() if value is not None}
    with structlog.contextvars.bound_contextvars(**known):
        yield


def trace_id(traceparent: str | None) -> str | None:
    """Return the trace's id of a W3C `traceparent`."""
    parts = traceparent.split("-") if traceparent else []
    return parts[1] if len(parts) == 4 else None  # noqa: PLR2004 - version, trace id, parent id, flags
