"""Carrying out what was decided: the occurrences, their jobs and the schedules' progress, in one transaction.

The occurrence comes first, because its uniqueness is what makes one job for an instant; then the jobs, by the same
intake as any other job; then the schedule's row, whose lock the caller holds.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from jobs import control, intake
from jobs.errors import NotFound, RefusedError, StaleTransition
from jobs.failpoints import passed, reached
from jobs.model import Doorbell, Idempotency, JobId, Kind, NewJob, Submission
from jobs.planning import history, store
from jobs.planning.decisions import due_at
from jobs.planning.model import Occurrence, Schedule
from jobs.planning.words import Decision, Overlap, Why


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to become of one schedule."""

    schedule: Schedule
    """As it will be; its row is locked."""
    decisions: Sequence[Occurrence]
    waited: Occurrence | None = None
    """One that was recorded as waiting, and fires now."""
    busy: frozenset[JobId] = frozenset()
    """Jobs of the schedule that have not finished."""
    request_id: str | None = None
    """Of the request that asked for it; None: nobody did."""
    traceparent: str | None = None
    idempotency: Idempotency | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """An occurrence that was recorded, for those who count and log."""

    schedule: Schedule
    occurrence: Occurrence
    late_seconds: float | None
    """From the time at which it was due to the end of the work; None: it had no such time."""


@dataclass(slots=True)
class Outcome:
    """What was done, once it is committed."""

    told: list[Told] = field(default_factory=list)
    doorbells: list[Doorbell] = field(default_factory=list)
    """What the caller rings."""
    is_full: bool = False
    """There was more than one round takes."""
    looked_at: datetime | None = None
    """The instant up to which all was taken that is due, but for what somebody else held."""


@dataclass(slots=True)
class _Line:
    """An occurrence on its way into the tables, with the job that it brings."""

    order: Order
    occurrence: Occurrence
    job: NewJob | None
    is_new: bool = True
    is_changed: bool = False


def carry_out(connection: Connection, orders: Sequence[Order], now: datetime, *, rings: bool = False) -> Outcome:
    """Do what `orders` say at `now`, the instant of the transaction; return what was recorded.

    With `rings` the caller rings for the new jobs after the commit. Otherwise upkeep does, as far as the windows go.
    """
    if not orders:
        return Outcome()
    lines = [line for order in orders for line in _lines(order, now)]
    reached("fire.record")
    written = history.record(connection, [(one.order.schedule.id, one.occurrence) for one in lines if one.is_new], now)
    passed("fire.record")
    lines = [one for one in lines if one.occurrence.id in written or not one.is_new]
    _cancel_previous(connection, lines)
    reached("fire.submit")
    doorbells = _submit(connection, [one for one in lines if one.job], rings=rings)
    passed("fire.submit")
    history.amend(connection, [one.occurrence for one in lines if one.is_changed], now)
    reached("fire.advance")
    finished_at = store.advance(connection, [_moved(order, lines) for order in orders])
    passed("fire.advance")
    return Outcome([Told(one.order.schedule, one.occurrence, _late(one, finished_at)) for one in lines], doorbells)


def _lines(order: Order, now: datetime) -> Iterator[_Line]:
    if order.waited is not None:
        fired = replace(order.waited, decision=Decision.FIRED, reason=Why.WAITED)
        yield _line(order, fired, now, is_new=False, is_changed=True)
    for one in order.decisions:
        yield _line(order, one, now)


def _line(order: Order, occurrence: Occurrence, now: datetime, **facts: bool) -> _Line:
    if occurrence.decision is not Decision.FIRED:
        return _Line(order, _explained(order, occurrence), None, **facts)
    job = _job(order, occurrence.instant, now)
    return _Line(order, replace(occurrence, job_id=job.id), job, **facts)


def _explained(order: Order, occurrence: Occurrence) -> Occurrence:
    """Return the occurrence with the job that is in its way, where that is why it is not fired."""
    if occurrence.decision is not Decision.WAITING and occurrence.reason is not Why.OVERLAP:
        return occurrence
    if not order.busy:
        return replace(occurrence, detail="An instant before it waits, or was fired just now.")
    *others, newest = sorted(order.busy)
    more = f", and {len(others)} before it" if others else ""
    return replace(occurrence, detail=f"Job {newest} has not finished{more}.")


def _job(order: Order, instant: datetime, now: datetime) -> NewJob:
    """Return the job of one instant. It is known in the logs by its schedule and instant, where nobody asked for it."""
    schedule, wanted = order.schedule, order.schedule.definition
    expiry = wanted.expires_after_seconds
    return NewJob(
        task=wanted.task,
        payload=with_instant(wanted.payload, wanted.instant_as, instant),
        queue=wanted.queue,
        priority=wanted.priority,
        expires_at=None if expiry is None else now + timedelta(seconds=expiry),
        unique_key=wanted.unique_key,
        tags=wanted.tags,
        retry=wanted.retry,
        time_limit_seconds=wanted.time_limit_seconds,
        soft_time_limit_seconds=wanted.soft_time_limit_seconds,
        tenant=schedule.tenant,
        submitter=schedule.submitter,
        request_id=order.request_id or f"schedule.{schedule.name}.{instant:%Y%m%dT%H%M%SZ}",
        traceparent=order.traceparent,
    )


def with_instant(payload: str, name: str | None, instant: datetime) -> str:
    """Return the payload with the instant as its argument `name`, in place of one that it has; None: as it is.

    Of two members of one name jsonb keeps the last (PostgreSQL documentation, 8.14 "JSON Types").
    """
    if name is None:
        return payload
    member = f"{json.dumps(name)}: {json.dumps(instant.isoformat().replace('+00:00', 'Z'))}"
    others = payload.strip()[1:-1].strip()
    return f"{{{others}, {member}}}" if others else f"{{{member}}}"


def _cancel_previous(connection: Connection, lines: Sequence[_Line]) -> None:
    """Cancel the jobs that are in the way of new ones, where that is what their schedules want."""
    for line in lines:
        if line.job and line.order.schedule.definition.overlap is Overlap.CANCEL:
            for job_id in sorted(line.order.busy):
                # It may have finished since it was looked at: all the better.
                with suppress(StaleTransition, NotFound):
                    control.cancel(connection, job_id, tenant=line.order.schedule.tenant)


def _submit(connection: Connection, lines: Sequence[_Line], *, rings: bool) -> list[Doorbell]:
    """Hand the jobs in, note those that were refused, and return the doorbells that the caller rings."""
    jobs = [one.job for one in lines if one.job]
    quiet = frozenset[Kind]() if rings else frozenset((job.queue, job.priority) for job in jobs)
    submissions = [Submission((one.job,), one.order.idempotency) for one in lines if one.job]
    answers = intake.accept(connection, submissions, quiet) if submissions else []
    for line, answer in zip(lines, answers, strict=True):
        if isinstance(answer, RefusedError):
            line.occurrence = line.occurrence.refused(_refusal(answer))
            line.job, line.is_changed = None, True
    return intake.doorbells(answers, quiet)


def _refusal(error: RefusedError) -> str:
    holder = error.facts.get("existing_job_id")
    return f"{error} The job is {holder}." if holder else str(error)


def _moved(order: Order, lines: Sequence[_Line]) -> Schedule:
    """Return the schedule with the jobs that its next instant may have to wait for."""
    schedule = order.schedule
    if schedule.definition.overlap is Overlap.ALLOW:
        return replace(schedule, open_jobs=())
    fired = [line.job.id for line in lines if line.order is order and line.job]
    return replace(schedule, open_jobs=(*sorted(order.busy), *fired))


def _late(line: _Line, finished_at: datetime) -> float | None:
    if line.occurrence.reason not in {Why.ON_TIME, Why.LATE, Why.CAUGHT_UP} or line.job is None:
        return None
    schedule = line.order.schedule
    instant = line.occurrence.instant
    due = due_at(schedule.id, schedule.definition.rule, instant) if schedule.definition.jitter_seconds else instant
    return (finished_at - due).total_seconds()
