"""What is due, what was missed, and what overlaps: pure decisions over a schedule and an instant."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, groupby, islice
from typing import Final

from jobs.calendar.instants import next_instant, next_instants, previous_instant, previous_instants, run_at
from jobs.calendar.passed_over import end_after, instants_passed_over
from jobs.calendar.timing import Rule
from jobs.planning.model import Definition, Occurrence, Schedule, ScheduleId
from jobs.planning.words import CatchUp, Decision, Overlap, Why

AT_ONCE: Final = 100
"""Instants of one schedule that are decided in one transaction; the rest follow in the next."""
LATE_AFTER: Final = timedelta(seconds=10)
"""An instant that is decided later than this after its time is late; later still, it was missed."""
COUNTED: Final = 1000
"""Instants that were skipped together are counted up to here."""
_TICK: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Wanted:
    """An instant that should have its job, as far as its time is concerned."""

    at: datetime
    reason: Why


@dataclass(frozen=True, slots=True)
class Due:
    """What a look at the clock came to; whether an instant meets an unfinished job is not in it."""

    wanted: tuple[Wanted, ...]
    """The oldest first."""
    skipped: tuple[Occurrence, ...]
    decided_until: datetime
    next_at: datetime | None
    kept: tuple[datetime, ...] = ()
    """Those of the schedule's that are still to be decided."""


def due_at(schedule_id: ScheduleId, rule: Rule, at: datetime) -> datetime:
    """Return when the instant `at` is to be fired: then, or a jitter later that is the same however often one asks."""
    return run_at(rule, schedule_id, at) if rule.jitter_seconds else at


def next_due_at(schedule_id: ScheduleId, rule: Rule, after: datetime) -> datetime | None:
    """Return when the first instant after `after` is due; None: there is none."""
    following = next_instant(rule, after)
    return due_at(schedule_id, rule, following.at) if following else None


def next_look_at(schedule: Schedule) -> datetime | None:
    """Return when there is something to decide about this schedule; None: never."""
    rule = schedule.definition.rule
    if schedule.kept:
        return due_at(schedule.id, rule, schedule.kept[0])
    after = schedule.decided_until
    following = next_instant(rule, after)
    until = following.at if following else end_after(rule, after)
    passed = next(instants_passed_over(rule, after, until), None) if until else None
    return passed.at if passed else due_at(schedule.id, rule, following.at) if following else None


def next_run_at(schedule: Schedule) -> datetime | None:
    """Return when the next instant is due that runs; None: none is to come. Raises `InvalidTiming`."""
    if schedule.definition.zone == "UTC" or schedule.definition.every_seconds is not None or schedule.next_at is None:
        return schedule.next_at
    if schedule.kept:
        return next_look_at(schedule)
    return next_due_at(schedule.id, schedule.definition.rule, schedule.decided_until)


def runs_after(schedule: Schedule, now: datetime) -> datetime:
    """Return the instant after which those come that are to run after `now`; one may wait for its jitter only."""
    rule = schedule.definition.rule
    last = previous_instant(rule, now + _TICK)
    if last is None or (last.at not in schedule.kept and last.at <= schedule.decided_until):
        return now
    return last.at - _TICK if due_at(schedule.id, rule, last.at) > now else now


def look(schedule: Schedule, now: datetime, missed_after: timedelta) -> Due:
    """Return what is due at `now`. An instant that is decided later than `missed_after` was missed.

    The schedule's own word for that counts more than what is given.
    The stored `next_at` is only a reason to look: which instants there are is asked of the calendar anew, so that a
    zone whose rules have changed since brings neither an instant too many nor one too few.
    """
    rule = schedule.definition.rule
    own = schedule.definition.missed_after_seconds
    missed_after = missed_after if own is None else timedelta(seconds=own)
    wanted, left, kept = _kept(schedule, rule, now, missed_after)
    if kept:
        return Due(tuple(wanted), tuple(left), schedule.decided_until, due_at(schedule.id, rule, kept[0]), kept)
    cursor, next_at = schedule.decided_until, None
    upcoming = next_instants(rule, cursor)
    first = next(upcoming, None)
    if first is not None and due_at(schedule.id, rule, first.at) <= now - missed_after:
        made_up, passed, cursor = _missed(schedule, rule, now - missed_after, now)
        wanted, left = wanted + made_up, left + passed
        upcoming = next_instants(rule, cursor)
        first = next(upcoming, None)
    until = None
    for instant in chain([first] if first else [], upcoming):
        next_at = due_at(schedule.id, rule, instant.at)
        if next_at > now or len(wanted) >= AT_ONCE:
            until = instant.at
            break
        wanted.append(Wanted(instant.at, _punctual(next_at, now)))
        cursor, next_at = instant.at, None
    until = until or end_after(rule, cursor)
    for one in instants_passed_over(rule, cursor, until) if until else ():
        if one.at > now:
            next_at = one.at
            break
        cursor = one.at
    left += passed_over(rule, schedule.decided_until, cursor)
    return Due(tuple(wanted), tuple(left), cursor, next_at)


def passed_over(rule: Rule, after: datetime, until: datetime) -> list[Occurrence]:
    """Return one occurrence for all instants of a day in (`after`, `until`] that one change of the clock takes away."""
    found = instants_passed_over(rule, after, until)
    by_day = groupby(found, lambda one: (one.mark, one.at.date()))
    return [one for (mark, _), run in by_day for one in skipped([each.at for each in run], Why(mark))]


def _punctual(due: datetime, now: datetime) -> Why:
    return Why.LATE if now - due > LATE_AFTER else Why.ON_TIME


Kept = tuple[datetime, ...]


def _kept(
    schedule: Schedule, rule: Rule, now: datetime, missed_after: timedelta
) -> tuple[list[Wanted], list[Occurrence], Kept]:
    """Decide about the instants that an edit has left, as if they came after `decided_until`."""
    due = [at for at in schedule.kept if due_at(schedule.id, rule, at) <= now]
    missed = [at for at in due if due_at(schedule.id, rule, at) <= now - missed_after]
    made_up, left = _made_up(schedule, rule, missed, now, is_followed=len(due) > len(missed))
    chosen = [Wanted(at, Why.CAUGHT_UP) for at in made_up]
    chosen += [Wanted(at, _punctual(due_at(schedule.id, rule, at), now)) for at in due[len(missed) :]]
    later = tuple(one.at for one in chosen[AT_ONCE:])
    return chosen[:AT_ONCE], left, later + schedule.kept[len(due) :]


def _made_up(
    schedule: Schedule, rule: Rule, missed: list[datetime], now: datetime, *, is_followed: bool
) -> tuple[list[datetime], list[Occurrence]]:
    wanted = schedule.definition
    if wanted.catch_up is CatchUp.NONE:
        return [], skipped(missed, Why.MISSED)
    left = list[Occurrence]()
    if wanted.catch_up is CatchUp.LATEST and missed:
        following = next_due_at(schedule.id, rule, schedule.decided_until)
        is_followed = is_followed or (following is not None and following <= now)
        left = skipped(missed if is_followed else missed[:-1], Why.SUPERSEDED)
        missed = [] if is_followed else missed[-1:]
    oldest = now - timedelta(seconds=wanted.catch_up_window_seconds)
    fresh = [at for at in missed if at >= oldest]
    left += skipped(missed[: len(missed) - len(fresh)], Why.TOO_OLD)
    chosen = fresh[-wanted.catch_up_limit :]
    return chosen, left + skipped(fresh[: len(fresh) - len(chosen)], Why.OVER_LIMIT)


Made = tuple[list[Wanted], list[Occurrence], datetime]
"""What is to run, what is not, and the last instant that this is about."""


def _missed(schedule: Schedule, rule: Rule, until: datetime, now: datetime) -> Made:
    """Decide about the instants that were due up to `until`, of which there is one at least: nobody was there."""
    since = schedule.decided_until
    last = _at_or_before(rule, until)
    if due_at(schedule.id, rule, last) > until:  # the one before it was due before this one's time
        last = _at_or_before(rule, last - _TICK)
    match schedule.definition.catch_up:
        case CatchUp.NONE:
            return [], skip(rule, since, last, Why.MISSED), last
        case CatchUp.LATEST:
            return _latest(schedule, rule, last, now)
        case CatchUp.ALL:
            return _all(schedule.definition, rule, since, last, now)


def _latest(schedule: Schedule, rule: Rule, last: datetime, now: datetime) -> Made:
    since = schedule.decided_until
    following = next_due_at(schedule.id, rule, last)
    if following is not None and following <= now:
        return [], skip(rule, since, last, Why.SUPERSEDED), last
    if last < now - timedelta(seconds=schedule.definition.catch_up_window_seconds):
        return [], skip(rule, since, last, Why.TOO_OLD), last
    return [Wanted(last, Why.CAUGHT_UP)], skip(rule, since, _before(rule, last), Why.SUPERSEDED), last


def _all(definition: Definition, rule: Rule, since: datetime, last: datetime, now: datetime) -> Made:
    in_window = min(now - timedelta(seconds=definition.catch_up_window_seconds), last + _TICK)
    oldest = max(in_window, since + _TICK)
    limit = definition.catch_up_limit
    kept = [one.at for one in previous_instants(rule, last + _TICK, since=oldest, count=limit)][::-1]
    # What was not kept is older than all that was: first what is too old, then what is too much.
    left = skip(rule, since, _before(rule, oldest), Why.TOO_OLD)
    too_much = _before(rule, kept[0]) if len(kept) == limit else None
    left += skip(rule, left[-1].last if left else since, too_much, Why.OVER_LIMIT)
    chosen = kept[:AT_ONCE]
    return [Wanted(at, Why.CAUGHT_UP) for at in chosen], left, chosen[-1] if chosen else last


def _at_or_before(rule: Rule, at: datetime) -> datetime:
    found = previous_instant(rule, at + _TICK)
    assert found is not None  # noqa: S101 - both callers have seen one
    return found.at


def _before(rule: Rule, at: datetime) -> datetime | None:
    """Return the last instant before `at`."""
    found = previous_instant(rule, at)
    return found.at if found else None


def skip(rule: Rule, after: datetime, until: datetime | None, reason: Why) -> list[Occurrence]:
    """Return one occurrence for all instants in (`after`, `until`]; none where there are no such instants."""
    if until is None or until <= after:
        return []
    found = list(islice(next_instants(rule, after, until=until), COUNTED + 1))
    if not found:
        return []
    last, count = found[-1].at, len(found)
    if count > COUNTED:
        return [_several(found[0].at, _at_or_before(rule, until), None, reason)]
    return [_several(found[0].at, last, count, reason)]


def _several(first: datetime, last: datetime, count: int | None, reason: Why) -> Occurrence:
    through = last if last > first else None
    return Occurrence(instant=first, through_at=through, count=count, decision=Decision.SKIPPED, reason=reason)


def skipped(instants: Sequence[datetime], reason: Why) -> list[Occurrence]:
    """Return one occurrence for all of these instants; none where there are none."""
    return [_several(instants[0], instants[-1], len(instants), reason)] if instants else []


def settle(policy: Overlap, wanted: Sequence[Wanted], *, is_busy: bool, is_waiting: bool) -> list[Occurrence]:
    """Decide about each of `wanted` where a job of the schedule `is_busy`, or another instant `is_waiting` already."""
    if policy is Overlap.ALLOW or not wanted:
        return [_fired(one) for one in wanted]
    if policy is Overlap.CANCEL:
        return [*skipped([one.at for one in wanted[:-1]], Why.SUPERSEDED), _fired(wanted[-1])]
    rest = list(wanted)
    made = [] if is_busy or is_waiting else [_fired(rest.pop(0))]
    if policy is Overlap.WAIT and rest and not is_waiting:
        waiting = rest.pop(0)
        made.append(Occurrence(instant=waiting.at, decision=Decision.WAITING, reason=_waits_for(waiting)))
    return made + skipped([one.at for one in rest], Why.OVERLAP)


def _waits_for(wanted: Wanted) -> Why:
    """Return the reason of one that waits: a pause holds up what its timing brought, not what was asked for."""
    return Why.TRIGGERED if wanted.reason is Why.TRIGGERED else Why.OVERLAP


def _fired(wanted: Wanted) -> Occurrence:
    # Its job's id is given to it when the job is made.
    return Occurrence(instant=wanted.at, decision=Decision.FIRED, reason=wanted.reason)
