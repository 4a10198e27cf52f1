"""What clients were told: one JSON line for each try of a request, written once its answer is known or given up.

The ledger is the only witness that is not Penstock's own. A run that loses a line loses a proof, so each line is
flushed to the operating system before `write` returns.
"""

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import Field, TypeAdapter

TOO_MANY: Final = 429
BACK_LATER: Final = 503
PATIENCE: Final = frozenset({TOO_MANY, BACK_LATER})
"""Answers after which a client asks again, whatever it knows."""
OUTCOME_UNKNOWN: Final = "outcome-unknown"
"""The name of the one problem that leaves its client in the dark."""


class Status(StrEnum):
    """What a client knows after one try."""

    ACKNOWLEDGED = "acknowledged"
    """It was told that what it asked for is done, and durable."""
    REFUSED = "refused"
    """It was told that nothing was done."""
    UNKNOWN = "unknown"
    """A broken connection, no answer, or one that says so: either may be true."""

    @classmethod
    def of(cls, code: int | None, problem: str | None = None) -> Self:
        """Return what an HTTP status and the name of its problem mean; None: there was no answer.

        A 503 says that nothing was stored, unless its problem is `outcome-unknown` (docs/reference/http.md). Any other
        5xx says nothing at all.
        """
        if code is None or (code >= 500 and (code != BACK_LATER or problem in {None, OUTCOME_UNKNOWN})):
            return cls("unknown")
        return cls("acknowledged" if code < 400 else "refused")


def is_documented(code: int, problem: str | None, *, says_when: bool) -> bool:
    """Tell whether the reference knows such an answer (docs/reference/http.md, "Too much, too often").

    Of the 5xx that is only a 503, and like a 429 it is a problem and `says_when` to come back, in Retry-After. A 500
    is a defect of Penstock, whatever became of the request.
    """
    return (code < 500 and code != TOO_MANY) or (code in PATIENCE and problem is not None and says_when)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One job of a submission, as the client asked for it; None: it did not say."""

    task: str
    payload: Mapping[str, Any] | None = None
    queue: str | None = None
    priority: int | None = None
    run_at: datetime | None = None
    delay_seconds: float | None = None
    expires_at: datetime | None = None
    unique_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One try at handing in a request. Further tries of the same request are lines of their own."""

    status: Status
    sent_at: datetime
    answered_at: datetime | None = None
    """None: no answer came."""
    code: int | None = None
    problem: str | None = None
    """The name of the problem that the answer is."""
    says_when: bool = False
    """The answer had a Retry-After."""
    key: str | None = None
    """Its Idempotency-Key."""
    fingerprint: str | None = None
    """The same for every try of one request; see `fingerprint`."""
    request_id: str | None = None
    """The X-Request-ID of this try alone: it is kept with the jobs, and tells which try stored them."""
    try_number: int = 1
    job_ids: tuple[UUID, ...] = ()
    """That the answer named, in the order of `jobs`."""
    replayed: bool = False
    """The answer said that it was given before."""
    jobs: tuple[Wanted, ...] = ()
    kind: Literal["submission"] = "submission"


class Call(StrEnum):
    """What an operator may ask for."""

    CANCEL = "cancel"
    RETRY = "retry"
    REPLAY = "replay"
    DISCARD = "discard"
    PAUSE = "pause"
    RESUME = "resume"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One try at an operator's call."""

    call: Call
    status: Status
    sent_at: datetime
    answered_at: datetime | None = None
    code: int | None = None
    problem: str | None = None
    says_when: bool = False
    key: str | None = None
    """Its Idempotency-Key, which only a replay has."""
    job_id: UUID | None = None
    queue: str | None = None
    state: str | None = None
    """The job's state in the answer."""
    new_job_id: UUID | None = None
    """Of a replay."""
    kind: Literal["operation"] = "operation"


Entry = Submission | Operation
_ENTRY: Final[TypeAdapter[Entry]] = TypeAdapter(Annotated[Entry, Field(discriminator="kind")])


class Ledger:
    """An append-only file of entries; any thread may write."""

    def __init__(self, path: Path) -> None:
        """Append to `path`, which is made when it is missing."""
        self._lock = threading.Lock()
        self._file = path.open("ab", buffering=0)

    def write(self, entry: Entry) -> None:
        """Keep `entry`; it survives this process from here on."""
        line = _ENTRY.dump_json(entry, exclude_defaults=False) + b"\n"
        with self._lock:
            self._file.write(line)

    def close(self) -> None:
        """Write nothing more."""
        self._file.close()

    def __enter__(self) -> Self:
        """Give the ledger."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


@dataclass
class Entries:
    """What a ledger holds."""

    submissions: list[Submission] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)


def read_ledger(path: Path) -> Entries:
    """Return all entries of the file. A last line without its end was cut off with its writer and is passed over."""
    entries = Entries()
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            entry = _ENTRY.validate_json(line)
            if isinstance(entry, Submission):
                entries.submissions.append(entry)
            else:
                entries.operations.append(entry)
    return entries


def fingerprint(request: Any) -> str:
    """Return the same short text for the same JSON, however its keys are ordered."""
    canonical = json.dumps(request, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
