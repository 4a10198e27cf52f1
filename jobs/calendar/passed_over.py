"""Which instants a rule passes over at a change of the clock: the runs that `on_gap` and `on_fold` leave out."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from jobs.calendar.cron import Cron
from jobs.calendar.instants import EARLIEST, LATEST, next_instants
from jobs.calendar.timing import Every, Instant, Once, Rule
from jobs.calendar.zones import stretch_at

_TICK: Final = timedelta(microseconds=1)
_LONGEST_FOLD: Final = timedelta(days=2)
"""More than any clock was ever put back."""


def instants_passed_over(rule: Rule, after: datetime, until: datetime) -> Iterator[Instant]:
    """Yield, in order and in (`after`, `until`], what the rule would give if it ran gaps and both passes of folds.

    `mark` says why it does not: gap, fold. What the rule gives itself is not among them.
    """
    if not _leaves_out(rule):
        return
    generous: Rule | None = None
    for begin, end in _changes(rule.zone, after, until):
        generous = generous or replace(rule, on_gap="run", on_fold="both")
        given = {one.at for one in next_instants(rule, begin, until=end)}
        for one in next_instants(generous, begin, until=end):
            if one.at not in given:
                yield replace(one, is_passed_over=True)


def with_passed_over(rule: Rule, after: datetime) -> Iterator[Instant]:
    """Yield the instants strictly after `after` in order, and among them those that are passed over."""
    for instant in next_instants(rule, after):
        yield from instants_passed_over(rule, after, instant.at)
        yield instant
        after = instant.at
    until = end_after(rule, after)
    if until is not None:
        yield from instants_passed_over(rule, after, until)


def end_after(rule: Rule, after: datetime) -> datetime | None:
    """Return until when something may be passed over, where no instant comes after `after`; None: nothing is."""
    if isinstance(rule.timing, Once):
        return min(after + _LONGEST_FOLD, rule.end_at or LATEST)
    return rule.end_at


def _leaves_out(rule: Rule) -> bool:
    timing = rule.timing
    if rule.zone == "UTC" or isinstance(timing, Every) or (isinstance(timing, Once) and timing.at.tzinfo is not None):
        return False
    follows_real_time = isinstance(timing, Cron) and timing.follows_real_time
    return rule.on_gap == "skip" or (rule.on_fold == "once" and not follows_real_time)


def _changes(zone: str, after: datetime, until: datetime) -> list[tuple[datetime, datetime]]:
    """Return the spans right after each change of the clock in which something may be passed over, in order.

    Each is open where it begins, closed where it ends, and inside (`after`, `until`].
    """
    first, last = max(after, EARLIEST), min(until, LATEST)
    found = list[tuple[datetime, datetime]]()
    at = last.astimezone(UTC).replace(tzinfo=None)
    while at.replace(tzinfo=UTC) > first:
        stretch = stretch_at(zone, at)
        start = stretch.start.replace(tzinfo=UTC)
        end = start + (stretch.repeated_until - stretch.wall_start)
        is_change = stretch.offset != stretch.offset_before  # otherwise it is where a table of some years begins
        if is_change and end >= first:
            found.append((max(start - _TICK, first), min(end, last)))
        at = stretch.start - timedelta(seconds=is_change)
    return found[::-1]
