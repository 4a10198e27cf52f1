"""An attempt that this worker holds, and how its end is told."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError

from jobs.model import Attempt, Verdict
from jobs.state import Event, Outcome
from jobs.telemetry import logs
from worker.execution import Ending

log = structlog.get_logger()

#: What the main process says of an attempt whose own process is gone, as Celery's monitors know it.
_OF_PROCESSES: Final[Mapping[str, type[Exception]]] = {
    "TimeLimitExceeded": TimeLimitExceeded,
    "SoftTimeLimitExceeded": SoftTimeLimitExceeded,
    "WorkerLost": WorkerLostError,
}


@dataclass(eq=False, slots=True)
class Running:
    """An attempt that this worker holds."""

    attempt: Attempt
    since: float = field(default_factory=time.monotonic)
    pid: int | None = None
    """Of the process that runs it; None: it still waits for one."""
    accepted_at: float | None = None
    ending: Ending | None = None
    cancel_seen_at: float | None = None
    fenced: bool = False
    steps_taken: int = 0
    """How far the ladder of a cancel has been climbed."""
    settle_tries: int = 0


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of an attempt, for those who watch."""

    running: Running
    verdict: Verdict | None
    """None: it was fenced."""


def tell(counted: Sequence[tuple[Running, Verdict | None]]) -> None:
    """Log how attempts ended: their facts, never a payload or a message."""
    succeeded = []
    for running, verdict in counted:
        facts = logs.facts_of(running.attempt) | {"seconds": round(time.monotonic() - running.since, 4)}
        if verdict is None:
            log.warning("attempt_fenced", **facts)
        elif verdict.outcome is Outcome.SUCCEEDED:
            succeeded.append(facts)
        else:
            error = verdict.failure.type if verdict.failure else None
            say = log.error if verdict.event is Event.FAIL else log.warning
            say("attempt_ended", **facts, outcome=verdict.outcome.value, then=verdict.event.value, error=error)
            _report(verdict, facts)
    logs.info_each("job_succeeded", succeeded)


def is_without_word(ending: Ending) -> bool:
    """Tell whether the process of an attempt did not live to say how it ended."""
    return ending.failure is not None and ending.failure.type in _OF_PROCESSES


def _report(verdict: Verdict, facts: Mapping[str, Any]) -> None:
    """Report an attempt whose process did not live to do so itself."""
    error = _OF_PROCESSES.get(verdict.failure.type) if verdict.failure else None
    if logs.report is not None and error is not None and verdict.outcome in {Outcome.TIMED_OUT, Outcome.LOST}:
        more = {"event": f"attempt_{verdict.outcome.value}", "outcome": verdict.outcome, "reason": verdict.reason}
        logs.report(error(), {**facts, **more})
