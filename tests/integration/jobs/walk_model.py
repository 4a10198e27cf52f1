"""What must be true of one job, told in plain Python beside the row."""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from jobs.model import JobId
from jobs.state import FINAL, TRANSITIONS, Event, JobState, Outcome, Reason
from jobs.tables import jobs

YIELDING = {Event.RETRY, Event.RELEASE, Event.RESCUE}


@dataclass
class Model:
    """What is true of one job."""

    state: JobState
    unique_key: str | None
    rung: bool
    attempt: int = 0
    error_count: int = 0
    crash_count: int = 0
    throttle_count: int = 0
    cancel_requested: bool = False
    closed: bool = False
    replay_of: JobId | None = None
    is_due: bool = False
    is_outdated: bool = False
    is_lease_over: bool = False
    told: list[str] = field(default_factory=lambda: ["accept"])
    outcomes: list[str | None] = field(default_factory=list)
    fenced: set[tuple[int, str]] = field(default_factory=set)

    def move(self, event: Event, *, rung: bool = False) -> None:
        """Apply the transition, and what every transition means."""
        assert self.state in TRANSITIONS[event].sources
        self.state, self.rung = TRANSITIONS[event].target, rung
        self.told.append(event.value)

    @property
    def is_open_letter(self) -> bool:
        """Whether the job failed, and nobody has dealt with that."""
        return self.state is JobState.FAILED and not self.closed

    def end_attempt(self, event: Event, outcome: Outcome, reason: Reason | None = None) -> None:
        """Apply a verdict to the running attempt."""
        if self.cancel_requested and (event in YIELDING or reason is Reason.CRASHED):
            event, outcome = Event.CANCEL, Outcome.CANCELLED
        self.error_count += outcome in {Outcome.ERRORED, Outcome.TIMED_OUT}
        self.crash_count += outcome is Outcome.LOST
        self.throttle_count += event is Event.RETRY and outcome is Outcome.INTERRUPTED
        self.outcomes[-1] = outcome.value
        self.is_lease_over = False
        self.move(event)

    def facts(self) -> tuple[Any, ...]:
        """Return what the row must say."""
        return (
            self.state.value, self.attempt, self.error_count, self.crash_count, self.throttle_count, len(self.told),
            self.cancel_requested, self.closed, self.rung, self.state in FINAL, self.state is JobState.RUNNING,
            self.state is JobState.FAILED, self.unique_key, self.replay_of,
        )  # fmt: skip


FACTS = select(
    jobs.c.id, jobs.c.state, jobs.c.attempt, jobs.c.error_count, jobs.c.crash_count, jobs.c.throttle_count,
    jobs.c.event_count, jobs.c.cancel_requested_at.is_not(None), jobs.c.closed_at.is_not(None),
    jobs.c.rung_at.is_not(None), jobs.c.finished_at.is_not(None), jobs.c.lease_expires_at.is_not(None),
    jobs.c.reason.is_not(None), jobs.c.unique_key, jobs.c.replay_of,
)  # fmt: skip
