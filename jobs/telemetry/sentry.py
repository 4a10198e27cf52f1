"""What Sentry is told: the type of an error, where in the code it was raised, and about which job. Never what was said.

Every line that is logged with an exception, at level error, is a report, and so is an attempt that errs, that a hard
time limit ended or that lost its process. A message may
quote what a client sent, so none is sent on: that of an attempt is kept with the job. Imported only where it is on.
"""

import os
import re
from collections.abc import Mapping
from typing import Any, Final

import sentry_sdk
from pydantic import SecretStr
from sentry_sdk.integrations.atexit import AtexitIntegration
from sentry_sdk.integrations.dedupe import DedupeIntegration
from sentry_sdk.integrations.excepthook import ExcepthookIntegration
from sentry_sdk.utils import BadDsn

from jobs.errors import ConfigurationError
from jobs.release import release_version
from jobs.telemetry import logs

FLUSH_SECONDS: Final = 2.0
"""How long a process that ends waits for its last reports to be taken."""
TAGS: Final = (
    "job_id",
    "attempt",
    "task",
    "queue",
    "tenant",
    "request_id",
    "trace_id",
    "schedule",
    "doing",
    "outcome",
    "reason",
)
_STATIC: Final = re.compile(r"[a-z][a-z_]{0,99}")
"""What our own events look like; those of others may hold anything."""
_TOLD: Final = frozenset(
    {"event_id", "timestamp", "platform", "level", "release", "environment", "server_name", "sdk", "tags", "exception"}
    | {"contexts"}
)

_here: dict[str, Any] = {}
"""What a process that was forked begins anew with: a connection to Sentry must not be shared."""


def start(dsn: SecretStr, role: str) -> None:
    """Report what goes wrong in this process from now on. Raises `ConfigurationError` for a DSN that is none."""
    _here.update(dsn=dsn, role=role, pid=os.getpid())
    try:
        sentry_sdk.init(
            dsn=dsn.get_secret_value(),
            release=os.environ.get("SENTRY_RELEASE") or f"penstock@{release_version()}",
            integrations=[ExcepthookIntegration(), DedupeIntegration(), AtexitIntegration(callback=_quietly)],
            default_integrations=False,  # they would send arguments, modules, breadcrumbs and the lines of the log
            auto_enabling_integrations=False,  # these, requests, statements and the arguments of tasks
            include_local_variables=False,
            max_request_body_size="never",
            max_breadcrumbs=0,
            auto_session_tracking=False,
            send_client_reports=False,
            propagate_traces=False,
            spotlight=False,
            shutdown_timeout=FLUSH_SECONDS,
            before_send=_without_words,
        )
    except BadDsn:
        raise ConfigurationError("SENTRY_DSN is no DSN; it looks like https://key@host/project.") from None
    logs.report = report


def _quietly(_pending: int, _timeout: float) -> None:
    """Say nothing on standard error while the last reports are sent."""


def report(error: BaseException, facts: Mapping[str, Any]) -> None:
    """Report an error; of `facts` are sent those that say where to look."""
    if _here["pid"] != os.getpid():
        start(_here["dsn"], _here["role"])
    with sentry_sdk.new_scope() as scope:
        scope.set_tag("role", _here["role"])
        for name in TAGS:
            if facts.get(name) is not None:
                scope.set_tag(name, str(facts[name]))
        if _STATIC.fullmatch(str(facts.get("event"))):
            scope.set_tag("event", facts["event"])
        scope.capture_exception(error)


def close(**_: Any) -> None:
    """Hand the last reports of this process over, within a bounded time.

    One that was forked and has reported nothing holds a copy of what its parent is about to send.
    """
    if _here["pid"] == os.getpid():
        sentry_sdk.flush(timeout=FLUSH_SECONDS)


def _without_words(event: Any, _hint: Any) -> Any:
    """Return the report without anything that somebody may have said in it; a check-in says nothing of the kind."""
    if event.get("type") == "check_in":
        return event
    for name in [name for name in event if name not in _TOLD]:
        del event[name]
    for error in event.get("exception", {}).get("values", []):
        error.pop("value", None)
        for frame in (error.get("stacktrace") or {}).get("frames", []):
            frame.pop("vars", None)
    return event
