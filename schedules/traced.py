"""Spans of attempts that were lost with their worker. Imported only where traces are on."""

import time
from collections.abc import Sequence

from opentelemetry.trace import StatusCode
from sqlalchemy import Engine

from jobs import attempts
from jobs.database import reading
from jobs.model import Taken
from jobs.telemetry.otel import Tracing, attempt_span


class Lost:
    """Gives attempts the spans that nobody lived to end: the attempts after them are linked to those."""

    def __init__(self, engine: Engine) -> None:
        """Begin the traces of this process; `engine` tells when an attempt began."""
        self._engine = engine
        self._tracing = Tracing("beat")

    def tell(self, taken: Sequence[Taken]) -> None:
        """Make the span of each job's last attempt, from its start until now. Raises `DatabaseUnavailable`."""
        with reading(self._engine) as connection:
            began_at = attempts.begun(connection, [(one.job_id, one.number) for one in taken])
        for one in taken:
            at = began_at.get((one.job_id, one.number))
            if at is None:  # its month was dropped meanwhile
                continue
            began = int(at.timestamp() * 1e9)  # by the database's clock, which may be ahead of ours
            span = attempt_span(self._tracing, one, {"penstock.ended": "lost"}, began)
            span.set_status(StatusCode.ERROR, "WorkerLost")
            span.end(max(began, time.time_ns()))

    def close(self) -> None:
        """Hand the last spans to the collector, within a bounded time."""
        self._tracing.close()
