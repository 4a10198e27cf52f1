"""A schedule, its definition, and what was decided about an instant of it. Frozen, and free of any database."""

import re
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Final, Self
from uuid import UUID

from jobs.calendar.cron import Cron, parse_cron
from jobs.calendar.instants import LATEST
from jobs.calendar.refusal import InvalidTiming
from jobs.calendar.timing import Every, Once, OnFold, OnGap, Rule
from jobs.model import DEFAULT_PRIORITY, JobId, new_job_id
from jobs.planning.words import CatchUp, Decision, Overlap, Source, Why

ScheduleId = UUID
NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
"""What a schedule may be called, as a regular expression."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
LARGEST_LIMIT: Final = 1000
"""Instants that one catch-up or one backfill may bring."""


def _every(seconds: float, anchor: datetime) -> Every:
    try:
        return Every(seconds, anchor)
    except InvalidTiming as error:  # named as people write it
        named = {"seconds": "every_seconds", "anchor": "anchor_at"}
        raise InvalidTiming(named.get(error.field, error.field), error.message) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """All of a schedule that people write; the names are those of its columns."""

    cron: str | None = None
    every_seconds: float | None = None
    anchor_at: datetime | None = None
    """The instant from which `every_seconds` counts, in both directions."""
    once: str | None = None
    """One date-time after ISO 8601: an instant where it has an offset, else what the clock of the zone shows."""
    zone: str = "UTC"
    on_gap: OnGap = "run"
    on_fold: OnFold = "once"
    jitter_seconds: float = 0.0
    start_at: datetime | None = None
    end_at: datetime | None = None
    task: str
    payload: str = field(default="{}", repr=False)
    """A JSON object."""
    instant_as: str | None = None
    """The argument of the task that gets the instant, as text after RFC 3339."""
    queue: str
    priority: int = DEFAULT_PRIORITY
    expires_after_seconds: float | None = None
    """Counted from the moment at which the job is made."""
    unique_key: str | None = None
    tags: tuple[str, ...] = ()
    retry: str | None = None
    time_limit_seconds: float | None = None
    soft_time_limit_seconds: float | None = None
    catch_up: CatchUp = CatchUp.LATEST
    catch_up_window_seconds: float = 86_400.0
    catch_up_limit: int = 100
    missed_after_seconds: float | None = None
    """An instant that is decided later than this was missed; None: what beat's settings say."""
    overlap: Overlap = Overlap.ALLOW

    @property
    def timing(self) -> Cron | Every | Once:
        """Return when it is, apart from zone and bounds. Raises `InvalidTiming`."""
        if self.cron is not None:
            return parse_cron(self.cron)
        if self.every_seconds is not None:
            assert self.anchor_at is not None  # noqa: S101 - a CHECK of the table, and editing before it
            return _every(self.every_seconds, self.anchor_at)
        assert self.once is not None  # noqa: S101 - a CHECK of the table
        return Once(datetime.fromisoformat(self.once))

    @property
    def rule(self) -> Rule:
        """Return all that says when. Raises `InvalidTiming`."""
        return Rule(
            timing=self.timing,
            zone=self.zone,
            on_gap=self.on_gap,
            on_fold=self.on_fold,
            start_at=self.start_at,
            end_at=self.end_at,
            jitter_seconds=self.jitter_seconds,
        )


def is_name(name: str) -> bool:
    """Tell whether a schedule may be called so."""
    return re.fullmatch(NAME, name) is not None


def check(definition: Definition) -> None:
    """Raise `InvalidTiming` for a definition whose timing cannot be kept; an anchor may be missing still."""
    if definition.every_seconds is not None and definition.jitter_seconds > definition.every_seconds:
        most = f"{definition.every_seconds:g}"
        raise InvalidTiming("jitter_seconds", f"is longer than the interval; write at most {most}")
    is_open = definition.every_seconds is not None and definition.anchor_at is None
    rule = replace(definition, anchor_at=EPOCH if is_open else definition.anchor_at).rule
    at = rule.timing.at if isinstance(rule.timing, Once) else None
    for name, value in (("at", at), ("start_at", rule.start_at)):
        if value is not None and value.year >= LATEST.year:
            raise InvalidTiming(name, f"lies beyond the year {LATEST.year - 1}, where the calendar ends")


#: What says when; a change to one of them makes another timing of it.
TIMING: Final = (
    "cron",
    "every_seconds",
    "anchor_at",
    "once",
    "zone",
    "on_gap",
    "on_fold",
    "start_at",
    "end_at",
)
FIELDS: Final = tuple(one.name for one in fields(Definition))


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A schedule as it is stored."""

    id: ScheduleId
    tenant: str
    name: str
    source: Source
    origin: str | None
    """Where code declares it."""
    submitter: str | None
    """Id of the API key that wrote it last."""
    definition: Definition
    paused_at: datetime | None
    """Of one that code declared: since when code does not declare it any more."""
    decided_until: datetime
    """Every instant up to here has been decided, but for those that are kept, and none after it but by a backfill."""
    kept: tuple[datetime, ...] = ()
    """Instants up to `decided_until` that an edit left to be decided, in order."""
    next_at: datetime | None
    """When the next instant is due, its jitter included; None: there is none."""
    open_jobs: tuple[JobId, ...]
    """Jobs of this schedule that may be unfinished; kept only where `overlap` asks for them."""
    version: int
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None
    """It is there for its history alone."""

    @property
    def pause_reason(self) -> Why | None:
        """Return why its instants are passed over; None: it is not paused."""
        if self.paused_at is None:
            return None
        return Why.UNDECLARED if self.source is Source.CODE else Why.PAUSED

    @property
    def tag(self) -> str:
        """Return what changes with each edit, and differs from that of any schedule of the same name before it."""
        return f"{self.id.hex[-12:]}-{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """What was decided about an instant, or about a run of instants that were skipped for one reason."""

    instant: datetime
    decision: Decision
    reason: Why
    id: UUID = field(default_factory=new_job_id)
    """UUIDv7: sorts by the time of the decision."""
    through_at: datetime | None = None
    """The last of several instants that this is about; None: it is about one."""
    count: int | None = 1
    """How many instants this is about; None: more than were counted."""
    job_id: JobId | None = None
    detail: str | None = None

    @property
    def last(self) -> datetime:
        """The last instant that this is about."""
        return self.through_at or self.instant

    def refused(self, detail: str) -> Self:
        """Return what becomes of it when intake does not accept its job."""
        return replace(self, decision=Decision.SKIPPED, reason=Why.REFUSED, job_id=None, detail=detail)
