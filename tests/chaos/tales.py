"""Histories made by hand: a job's life told step by step, one second apart, and legal unless a test bends it."""

import uuid
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

from jobs.model import JobId, new_job_id
from jobs.state import TRANSITIONS, Event, JobState, Outcome, Reason
from tests.chaos.checker import check
from tests.chaos.history import AttemptRow, EventRow, History, JobRow, KeyRow, Life, Terms, told_of
from tests.chaos.ledger import Call, Entries, Operation, Status, Submission, Wanted
from tests.chaos.recorder import PULSE_SECONDS, RETURNED, Execution
from tests.chaos.report import Report

DAWN: Final = datetime(2026, 3, 1, 6, tzinfo=UTC)
TASK: Final = "chaos.quick"
LEASE_SECONDS: Final = 10.0
LEASE_RAN_OUT: Final = "The lease ran out: the worker died, hung or was cut off."
COUNTED: Final = {
    Outcome.ERRORED: "error_count",
    Outcome.TIMED_OUT: "error_count",
    Outcome.LOST: "crash_count",
}


class Tale:
    """A job's life, and what a client and its tasks say of it."""

    def __init__(self, job_id: JobId | None = None, *, at: datetime = DAWN, **facts: Any) -> None:
        """Accept a job with `facts`."""
        self.id = job_id or new_job_id()
        self.now = at
        self.job: dict[str, Any] = dict.fromkeys(JobRow._fields) | {
            "id": self.id,
            "tenant": "default",
            "task": TASK,
            "queue": "default",
            "priority": 5,
            "state": JobState.QUEUED,
            "payload": "{}",
            "created_at": at,
            "run_at": at,
            "attempt": 0,
            "error_count": 0,
            "crash_count": 0,
            "throttle_count": 0,
            "has_result": False,
        }
        self.job |= facts
        self.events: list[EventRow] = []
        self.attempts: list[AttemptRow] = []
        self.executions: list[Execution] = []
        self.tell("accept", after=0.0)

    def wait(self, seconds: float) -> Self:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)
        return self

    def tell(self, name: str, *, state: str | None = None, after: float = 1.0, **facts: Any) -> Self:
        """Add an event."""
        self.wait(after)
        self.job["state"] = state or self.job["state"]
        where = (self.job["state"], self.job["attempt"])
        self.events.append(EventRow(self.id, len(self.events) + 1, self.now, name, *where, facts or None))
        return self

    def move(self, event: Event, **facts: Any) -> Self:
        """Apply an event of the transition table."""
        return self.tell(event.value, state=TRANSITIONS[event].target, **facts)

    def start(self) -> Self:
        """Begin an attempt."""
        self.job["attempt"] += 1
        self.move(Event.START, worker="w")
        self.attempts.append(AttemptRow(self.id, self.job["attempt"], "w", self.now, None, None, None))
        return self

    def end(self, event: Event, outcome: Outcome, message: str | None = None) -> Self:
        """End the attempt."""
        self.move(event, outcome=outcome.value)
        self.attempts[-1] = self.attempts[-1]._replace(finished_at=self.now, outcome=outcome, error_message=message)
        if outcome in COUNTED:
            self.job[COUNTED[outcome]] += 1
            self.job["error_type"] = "Broken"
        return self

    def succeed(self) -> Self:
        """End the attempt well, with an execution and a result of its own."""
        self.run()
        self.job |= {"has_result": True, "result_job_id": str(self.id), "result_attempt": str(self.job["attempt"])}
        return self.end(Event.SUCCEED, Outcome.SUCCEEDED)

    def err(self) -> Self:
        """End the attempt with an error that is worth a retry, due in a second."""
        self.end(Event.RETRY, Outcome.ERRORED, "it broke")
        self.job["run_at"] = self.now + timedelta(seconds=1)
        return self

    def fail(self, reason: Reason = Reason.EXHAUSTED, outcome: Outcome = Outcome.ERRORED) -> Self:
        """End the job with the attempt."""
        self.job["reason"] = reason
        return self.end(Event.FAIL, outcome, "it broke")

    def lose(self) -> Self:
        """Let the lease run out, and rescue the job."""
        return self.wait(LEASE_SECONDS).end(Event.RESCUE, Outcome.LOST, LEASE_RAN_OUT)

    def redrive(self) -> Self:
        """Send the job to work again."""
        self.move(Event.REDRIVE)
        self.job |= {"run_at": self.now, "reason": None, "expires_at": None, "closed_at": None}
        self.job |= {"error_count": 0, "crash_count": 0, "throttle_count": 0}
        return self

    def run(
        self, *, began: float = 0.2, ended: float | None = 0.4, how: str | None = RETURNED, alive: float = 0.0
    ) -> Self:
        """Add an execution of the latest attempt, so many seconds after now, with signs of life for `alive` seconds."""
        begun, attempt = self.now.timestamp(), self.job["attempt"]
        until = None if ended is None else begun + ended
        seen = [begun + began + beat * PULSE_SECONDS for beat in range(int(alive / PULSE_SECONDS))]
        self.executions.append(Execution(self.id, attempt, "t", self.job["task"], 1, begun + began, until, how, seen))
        return self

    def life(self, **changes: Any) -> Life:
        """Return what the tables show, with `changes` of the job's row."""
        row = JobRow(**self.job | {"event_count": len(self.events)} | changes)
        return Life(self.id, row, list(self.attempts), list(self.events), self.executions)


def acknowledged(*ids: JobId, **facts: Any) -> Submission:
    """Return a try whose client was told that these jobs are accepted."""
    given: dict[str, Any] = {"status": Status.ACKNOWLEDGED, "sent_at": DAWN, "answered_at": DAWN, "job_ids": ids}
    return Submission(**given | {"jobs": tuple(Wanted(task=TASK) for _ in ids)} | facts)


def refused(**facts: Any) -> Submission:
    """Return a try whose client was told that nothing was stored."""
    return acknowledged(**{"status": Status.REFUSED, "jobs": (Wanted(task=TASK),)} | facts)


def operated(call: Call, job_id: JobId, **facts: Any) -> Operation:
    """Return an operator's call that was acknowledged."""
    given: dict[str, Any] = {"status": Status.ACKNOWLEDGED, "sent_at": DAWN, "answered_at": DAWN, "job_id": job_id}
    return Operation(call=call, **given | facts)


def governed(call: Call, *, at: float, takes: float = 0.0, queue: str = "default", **facts: Any) -> Operation:
    """Return a call about a queue that was made so many seconds after dawn, and acknowledged."""
    sent_at = DAWN + timedelta(seconds=at)
    given: dict[str, Any] = {"status": Status.ACKNOWLEDGED, "answered_at": sent_at + timedelta(seconds=takes)}
    return Operation(call=call, sent_at=sent_at, queue=queue, **given | facts)


def key_row(key: str, *ids: JobId) -> KeyRow:
    """Return an idempotency key that keeps these receipts."""
    return KeyRow("default", key, [[str(job_id)] for job_id in ids])


def judged(
    *tales: Tale | Life, ledger: Iterable[Submission | Operation] = (), keys: Iterable[KeyRow] = (), **terms: Any
) -> Report:
    """Return what the checker says of a run with these lives."""
    entries = Entries(
        [one for one in ledger if isinstance(one, Submission)], [one for one in ledger if isinstance(one, Operation)]
    )
    lives = [tale.life() if isinstance(tale, Tale) else tale for tale in tales]
    ran = [execution for life in lives for execution in life.executions]
    agreed = replace(Terms(lease_seconds=LEASE_SECONDS, has_executions=True), **terms)
    at = DAWN + timedelta(hours=1)
    return check(History(told_of(lives, entries, ran), tuple(keys), entries, at, agreed))


def without_event(life: Life, seq: int) -> Life:
    """Return the life without one of its events."""
    return replace(life, events=[event for event in life.events if event.seq != seq])


def with_attempt(life: Life, number: int, **changes: Any) -> Life:
    """Return the life with one attempt's row changed."""
    rows = [one._replace(**changes) if one.number == number else one for one in life.attempts]
    return replace(life, attempts=rows)


def with_event(life: Life, seq: int, **changes: Any) -> Life:
    """Return the life with one event's row changed."""
    return replace(life, events=[one._replace(**changes) if one.seq == seq else one for one in life.events])


UNKNOWN_ID: Final = uuid.UUID(int=1)
