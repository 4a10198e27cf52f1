"""Instants whose time had come when their schedule was edited, and about which nothing had been decided: one that
waits for its jitter, or some for which a beat was late. An edit keeps those that the new timing has too.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final

from jobs.calendar.instants import next_instant, previous_instant, previous_instants
from jobs.calendar.timing import Rule
from jobs.planning.decisions import due_at, passed_over, skip, skipped
from jobs.planning.model import LARGEST_LIMIT, Occurrence, Schedule
from jobs.planning.words import Why

_TICK: Final = timedelta(microseconds=1)

Keeps = Callable[[datetime], bool]


def also_of(rule: Rule) -> Keeps:
    """Return what tells whether an instant is one of this rule too."""

    def keeps(at: datetime) -> bool:
        found = next_instant(rule, at - _TICK)
        return found is not None and found.at == at

    return keeps


def not_due(schedule: Schedule, rule: Rule, now: datetime) -> Keeps:
    """Return what tells whether an instant of `rule` waits for its jitter still."""
    return lambda at: due_at(schedule.id, rule, at) > now


def sort_out(schedule: Schedule, now: datetime, keeps: Keeps, reason: Why) -> tuple[list[datetime], list[Occurrence]]:
    """Return those of the undecided instants up to `now` that are kept, and what is to be recorded of the others.

    Of very many only the newest are looked at, so many as a catch-up can bring at the most. Raises `InvalidTiming`.
    """
    rule, since = schedule.definition.rule, schedule.decided_until
    newest = previous_instants(rule, now + _TICK, since=since + _TICK, count=LARGEST_LIMIT)
    recent = [*schedule.kept, *[one.at for one in newest][::-1]]
    oldest = max(0, len(recent) - LARGEST_LIMIT)
    kept = list[datetime]()
    left = [*_older(rule, since, recent, reason), *passed_over(rule, since, now)]
    for is_kept, run in groupby(enumerate(recent), lambda one: one[0] >= oldest and keeps(one[1])):
        instants = [at for _, at in run]
        if is_kept:
            kept += instants
        else:
            left += skipped(instants, reason)
    return kept, left


def _older(rule: Rule, since: datetime, recent: Sequence[datetime], reason: Why) -> list[Occurrence]:
    if len(recent) < LARGEST_LIMIT:
        return []
    before = previous_instant(rule, recent[-LARGEST_LIMIT])
    return skip(rule, since, before.at if before else None, reason)
