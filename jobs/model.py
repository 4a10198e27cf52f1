"""The values that pass between the parts: jobs, attempts, and what ends them.

Frozen, and free of any database or broker. Instants are aware and in UTC; JSON travels as text, so that
a payload is parsed once where it is checked and once where it is used.
"""

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from jobs.state import Event, JobState, Outcome, Reason

JobId = UUID
Kind = tuple[str, int]
"""A queue and a priority."""

DEFAULT_TENANT: Final = "default"
DEFAULT_PRIORITY: Final = 5
PRIORITIES: Final = range(10)
"""0 to 9; larger is sooner."""


class _Uuid7:
    """Makes UUIDs of version 7 that sort in the order in which this process made them.

    The 12 bits after the millisecond count within it (RFC 9562, section 6.2, method 1, with a random
    start); the other 62 bits are random.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._lock = threading.Lock()

    def __call__(self) -> JobId:
        noise = int.from_bytes(os.urandom(10), "big")
        with self._lock:
            fresh = (time.time_ns() // 1_000_000) << 12 | (noise & 0x7FF)
            self._last = stamp = max(fresh, self._last + 1)
        value = (stamp >> 12) << 80 | 0x7 << 76 | (stamp & 0xFFF) << 64 | 0b10 << 62 | (noise >> 16) & (2**62 - 1)
        return UUID(int=value)


new_job_id = _Uuid7()

#: The most by which the clock of a process that makes ids and the database's are thought to differ.
_CLOCKS_APART: Final = timedelta(hours=1)


def id_before(instant: datetime) -> JobId:
    """Return a bound that is smaller than the id of every job accepted at `instant` or later."""
    return _bound(instant, -_CLOCKS_APART)


def id_after(instant: datetime) -> JobId:
    """Return a bound that is larger than the id of every job accepted at `instant` or earlier."""
    return _bound(instant, _CLOCKS_APART)


def _bound(instant: datetime, margin: timedelta) -> JobId:
    milliseconds = int((instant.timestamp() + margin.total_seconds()) * 1000)
    return UUID(int=min(max(milliseconds, 0), 2**48 - 1) << 80)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job that is to be accepted: checked, but not stored yet."""

    task: str
    payload: str = field(repr=False)
    """A JSON object."""
    queue: str
    priority: int = DEFAULT_PRIORITY
    run_at: datetime | None = None
    delay: timedelta | None = None
    """Counted from the database's clock at acceptance; excludes `run_at`."""
    expires_at: datetime | None = None
    unique_key: str | None = None
    tags: tuple[str, ...] = ()
    retry: str | None = None
    """Fields of `jobs.retry.RetryPolicy` that this job wants otherwise, as a JSON object."""
    time_limit_seconds: float | None = None
    soft_time_limit_seconds: float | None = None
    tenant: str = DEFAULT_TENANT
    submitter: str | None = None
    request_id: str | None = None
    traceparent: str | None = None
    replay_of: JobId | None = None
    id: JobId = field(default_factory=new_job_id)


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A client's promise that two requests with this key are the same request."""

    key: str
    fingerprint: bytes
    """SHA-256 over method, route and body."""


@dataclass(frozen=True, slots=True)
class Submission:
    """One request: its jobs are accepted together or not at all."""

    jobs: tuple[NewJob, ...]
    idempotency: Idempotency | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is true of a job at the moment of its acceptance."""

    id: JobId
    task: str
    queue: str
    priority: int
    state: JobState
    run_at: datetime
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The answer to a submission that was accepted, now or earlier under the same key."""

    receipts: tuple[Receipt, ...]
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Doorbell:
    """What dispatch needs to ring for a job that is ready."""

    id: JobId
    task: str
    queue: str
    priority: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try at a job that has begun and holds a lease."""

    job_id: JobId
    number: int
    """From 1; the fencing token of everything that this attempt writes."""
    task: str
    queue: str
    priority: int
    payload: str = field(repr=False)
    error_count: int
    """Attempts of this job that erred or timed out before this one."""
    crash_count: int
    throttle_count: int
    retry: Mapping[str, Any] | None
    time_limit_seconds: float | None
    soft_time_limit_seconds: float | None
    tenant: str
    request_id: str | None
    traceparent: str | None
    created_at: datetime
    run_at: datetime
    """When it was due: a job's first attempt at its acceptance or later, another when its wait was over."""
    started_at: datetime
    lease_expires_at: datetime


@dataclass(frozen=True, slots=True)
class Taken:
    """A job that upkeep has taken from where it was, and its last attempt."""

    job_id: JobId
    number: int
    """Of the last attempt; 0: there was none."""
    state: JobState
    """Where it is now."""
    task: str
    queue: str
    tenant: str
    request_id: str | None
    traceparent: str | None


class Level(StrEnum):
    """How serious a line of a job's log is."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as it is kept with the attempt and the job."""

    type: str
    message: str
    trace: str | None = None

    def as_json(self) -> dict[str, str | None]:
        """Return the form in which it is stored and shown."""
        return {"type": self.type, "message": self.message, "trace": self.trace}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What an attempt's end means for its job."""

    event: Event
    outcome: Outcome
    result: str | None = None
    """JSON."""
    failure: Failure | None = None
    reason: Reason | None = None
    retry_in: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Settlement:
    """A verdict addressed to one attempt of one job."""

    job_id: JobId
    number: int
    verdict: Verdict
