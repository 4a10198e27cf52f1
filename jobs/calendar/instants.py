"""Which instants a rule gives: the next ones, the one before, and when each may run.

Everything is found anew from the instant asked about, so that walking from anywhere gives the same instants.
Inside, instants and walls are naive; what goes in and out is aware UTC.
"""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final, Protocol

from jobs.calendar.cron import SEARCH_YEARS
from jobs.calendar.timing import Every, Instant, Mark, Once, Rule
from jobs.calendar.zones import Stretch, stretch_at

EARLIEST: Final = datetime(1900, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(3000, 1, 1, tzinfo=UTC)
"""Instants outside these bounds are never given."""

_TICK: Final = timedelta(microseconds=1)
_SECOND: Final = timedelta(seconds=1)
_LONGEST_SHIFT: Final = timedelta(days=2)
"""More than any clock was ever moved."""


class _Pattern(Protocol):
    """A set of wall-clock times."""

    @property
    def follows_real_time(self) -> bool: ...
    @property
    def runs_every_hour(self) -> bool: ...
    def at_or_after(self, wall: datetime) -> datetime | None: ...
    def at_or_before(self, wall: datetime) -> datetime | None: ...


class _SingleWall:
    """The pattern of one date-time."""

    follows_real_time = False
    runs_every_hour = False

    def __init__(self, wall: datetime) -> None:
        self._wall = wall

    def at_or_after(self, wall: datetime) -> datetime | None:
        return self._wall if self._wall >= wall else None

    def at_or_before(self, wall: datetime) -> datetime | None:
        return self._wall if self._wall <= wall else None


def next_instants(
    rule: Rule, after: datetime, *, until: datetime | None = None, count: int | None = None
) -> Iterator[Instant]:
    """Yield the rule's instants in order: strictly after `after`, up to and including `until`, at most `count`.

    Ends too when no instant comes for SEARCH_YEARS. `after` and `until` are aware; raises ValueError if not.
    """
    last = min(_aware(bound) for bound in (until, rule.end_at, LATEST) if bound is not None)
    first = max(_aware(after) + _TICK, rule.start_at or EARLIEST, EARLIEST)
    return islice(_up(rule, first, last), count)


def next_instant(rule: Rule, after: datetime) -> Instant | None:
    """Return the first instant strictly after `after`, or None if there is none."""
    return next(next_instants(rule, after), None)


def previous_instants(
    rule: Rule, before: datetime, *, since: datetime | None = None, count: int | None = None
) -> Iterator[Instant]:
    """Yield the rule's instants backwards: strictly before `before`, down to and including `since`, at most `count`."""
    first = max(_aware(bound) for bound in (since, rule.start_at, EARLIEST) if bound is not None)
    last = min(_aware(before) - _TICK, rule.end_at or LATEST, LATEST)
    return islice(_down(rule, first, last), count)


def previous_instant(rule: Rule, before: datetime) -> Instant | None:
    """Return the last instant strictly before `before`, or None if there is none; no walk from the start."""
    return next(previous_instants(rule, before), None)


def run_at(rule: Rule, schedule_id: object, at: datetime) -> datetime:
    """Return when the instant `at` may run: up to `jitter_seconds` later, always the same for one schedule and instant.

    The offset is a hash of both, so it is spread evenly and needs no store. It moves the run, never the instant, and
    never as far as the next instant of the timing: runs come in the order of their instants.
    """
    at = _aware(at)
    if not rule.jitter_seconds:
        return at
    digest = hashlib.blake2b(f"{schedule_id}\n{at.isoformat()}".encode(), digest_size=8).digest()
    width = timedelta(seconds=rule.jitter_seconds) // _TICK
    # Asked without `end_at`, so that another end does not move the last run.
    following = next(_up(rule, at + _TICK, min(at + _TICK * width, LATEST)), None)
    if following is not None:
        width = (following.at - at) // _TICK
    return at + _TICK * (int.from_bytes(digest) * width >> 64)


def _up(rule: Rule, first: datetime, last: datetime) -> Iterator[Instant]:
    timing = rule.timing
    if first > last:
        return iter(())
    if isinstance(timing, Every):
        return _intervals(rule, timing, -((timing.anchor - first) // timing.interval), 1, first, last)
    if isinstance(timing, Once):
        if timing.at.tzinfo is not None:
            return _single(rule, timing.at, first, last)
        return _walls_up(rule, _SingleWall(timing.at), first, last)
    return _walls_up(rule, timing, first, last)


def _down(rule: Rule, first: datetime, last: datetime) -> Iterator[Instant]:
    timing = rule.timing
    if first > last:
        return iter(())
    if isinstance(timing, Every):
        return _intervals(rule, timing, (last - timing.anchor) // timing.interval, -1, first, last)
    if isinstance(timing, Once):
        if timing.at.tzinfo is not None:
            return _single(rule, timing.at, first, last)
        return _walls_down(rule, _SingleWall(timing.at), first, last)
    return _walls_down(rule, timing, first, last)


def _intervals(rule: Rule, timing: Every, number: int, step: int, first: datetime, last: datetime) -> Iterator[Instant]:
    at = timing.anchor + number * timing.interval
    while first <= at <= last:
        yield _shown(rule, at)
        number += step
        at = timing.anchor + number * timing.interval


def _single(rule: Rule, at: datetime, first: datetime, last: datetime) -> Iterator[Instant]:
    if first <= at <= last:
        yield _shown(rule, at)


def _walls_up(rule: Rule, pattern: _Pattern, first: datetime, last: datetime) -> Iterator[Instant]:
    at, end = _whole_second_from(first), last.replace(tzinfo=None)
    give_up = at.year + SEARCH_YEARS
    while at <= end and at.year <= give_up:
        stretch = stretch_at(rule.zone, at)
        if at == stretch.start and _stands_for_gap(rule, pattern, stretch):
            yield _instant(stretch, stretch.wall_start, "gap")
        begin = max(at + stretch.offset, _first_wall(rule, pattern, stretch))
        wall = pattern.at_or_after(begin)
        if wall is not None and wall < stretch.wall_end:
            at = wall - stretch.offset
            if at > end:
                return
            yield _instant(stretch, wall)
            at += _SECOND
            give_up = at.year + SEARCH_YEARS
        elif begin > stretch.wall_end - _LONGEST_SHIFT:
            at = stretch.end  # a fold there may show again what was passed
        elif wall is None:
            return
        else:
            at = max(stretch.end, wall - stretch.offset - _LONGEST_SHIFT)


def _walls_down(rule: Rule, pattern: _Pattern, first: datetime, last: datetime) -> Iterator[Instant]:
    at, begin = last.replace(tzinfo=None, microsecond=0), first.replace(tzinfo=None)
    give_up = at.year - SEARCH_YEARS
    while at >= begin and at.year >= give_up:
        stretch = stretch_at(rule.zone, at)
        passed = at + stretch.offset
        wall = pattern.at_or_before(passed)
        if wall is not None and wall >= _first_wall(rule, pattern, stretch):
            at = wall - stretch.offset
            if at < begin:
                return
            yield _instant(stretch, wall)
            at -= _SECOND
            give_up = at.year - SEARCH_YEARS
            continue
        if stretch.start >= begin and _stands_for_gap(rule, pattern, stretch):
            yield _instant(stretch, stretch.wall_start, "gap")
        if passed < stretch.wall_start + _LONGEST_SHIFT:
            at = stretch.start - _SECOND
        elif wall is None:
            return
        else:
            at = min(stretch.start - _SECOND, wall - stretch.offset + _LONGEST_SHIFT)


def _first_wall(rule: Rule, pattern: _Pattern, stretch: Stretch) -> datetime:
    """Return from which wall on the stretch counts: the second pass of a fold does so only for some."""
    both = pattern.follows_real_time or rule.on_fold == "both"
    return stretch.wall_start if both else stretch.repeated_until


def _stands_for_gap(rule: Rule, pattern: _Pattern, stretch: Stretch) -> bool:
    """Tell whether the first instant after a gap runs for times in the gap, without being meant itself."""
    if not stretch.follows_gap or rule.on_gap == "skip" or pattern.runs_every_hour:
        return False
    missed = pattern.at_or_after(stretch.start + stretch.offset_before)
    return (
        missed is not None
        and missed < stretch.wall_start
        and pattern.at_or_after(stretch.wall_start) != stretch.wall_start
    )


def _instant(stretch: Stretch, wall: datetime, mark: Mark | None = None) -> Instant:
    if mark is None and stretch.is_shown_twice(wall):
        mark = "fold"
    return Instant((wall - stretch.offset).replace(tzinfo=UTC), wall, mark)


def _shown(rule: Rule, at: datetime) -> Instant:
    naive = at.replace(tzinfo=None)
    stretch = stretch_at(rule.zone, naive)
    return _instant(stretch, naive + stretch.offset)


def _whole_second_from(at: datetime) -> datetime:
    whole = at.replace(tzinfo=None, microsecond=0)
    return whole + _SECOND if at.microsecond else whole


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError(f"{value!r} has no offset")
    return min(max(value, EARLIEST - _SECOND), LATEST + _SECOND).astimezone(UTC)
