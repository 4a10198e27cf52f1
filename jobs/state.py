"""Every state a job can be in, and every way it may leave one.

The one table `TRANSITIONS` is what the store's UPDATEs, the schema's CHECKs and the diagram in the
documentation are made of.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple


class JobState(StrEnum):
    """Where a job is in its life. The last four are final."""

    SCHEDULED = "scheduled"
    """Accepted, and its `run_at` lies ahead."""
    QUEUED = "queued"
    """Due; any worker of its queue may start it."""
    RUNNING = "running"
    """An attempt holds a lease on it."""
    RETRYING = "retrying"
    """An attempt failed; the next one is due at `run_at`."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """Out of attempts, permanently wrong, or a crasher: a dead letter."""
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    """Not started before its `expires_at`."""


class Outcome(StrEnum):
    """How one attempt ended. Attempts err; jobs fail."""

    SUCCEEDED = "succeeded"
    ERRORED = "errored"
    TIMED_OUT = "timed_out"
    INTERRUPTED = "interrupted"
    """A stopping worker gave the job back."""
    LOST = "lost"
    """The process died, or its lease ran out."""
    CANCELLED = "cancelled"


class Event(StrEnum):
    """What may happen to a job that exists."""

    ENQUEUE = "enqueue"
    """Its time has come."""
    START = "start"
    SUCCEED = "succeed"
    RETRY = "retry"
    """An attempt erred and policy allows another."""
    FAIL = "fail"
    RELEASE = "release"
    """A stopping worker gives the job back."""
    RESCUE = "rescue"
    """The attempt was lost; the job goes back to its queue."""
    CANCEL = "cancel"
    EXPIRE = "expire"
    REDRIVE = "redrive"
    """An operator sends the same job to work again."""


class Reason(StrEnum):
    """Why a job failed, for people who look at dead letters."""

    EXHAUSTED = "exhausted"
    """Its retries are used up."""
    PERMANENT = "permanent"
    """The error said that no retry will help."""
    CRASHED = "crashed"
    """It took its process down too often."""


class Transition(NamedTuple):
    """From any of `sources` to `target`."""

    sources: frozenset[JobState]
    target: JobState


S = JobState


def _from(*sources: JobState, to: JobState) -> Transition:
    return Transition(frozenset(sources), to)


#: One target per event, so a transition is one guarded UPDATE:
#: ``SET state = target WHERE id = :id AND state IN (sources)``.
TRANSITIONS: Final[Mapping[Event, Transition]] = {
    Event.ENQUEUE: _from(S.SCHEDULED, S.RETRYING, to=S.QUEUED),
    Event.START: _from(S.QUEUED, to=S.RUNNING),
    Event.SUCCEED: _from(S.RUNNING, to=S.SUCCEEDED),
    Event.RETRY: _from(S.RUNNING, to=S.RETRYING),
    Event.FAIL: _from(S.RUNNING, to=S.FAILED),
    Event.RELEASE: _from(S.RUNNING, to=S.QUEUED),
    Event.RESCUE: _from(S.RUNNING, to=S.QUEUED),
    Event.CANCEL: _from(S.SCHEDULED, S.QUEUED, S.RUNNING, S.RETRYING, to=S.CANCELLED),
    Event.EXPIRE: _from(S.SCHEDULED, S.QUEUED, S.RETRYING, to=S.EXPIRED),
    Event.REDRIVE: _from(S.FAILED, S.CANCELLED, S.EXPIRED, S.RETRYING, to=S.QUEUED),
}

FINAL: Final = frozenset({S.SUCCEEDED, S.FAILED, S.CANCELLED, S.EXPIRED})
WAITING: Final = frozenset({S.SCHEDULED, S.QUEUED, S.RETRYING})
UNFINISHED: Final = frozenset(JobState) - FINAL

#: The states in which a job may be born.
INITIAL: Final = frozenset({S.SCHEDULED, S.QUEUED})


def diagram() -> str:
    """Return the table as a Mermaid state diagram, for the documentation."""
    lines = ["stateDiagram-v2"]
    lines += [f"    [*] --> {state}" for state in JobState if state in INITIAL]
    lines += [
        f"    {source} --> {transition.target}: {event}"
        for event, transition in TRANSITIONS.items()
        for source in JobState
        if source in transition.sources
    ]
    lines += [f"    {state} --> [*]" for state in JobState if state in FINAL]
    return "\n".join(lines) + "\n"
