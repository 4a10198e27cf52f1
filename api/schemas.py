"""What goes over the wire. A request is strict: an unknown field or a number in quotes is refused."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    JsonValue,
    StringConstraints,
    model_validator,
)

from jobs.model import Level
from jobs.state import JobState, Outcome, Reason

Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]*$")]
Tag = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f]*$")]
Seconds = Annotated[float, Field(gt=0, le=86_400)]

FIRST_YEAR, LAST_YEAR = 1970, 8999
_YEARS = r"^(19[7-9]\d|[2-8]\d{3})-"


def _on_the_calendar(value: datetime) -> datetime:
    # PostgreSQL knows years that Python does not: such a row could be written and never be read again.
    if not FIRST_YEAR <= value.year <= LAST_YEAR:
        raise ValueError(f"must lie in the years {FIRST_YEAR} to {LAST_YEAR}")
    return value


def _spelled_out(value: object) -> object:
    if not isinstance(value, str) or value[4:5] != "-":  # pydantic would take a number of seconds, in quotes too
        raise ValueError("must be an instant as in RFC 3339, like 2030-01-31T08:00:00Z")
    return value


#: Not strict: behind a validator of ours pydantic no longer knows that the text comes from JSON, where it may be one.
Instant = Annotated[
    AwareDatetime,
    Field(strict=False, json_schema_extra={"pattern": _YEARS}),
    BeforeValidator(_spelled_out),
    AfterValidator(_on_the_calendar),
]
MOST_IN_A_BATCH = 10_000

A_YEAR_IN_SECONDS = 366 * 86_400


class Request(BaseModel):
    """The base of what clients send."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class Retry(Request):
    """A job's own wishes in place of its task's policy; what is left out stays as the task has it."""

    max_retries: Annotated[int | None, Field(ge=0, le=1000, description="Retries after the first attempt")] = None
    backoff_seconds: Annotated[
        float | None, Field(gt=0, le=86_400, description="The first retry waits at most this long; each next one twice")
    ] = None
    backoff_max_seconds: Annotated[float | None, Field(gt=0, le=604_800, description="No retry waits longer")] = None
    jitter: Annotated[bool | None, Field(description="Wait a random part of the time")] = None


class TimeLimit(Request):
    """How long one attempt may run."""

    soft_seconds: Annotated[Seconds | None, Field(description="The task is interrupted and may clean up")] = None
    hard_seconds: Annotated[Seconds | None, Field(description="The process is killed")] = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.soft_seconds and self.hard_seconds and self.soft_seconds >= self.hard_seconds:
            raise ValueError("soft_seconds must be less than hard_seconds")
        return self


class JobRequest(Request):
    """A job to be run."""

    task: Annotated[Name, Field(description="The task's name; GET /api/v1/tasks lists them", examples=["demo.echo"])]
    payload: Annotated[
        dict[str, JsonValue],
        Field(description="The task's arguments by name", default_factory=dict, examples=[{"message": "hello"}]),
    ]
    queue: Annotated[Name | None, Field(description="Default: the task's")] = None
    priority: Annotated[int | None, Field(ge=0, le=9, description="Larger is sooner. Default: the task's")] = None
    run_at: Annotated[Instant | None, Field(description="Not before this instant")] = None
    delay_seconds: Annotated[float | None, Field(ge=0, le=A_YEAR_IN_SECONDS, description="Not before so long")] = None
    expires_at: Annotated[Instant | None, Field(description="Not started any more from this instant")] = None
    unique_key: Annotated[
        Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f]*$")] | None,
        Field(description="At most one unfinished job holds it"),
    ] = None
    tags: Annotated[list[Tag], Field(max_length=20, description="For finding jobs again")] = []
    retry: Retry | None = None
    time_limit: TimeLimit | None = None

    @model_validator(mode="after")
    def _one_time(self) -> Self:
        if self.run_at is not None and self.delay_seconds is not None:
            raise ValueError("run_at and delay_seconds exclude each other")
        return self


class BatchRequest(Request):
    """Jobs that are accepted together or not at all."""

    # The first item that is wrong ends the look: a body of millions must not become millions of findings.
    jobs: Annotated[list[JobRequest], Field(min_length=1, max_length=MOST_IN_A_BATCH), FailFast()]


class ReplayRequest(Request):
    """What to change in the new job."""

    payload: Annotated[dict[str, JsonValue] | None, Field(description="Default: the old job's")] = None


class Links(BaseModel):
    """Where to go from here."""

    self: str
    attempts: str
    events: str


def links(job_id: UUID) -> Links:
    """Return the addresses of a job's parts."""
    here = f"/api/v1/jobs/{job_id}"
    return Links(self=here, attempts=f"{here}/attempts", events=f"{here}/events")


class Accepted(BaseModel):
    """The job is durable."""

    id: UUID
    task: str
    queue: str
    priority: int
    state: JobState
    run_at: datetime
    created_at: datetime
    links: Links


class BatchAccepted(BaseModel):
    """All jobs of the batch are durable; the ids are in the order of the request."""

    ids: list[UUID]


class Failure(BaseModel):
    """An error that an attempt ended with."""

    type: str
    message: str
    trace: str | None = None


class Progress(BaseModel):
    """How far a running attempt has come, by its own word."""

    done: float
    total: float | None = None
    note: str | None = None


class JobSummary(BaseModel):
    """A job in a list."""

    id: UUID
    task: str
    queue: str
    priority: int
    state: JobState
    tags: list[str]
    unique_key: str | None
    attempt: Annotated[int, Field(description="Number of the latest attempt; 0: none yet")]
    error_count: Annotated[int, Field(description="Attempts that erred or timed out")]
    crash_count: Annotated[int, Field(description="Attempts that were lost with their process")]
    created_at: datetime
    run_at: Annotated[datetime, Field(description="Not before; for a retrying job, when the next attempt is due")]
    expires_at: datetime | None
    started_at: Annotated[datetime | None, Field(description="Of the latest attempt")]
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    worker: Annotated[str | None, Field(description="That holds the job now")]
    reason: Annotated[Reason | None, Field(description="Why it failed")]
    replay_of: UUID | None
    links: Links

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Return the view of a row of `jobs.search`."""
        return cls.model_validate({**row, "links": links(row["id"])})


class DeadLetter(JobSummary):
    """A job that failed and that nobody has dealt with."""

    error: Failure | None


class Timings(BaseModel):
    """Where the time went, in seconds; null: not known yet."""

    waited_seconds: Annotated[float | None, Field(description="From acceptance to the start of the latest attempt")]
    ran_seconds: Annotated[float | None, Field(description="From that start to the end of the job")]
    total_seconds: Annotated[float | None, Field(description="From acceptance to the end of the job")]


class Job(JobSummary):
    """All that is known of a job."""

    payload: dict[str, JsonValue]
    progress: Progress | None
    result: JsonValue
    error: Annotated[Failure | None, Field(description="Of the latest attempt that did not succeed")]
    retry: Retry | None
    time_limit_seconds: float | None
    soft_time_limit_seconds: float | None
    submitter: str | None
    request_id: str | None
    traceparent: str | None
    timings: Timings

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Return the view of a row of `jobs.search`."""
        return cls.model_validate({**row, "links": links(row["id"]), "timings": _timings(row)})


def _timings(row: Mapping[str, Any]) -> Timings:
    created, started, finished = row["created_at"], row["started_at"], row["finished_at"]
    return Timings(
        waited_seconds=_between(created, started),
        ran_seconds=_between(started, finished),
        total_seconds=_between(created, finished),
    )


def _between(first: datetime | None, last: datetime | None) -> float | None:
    return round((last - first).total_seconds(), 6) if first and last else None


class JobPage(BaseModel):
    """Some jobs, newest first."""

    jobs: list[JobSummary]
    next_cursor: Annotated[str | None, Field(description="Give it as `cursor` for the next page; null: the end")]


class DeadLetterPage(BaseModel):
    """Some dead letters, newest first."""

    dead_letters: list[DeadLetter]
    next_cursor: Annotated[str | None, Field(description="Give it as `cursor` for the next page; null: the end")]


class Attempt(BaseModel):
    """One try at a job."""

    number: int
    worker: str
    started_at: datetime
    finished_at: datetime | None
    outcome: Annotated[Outcome | None, Field(description="null: it is running")]
    error: Failure | None


class Attempts(BaseModel):
    """The attempts of a job, in their order."""

    attempts: list[Attempt]


class Event(BaseModel):
    """Something that happened to a job."""

    seq: Annotated[int, Field(description="From 1, without gaps")]
    at: datetime
    name: str
    state: Annotated[JobState, Field(description="Of the job, after the event")]
    attempt: int
    facts: dict[str, JsonValue] | None


class Events(BaseModel):
    """What happened to a job, in order."""

    events: list[Event]


class LogLine(BaseModel):
    """Something that the task said about its job."""

    seq: Annotated[int, Field(description="Grows, with gaps; give the last one as `after` for what came later")]
    at: datetime
    attempt: int
    level: Level
    event: str
    facts: dict[str, JsonValue] | None


class LogLines(BaseModel):
    """What the task said about its job, in order."""

    lines: list[LogLine]


class Task(BaseModel):
    """A task that can be run."""

    name: str
    description: str
    queue: str
    priority: int
    max_retries: Annotated[int | None, Field(description="null: without end")]
    soft_time_limit_seconds: float | None
    time_limit_seconds: float | None
    payload_schema: Annotated[dict[str, JsonValue], Field(description="JSON Schema of the payload")]
    result_schema: Annotated[dict[str, JsonValue] | None, Field(description="JSON Schema of the result, if stated")]


class Tasks(BaseModel):
    """The installed tasks, by name."""

    tasks: list[Task]


class FieldError(BaseModel):
    """What is wrong with one field."""

    field: str
    message: str


class ProblemDetails(BaseModel):
    """An error, after RFC 9457."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str | None
    errors: list[FieldError] | None = None
    index: Annotated[int | None, Field(description="The offending item of a batch, from 0")] = None


class Health(BaseModel):
    """The process is alive."""

    status: Literal["alive"] = "alive"


class Dependency(BaseModel):
    """What is known of something that we need."""

    ok: bool
    detail: str | None = None


class Readiness(BaseModel):
    """Whether requests can be served, and what of."""

    status: Literal["ready", "not_ready"]
    dependencies: dict[str, Dependency]
    workers_alive: int | None
