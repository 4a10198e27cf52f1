"""What a schedule says about time: cron, an interval or one date-time, in a zone, within bounds."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, get_args

from jobs.calendar.cron import Cron
from jobs.calendar.refusal import InvalidTiming
from jobs.calendar.zones import parse_zone

OnGap = Literal["run", "skip"]
OnFold = Literal["once", "both"]
Mark = Literal["gap", "fold"]

LONGEST_INTERVAL: Final = timedelta(days=3653)


@dataclass(frozen=True, slots=True)
class Every:
    """Elapsed time: the instants are `anchor` and every whole number of intervals before and after it.

    Nothing accumulates, so nothing drifts, and no clock change moves them.
    """

    seconds: float
    anchor: datetime
    """Aware. An instant itself; rules that must not reach back of it say so with `start_at`."""

    def __post_init__(self) -> None:
        """Refuse what is under a second, and an anchor without an offset."""
        if not 1 <= self.seconds <= LONGEST_INTERVAL.total_seconds():  # not a number is outside too
            raise InvalidTiming("seconds", "lies outside 1 second to 10 years; write a number of seconds from 1")
        object.__setattr__(self, "anchor", _utc("anchor", self.anchor))

    @property
    def interval(self) -> timedelta:
        """The time between two instants, to the microsecond."""
        return timedelta(seconds=self.seconds)


@dataclass(frozen=True, slots=True)
class Once:
    """One date-time: aware, an instant; naive, what the clock of the rule's zone shows, with its gaps and folds."""

    at: datetime

    def __post_init__(self) -> None:
        """Take an instant as UTC, and refuse fractions of a second on a wall clock."""
        if self.at.tzinfo is not None:
            object.__setattr__(self, "at", _utc("at", self.at))
        elif self.at.microsecond:
            raise InvalidTiming("at", "has a fraction of a second; leave it out, or add an offset such as Z")


@dataclass(frozen=True, slots=True)
class Rule:
    """A schedule's whole say about time. Building one checks it; InvalidTiming names the attribute at fault."""

    timing: Cron | Every | Once
    zone: str = "UTC"
    on_gap: OnGap = "run"
    on_fold: OnFold = "once"
    start_at: datetime | None = None
    """The first instant that may be given."""
    end_at: datetime | None = None
    """The last instant that may be given."""
    jitter_seconds: float = 0.0

    def __post_init__(self) -> None:
        """Check what one attribute says, then what two say together."""
        parse_zone(self.zone)
        _one_of("on_gap", self.on_gap, get_args(OnGap))
        _one_of("on_fold", self.on_fold, get_args(OnFold))
        if not 0 <= self.jitter_seconds <= timedelta(days=1).total_seconds():
            raise InvalidTiming("jitter_seconds", "lies outside 0 seconds to a day; write a number from 0 to 86400")
        for name in ("start_at", "end_at"):
            bound: datetime | None = getattr(self, name)
            if bound is not None:
                object.__setattr__(self, name, _utc(name, bound))
        if self.start_at and self.end_at and self.end_at < self.start_at:
            raise InvalidTiming("end_at", "lies before start_at; swap them, or leave one out")


@dataclass(frozen=True, slots=True)
class Instant:
    """One instant of a rule. `at` is its identity: no rule gives one twice, whatever its jitter."""

    at: datetime
    """Aware, UTC."""
    wall: datetime
    """What the clock of the rule's zone shows at `at`; naive."""
    mark: Mark | None = None
    """gap: it stands for one or more times that the clock jumped over. fold: the clock shows this time twice."""
    is_passed_over: bool = False
    """It does not run, for what `mark` says: `on_gap` or `on_fold` leaves it out. Only those who ask get such ones."""


def _utc(name: str, value: datetime) -> datetime:
    if value.tzinfo is None:
        raise InvalidTiming(name, "has no offset; end it with Z or an offset such as +02:00")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise InvalidTiming(name, "lies outside the calendar; write a year from 1900 to 2999") from None


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InvalidTiming(name, f"is not known; write {' or '.join(known)}")
