"""When things happened: never before they were due, never after they were over, by the clock of PostgreSQL."""

import itertools
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from jobs.state import FINAL, Event, Outcome
from tests.chaos.history import EventRow, Life, Terms
from tests.chaos.invariant import Findings, Meaning, Register, RunFindings, of_a_job, of_the_run
from tests.chaos.pauses import FOREVER

LEASE_RAN_OUT: Final = "The lease ran out"
"""How upkeep's word on an attempt begins that nobody heard of for too long."""


def _seconds(later: datetime, earlier: datetime) -> float:
    return (later - earlier).total_seconds()


def first_run_at(life: Life) -> datetime | None:
    """Return the earliest instant at which the job was to run when it was accepted; None: nobody knows any more."""
    moved = any(event.name in {Event.RETRY, Event.REDRIVE} for event in life.events)
    if life.job is not None and not moved:
        return life.job.run_at
    wanted = next((promise.wanted for promise in life.promises if promise.wanted), None)
    if life.job is None or wanted is None:
        return None
    delayed = timedelta(seconds=wanted.delay_seconds or 0)
    return max(life.job.created_at, wanted.run_at or life.job.created_at) + delayed


def _waits(life: Life) -> Iterator[tuple[datetime, list[EventRow]]]:
    """Go through the known instants before which the job was not to run, each with the events that it binds."""
    setters = [place for place, event in enumerate(life.events) if event.name in {Event.RETRY, Event.REDRIVE}]
    first = first_run_at(life)
    if first is not None:
        yield first, life.events[: setters[0] if setters else None]
    if setters and life.job is not None:
        yield life.job.run_at, life.events[setters[-1] + 1 :]


@of_a_job("not-before-run-at")
def not_before_run_at(life: Life, terms: Terms) -> Findings:
    """A job is queued, started and run no earlier than its `run_at`, be that its submitter's or a retry's."""
    for run_at, bound in _waits(life):
        for event in bound:
            if event.name in {Event.ENQUEUE, Event.START}:
                early = _seconds(run_at, event.at)
                yield f"{event.name} {early:.3f} s early" if early > terms.clocks_apart_seconds else None
        numbers = {event.attempt for event in bound if event.name == Event.START}
        for execution in life.executions:
            if execution.attempt in numbers:
                early = run_at.timestamp() - execution.began_at
                yield f"ran {early:.3f} s early" if early > terms.clocks_apart_seconds else None


@of_a_job("not-after-expiry")
def not_after_expiry(life: Life, terms: Terms) -> Findings:
    """No attempt starts after the job's `expires_at`, and no job expires before it. A redrive lifts the limit."""
    wanted = next((promise.wanted for promise in life.promises if promise.wanted), None)
    expires_at = wanted.expires_at if wanted else None
    if life.job is not None and len(life.drives) == 1:
        expires_at = life.job.expires_at
    if expires_at is None:
        return
    for event in life.drives[0]:
        if event.name == Event.START:
            late = _seconds(event.at, expires_at)
            yield f"started {late:.3f} s after its expiry" if late > terms.statement_seconds else None
        if event.name == Event.EXPIRE:
            early = _seconds(expires_at, event.at)
            yield f"expired {early:.3f} s early" if early > terms.clocks_apart_seconds else None


@of_a_job("nothing-starts-while-paused")
def nothing_starts_while_paused(life: Life, terms: Terms) -> Findings:
    """No attempt starts at a job whose queue is paused, once whoever paused it was told so, until it is to go on.

    A start that is under way while the pause is committed goes through.
    """
    if life.job is None:
        return
    apart = timedelta(seconds=terms.clocks_apart_seconds)
    for paused_at, resumed_at in life.pauses:
        since, until = paused_at + timedelta(seconds=terms.statement_seconds) + apart, resumed_at - apart
        if life.job.created_at < until and (life.job.finished_at or FOREVER) > since:
            begun = [one for one in life.attempts if since < one.started_at < until]
            told = (f"attempt {one.number} began {_seconds(one.started_at, paused_at):.3f} s" for one in begun)
            yield f"{', '.join(told)} after a pause" if begun else None


@of_a_job("nothing-starts-after-an-end", Meaning.DOUBLING)
def nothing_starts_after_an_end(life: Life, terms: Terms) -> Findings:
    """Once a job is cancelled, or finished otherwise, no attempt of that drive starts, and none is run."""
    for number, drive in enumerate(life.drives):
        end = next((event for event in drive if event.state in FINAL), None)
        if end is None:
            continue
        until = life.drives[number + 1][0].at if number + 1 < len(life.drives) else None
        for attempt in life.attempts:
            after = attempt.started_at > end.at and (until is None or attempt.started_at < until)
            yield f"attempt {attempt.number} started after {end.name}" if after else None
        if until is not None:
            continue
        for execution in life.executions:
            late = execution.began_at - end.at.timestamp() > terms.clocks_apart_seconds
            begun = life.attempt_by_number.get(execution.attempt)
            wrong = late and (begun is None or begun.started_at > end.at)
            yield f"attempt {execution.attempt} was run after {end.name}" if wrong else None


@of_a_job("rescued-after-its-lease")
def rescued_after_its_lease(life: Life, terms: Terms) -> Findings:
    """An attempt that upkeep calls lost had held its job for a whole lease at least."""
    for attempt in life.attempts:
        if attempt.outcome == Outcome.LOST and (attempt.error_message or "").startswith(LEASE_RAN_OUT):
            ended = attempt.finished_at
            held = _seconds(ended, attempt.started_at) if ended else 0.0
            short = held < terms.lease_seconds - terms.clocks_apart_seconds
            yield f"attempt {attempt.number} was called lost after {held:.3f} s" if short else None


def holdings(life: Life, at: datetime) -> list[tuple[datetime, datetime]]:
    """Return when the job held its unique key for certain.

    An acceptance is told with the time at which its transaction began, which may have waited for another job's end.
    It is certain only with the event that follows, or, where none does, at the moment `at` that the tables show.
    """
    found = []
    for drive, following in itertools.zip_longest(life.drives, life.drives[1:]):
        certain = drive[:1] if drive and drive[0].name == Event.REDRIVE else drive[1:2]
        end = next((event.at for event in drive if event.state in FINAL), following[0].at if following else FOREVER)
        found.append((certain[0].at if certain else at, end))
    return found


@of_the_run("unique-key-held-once", Meaning.DOUBLING)
def unique_key_held_once(register: Register) -> RunFindings:
    """At no moment do two unfinished jobs of a tenant hold the same unique key."""
    apart = timedelta(seconds=register.history.terms.clocks_apart_seconds)
    for (_, key), holdings_of_key in register.unique.items():
        held_until, holder = None, None
        for since, until, job_id in sorted(holdings_of_key):
            overlaps = held_until is not None and holder != job_id and since + apart < held_until
            yield job_id, f"holds unique key {key!r} together with {holder}" if overlaps else None
            if held_until is None or until > held_until:
                held_until, holder = until, job_id
