"""What goes over the wire about schedules."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field, JsonValue, StringConstraints

from api.schemas import A_YEAR_IN_SECONDS, Instant, Name, Request, Retry, Tag, TimeLimit
from jobs.calendar.timing import LONGEST_INTERVAL, Mark, OnFold, OnGap
from jobs.calendar.zones import ZONE_DATA_VERSION
from jobs.planning.model import LARGEST_LIMIT
from jobs.planning.words import CatchUp, Decision, Overlap, Source, Why

_DATE_TIME: Final = r"^(19[7-9]\d|[2-8]\d{3})-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?$"
_NO_CONTROLS: Final = r"^[^\x00-\x1f]*$"


def _is_a_date(value: str) -> str:
    if re.fullmatch(_DATE_TIME, value) is None:
        raise ValueError("must be a date-time such as 2030-01-31T08:00, or 2030-01-31T08:00:00Z for an instant")
    try:
        datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("is not a date-time that there is; write one such as 2030-01-31T08:00") from None
    return value


class CatchUpRequest(Request):
    """What is made up for of the instants that no beat was there for."""

    mode: Annotated[CatchUp, Field(description="none, the latest one, or all of them")] = CatchUp.LATEST
    window_seconds: Annotated[
        float, Field(gt=0, le=A_YEAR_IN_SECONDS, description="Nothing is made up for that is older")
    ] = 86_400.0
    limit: Annotated[int, Field(ge=1, le=LARGEST_LIMIT, description="Of all, the newest so many")] = 100


class ScheduleRequest(Request):
    """When a job is made, and which: exactly one of `cron`, `every_seconds` and `at`, and the job's options."""

    cron: Annotated[
        Annotated[str, StringConstraints(max_length=256)] | None,
        Field(description="Five fields, or six with the second first", examples=["0 3 * * MON-FRI"]),
    ] = None
    every_seconds: Annotated[
        float | None,
        Field(ge=1, le=LONGEST_INTERVAL.total_seconds(), description="Elapsed time, whatever the clocks show"),
    ] = None
    at: Annotated[
        Annotated[str, Field(json_schema_extra={"pattern": _DATE_TIME}), AfterValidator(_is_a_date)] | None,
        Field(description="Once: 2030-01-31T08:00:00Z is an instant, 2030-01-31T08:00 what the zone's clock shows"),
    ] = None
    anchor_at: Annotated[
        Instant | None, Field(description="From where every_seconds counts. Default: start_at, else its creation")
    ] = None
    zone: Annotated[
        Annotated[str, StringConstraints(max_length=100)],
        Field(description="An IANA time zone", examples=["Europe/Berlin"]),
    ] = "UTC"
    on_gap: Annotated[OnGap, Field(description="A time that the clock jumps over runs right after it, or not")] = "run"
    on_fold: Annotated[OnFold, Field(description="A time that the clock shows twice runs once, or both times")] = "once"
    jitter_seconds: Annotated[
        float, Field(ge=0, le=86_400, description="Each run is up to so much later; the same for the same instant")
    ] = 0.0
    start_at: Annotated[Instant | None, Field(description="No instant before it")] = None
    end_at: Annotated[Instant | None, Field(description="No instant after it")] = None
    task: Annotated[Name, Field(description="The task's name; GET /api/v1/tasks lists them", examples=["demo.echo"])]
    payload: Annotated[
        dict[str, JsonValue],
        Field(description="The task's arguments by name", default_factory=dict, examples=[{"message": "hello"}]),
    ]
    instant_as: Annotated[
        Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=_NO_CONTROLS)] | None,
        Field(description="The argument of the task that gets the instant, as RFC 3339 text"),
    ] = None
    queue: Annotated[Name | None, Field(description="Default: the task's")] = None
    priority: Annotated[int | None, Field(ge=0, le=9, description="Larger is sooner. Default: the task's")] = None
    expires_after_seconds: Annotated[
        float | None,
        Field(ge=0.001, le=A_YEAR_IN_SECONDS, description="Not started any more so long after it was made"),
    ] = None
    unique_key: Annotated[
        Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=_NO_CONTROLS)] | None,
        Field(description="At most one unfinished job holds it"),
    ] = None
    tags: Annotated[list[Tag], Field(max_length=20, description="For finding the jobs again", default_factory=list)]
    retry: Retry | None = None
    time_limit: TimeLimit | None = None
    catch_up: CatchUpRequest = CatchUpRequest()
    missed_after_seconds: Annotated[
        float | None,
        Field(ge=1, le=86_400, description="Decided later, an instant was missed. Default: as beat is set, 60"),
    ] = None
    overlap: Annotated[Overlap, Field(description="When the job before has not finished")] = Overlap.ALLOW


class BackfillRequest(Request):
    """The span of the past that jobs are wanted for, both ends included."""

    first: Annotated[Instant, Field(alias="from", description="The first instant")]
    last: Annotated[Instant, Field(alias="to", description="The last instant; not in the future")]
    dry_run: Annotated[bool, Field(description="Only tell what would be done")] = False


class ClockRules(BaseModel):
    """How this schedule reads a clock."""

    zone: str
    gap: str
    fold: str
    interval: str
    clock: str
    zone_data: Annotated[str, Field(description="The release of the IANA time zone database that decides")]


GAPS: Final[Mapping[OnGap, str]] = {
    "run": "A wall-clock time that does not exist runs once, at the first valid instant after the gap.",
    "skip": "A wall-clock time that does not exist is skipped.",
}
FOLDS: Final[Mapping[OnFold, str]] = {
    "once": "A wall-clock time that happens twice runs once, the first time.",
    "both": "A wall-clock time that happens twice runs both times.",
}


def clock_rules(zone: str, on_gap: OnGap, on_fold: OnFold) -> ClockRules:
    """Return the rules in force, in words."""
    return ClockRules(
        zone=zone,
        gap=GAPS[on_gap],
        fold=FOLDS[on_fold],
        interval="Intervals follow elapsed time; so does a cron whose minute or hour begins with `*`.",
        clock="PostgreSQL's clock decides what is due.",
        zone_data=ZONE_DATA_VERSION,
    )


class ScheduleLinks(BaseModel):
    """Where to go from here."""

    self: str
    preview: str
    occurrences: str


class ScheduleSummary(BaseModel):
    """A schedule in a list."""

    name: str
    source: Annotated[Source, Field(description="api: edited over HTTP; code: declared in beat_schedule, read-only")]
    origin: Annotated[str | None, Field(description="Where code declares it")]
    cron: str | None
    every_seconds: float | None
    at: str | None
    zone: str
    task: str
    queue: str
    priority: int
    overlap: Overlap
    paused_at: Annotated[datetime | None, Field(description="null: it is not paused")]
    pause_reason: Annotated[
        Why | None, Field(description="paused: somebody asked for it; undeclared: code does not declare it any more")
    ]
    etag: Annotated[str, Field(description="Changes with each edit: the header ETag without its quotes, for If-Match")]
    next_at: Annotated[
        datetime | None, Field(description="When the next instant is due, jitter included; null: none is to come")
    ]
    links: ScheduleLinks


class Schedule(ScheduleSummary):
    """All that is known of a schedule."""

    anchor_at: datetime | None
    on_gap: OnGap
    on_fold: OnFold
    jitter_seconds: float
    start_at: datetime | None
    end_at: datetime | None
    payload: dict[str, JsonValue]
    instant_as: str | None
    expires_after_seconds: float | None
    unique_key: str | None
    tags: list[str]
    retry: Retry | None
    time_limit: TimeLimit | None
    catch_up: CatchUpRequest
    missed_after_seconds: Annotated[float | None, Field(description="null: what beat's settings say")]
    submitter: Annotated[str | None, Field(description="The public part of the API key that wrote it last")]
    created_at: datetime
    updated_at: datetime
    clock_rules: ClockRules


class SchedulePage(BaseModel):
    """Some schedules, by name."""

    schedules: list[ScheduleSummary]
    next_cursor: Annotated[str | None, Field(description="Give it as `cursor` for the next page; null: the end")]


class Occurrence(BaseModel):
    """What was decided about an instant, or about several that were skipped for one reason."""

    id: UUID
    instant: datetime
    through_at: Annotated[datetime | None, Field(description="The last of several instants; null: it is about one")]
    count: Annotated[int | None, Field(description="How many instants; null: more than were counted")]
    decision: Decision
    reason: Why
    detail: str | None
    job_id: UUID | None
    decided_at: datetime

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Return the view of a row of `jobs.planning.history`."""
        return cls.model_validate(dict(row))


class OccurrencePage(BaseModel):
    """Some occurrences, those with the latest instants first."""

    occurrences: list[Occurrence]
    next_cursor: Annotated[str | None, Field(description="Give it as `cursor` for the next page; null: the end")]


class InstantView(BaseModel):
    """An instant as the world and the zone's clock show it."""

    at: Annotated[datetime, Field(description="UTC")]
    local: Annotated[datetime, Field(description="The same instant by the clock of the zone")]
    mark: Annotated[Mark | None, Field(description="gap: it stands for a time that was jumped over; fold: shown twice")]


class PreviewInstant(InstantView):
    """An instant that is to come."""

    runs_at: Annotated[
        datetime | None,
        Field(description="With its jitter; null: it does not run, for on_gap or on_fold passes over what mark says"),
    ]


class Preview(BaseModel):
    """The next instants, and the rules that they follow."""

    instants: list[PreviewInstant]
    paused_at: Annotated[
        datetime | None, Field(description="None of these runs before it is resumed; null: it is not paused")
    ]
    pause_reason: Annotated[Why | None, Field(description="paused or undeclared, as in the schedule")]
    clock_rules: ClockRules


class BackfillInstant(InstantView):
    """An instant of the past, and what came of it."""

    is_new: Annotated[bool, Field(description="It had no job, so this backfill decided about it, or would")]
    occurrence: Annotated[Occurrence | None, Field(description="null: a dry run")]


class Backfill(BaseModel):
    """The instants of the span, in order."""

    dry_run: bool
    instants: list[BackfillInstant]
