"""Firing: what is due becomes occurrences and jobs. Any number of processes may do it at once.

Each round takes what nobody else holds, decides by the clock of its own transaction, and moves the schedules on
before it commits. Whoever is killed or stopped in between has done nothing, and the next one finds what it found.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from sqlalchemy import ARRAY, Connection, RowMapping, Select, Uuid, bindparam, exists, func, select, text

from jobs.calendar.refusal import InvalidTiming
from jobs.calendar.zones import ZONE_DATA_VERSION
from jobs.model import JobId
from jobs.planning import store
from jobs.planning.decisions import COUNTED, look, next_look_at, settle
from jobs.planning.model import Occurrence, Schedule, ScheduleId
from jobs.planning.orders import Order, Outcome, carry_out
from jobs.planning.words import Decision, Overlap, Why
from jobs.state import UNFINISHED
from jobs.tables import jobs, occurrences, schedules

log = structlog.get_logger()

BATCH: Final = 500
INSTANTS: Final = 2000
"""Instants about which one round decides, give or take one schedule's: no transaction grows long after an outage."""
MISSED_AFTER: Final = timedelta(seconds=60)
"""An instant that is decided later than this after its time was missed; `catch_up` says what becomes of it."""
POSTPONED_BY: Final = timedelta(seconds=60)
"""After which a schedule is looked at again whose timing this process cannot read."""
HELD_FOR: Final = timedelta(seconds=1)
"""After which a schedule is looked at again whose job cannot be cancelled, because somebody holds it."""
#: As in the partial index, word for word.
_WAITING: Final = text("decision = 'waiting'")
_LET_GO_AFTER: Final = "5s"
"""PostgreSQL takes the locks of a process back that stands still for so long."""


def due_schedules(limit: int = BATCH) -> Select[Any]:
    """Return the query for schedules whose next instant is due, the latest first."""
    return store.query().where(store.DUE, schedules.c.next_at <= func.now()).order_by(schedules.c.next_at).limit(limit)


def fire_due(connection: Connection, *, missed_after: timedelta = MISSED_AFTER, limit: int = BATCH) -> Outcome:
    """Decide about what is due, for up to `limit` schedules; upkeep rings for the jobs.

    The caller repeats it while `Outcome.is_full` says that there was more.
    """
    now = _begin(connection)
    rows = connection.execute(due_schedules(limit).with_for_update(skip_locked=True)).mappings().all()
    found = [store.read(row) for row in rows]
    around = _look_around(connection, found)
    orders: list[Order] = []
    instants = 0
    for one in found:
        orders.append(_order(one, now, missed_after, around))
        instants += sum(decision.count or COUNTED for decision in orders[-1].decisions)
        if instants >= INSTANTS:
            break
    done = carry_out(connection, orders, now)
    is_left = any(one.schedule.next_at and one.schedule.next_at <= now for one in orders)
    done.is_full = is_left or len(orders) < len(found) or len(found) == limit
    done.looked_at = None if done.is_full else now
    return done


def _begin(connection: Connection) -> datetime:
    """Return the instant that decides, and have our locks taken back when this process stands still."""
    held = func.set_config("idle_in_transaction_session_timeout", _LET_GO_AFTER, True)  # noqa: FBT003 - for this transaction
    now = connection.execute(select(func.now(), held)).one()[0]
    assert isinstance(now, datetime)  # noqa: S101 - tells the type checker what PostgreSQL's now() is
    return now


@dataclass(frozen=True, slots=True)
class _Around:
    """What besides the clock is decided by."""

    busy: set[JobId]
    """Jobs of these schedules that have not finished."""
    held: set[JobId]
    """Those that are to be cancelled and that somebody else works on at this very moment."""
    waiting: set[ScheduleId]
    """Schedules of which an instant waits already."""


def _look_around(connection: Connection, found: Sequence[Schedule]) -> _Around:
    minding = [one for one in found if one.definition.overlap is not Overlap.ALLOW]
    busy = _busy(connection, minding)
    ending = [one for one in minding if one.definition.overlap is Overlap.CANCEL]
    in_the_way = busy.intersection(job_id for one in ending for job_id in one.open_jobs)
    return _Around(busy, in_the_way - store.lock_jobs(connection, in_the_way), _waiting(connection, minding))


def _order(schedule: Schedule, now: datetime, missed_after: timedelta, around: _Around) -> Order:
    busy = frozenset(around.busy.intersection(schedule.open_jobs))
    if not around.held.isdisjoint(busy):  # waiting for that would hold up all the others
        return Order(schedule=replace(schedule, next_at=now + HELD_FOR), decisions=(), busy=busy)
    try:
        due = look(schedule, now, missed_after)
    except Exception:  # one that an older release, or older zone data, cannot read must not hold up the others
        log.exception("schedule_postponed", schedule=schedule.name, tenant=schedule.tenant)
        return Order(schedule=replace(schedule, next_at=now + POSTPONED_BY), decisions=(), busy=busy)
    is_waiting = schedule.id in around.waiting
    decisions = settle(schedule.definition.overlap, due.wanted, is_busy=bool(busy), is_waiting=is_waiting)
    moved = replace(schedule, decided_until=due.decided_until, next_at=due.next_at, kept=due.kept)
    return Order(schedule=moved, decisions=[*due.skipped, *decisions], busy=busy)


def _busy(connection: Connection, found: Iterable[Schedule]) -> set[JobId]:
    return store.unfinished(connection, [job_id for one in found for job_id in one.open_jobs])


def _waiting(connection: Connection, found: Sequence[Schedule]) -> set[ScheduleId]:
    ids = [one.id for one in found]
    if not ids:
        return set()
    named = occurrences.c.schedule_id == func.any(bindparam("ids", ids, type_=ARRAY(Uuid())))
    return set(connection.scalars(select(occurrences.c.schedule_id).where(_WAITING, named)))


def outdated_schedules(limit: int = BATCH) -> Select[Any]:
    """Return the query for schedules whose next instant was found by older zone data, and may be another by ours."""
    by_the_wall = schedules.c.every_seconds.is_(None) & (schedules.c.zone != "UTC")
    outdated = schedules.c.zone_data < ZONE_DATA_VERSION
    return store.query().where(by_the_wall, outdated, schedules.c.next_at.is_not(None)).limit(limit)


def look_again(connection: Connection, *, limit: int = BATCH) -> int:
    """Find the next instant anew of schedules that were planned by older zone data, and return how many there were.

    A law that brings an instant forward would otherwise be heeded only at the time that the old one had set.
    """
    _begin(connection)
    rows = connection.execute(outdated_schedules(limit).with_for_update(skip_locked=True)).mappings().all()
    found = [store.read(row) for row in rows]
    if found:
        store.advance(connection, [_planned_anew(one) for one in found])
    return len(found)


def _planned_anew(schedule: Schedule) -> Schedule:
    try:
        return replace(schedule, next_at=next_look_at(schedule))
    except InvalidTiming:  # a zone that is no more: what is due says so
        return schedule


def waiting_schedules(limit: int = BATCH) -> Select[Any]:
    """Return the query for schedules of which an instant waits, and whose jobs have all finished.

    What somebody asked for is fired during a pause too.
    """
    goes_on = schedules.c.paused_at.is_(None) | (occurrences.c.reason == Why.TRIGGERED.value)
    unfinished = exists().where(jobs.c.id == func.any(schedules.c.open_jobs), jobs.c.state.in_(sorted(UNFINISHED)))
    return (
        store.query()
        .add_columns(occurrences.c.instant, occurrences.c.id.label("occurrence_id"))
        .join(occurrences, occurrences.c.schedule_id == schedules.c.id)
        .where(_WAITING, goes_on, ~unfinished)
        .limit(limit)
    )


def fire_waiting(connection: Connection, *, limit: int = BATCH) -> Outcome:
    """Fire the instants that waited for their predecessors' jobs, now that these have finished."""
    now = _begin(connection)
    # The occurrence is locked as well: it must still be waiting when the lock on its schedule is ours.
    rows = connection.execute(waiting_schedules(limit).with_for_update(skip_locked=True)).mappings().all()
    found = [store.read(row) for row in rows]
    busy = _busy(connection, found)  # once more, under the lock: somebody may have triggered one meanwhile
    orders = [
        Order(schedule=schedule, decisions=(), waited=_waited(row))
        for schedule, row in zip(found, rows, strict=True)
        if busy.isdisjoint(schedule.open_jobs)
    ]
    done = carry_out(connection, orders, now)
    done.is_full = len(rows) == limit
    return done


def _waited(row: RowMapping) -> Occurrence:
    return Occurrence(id=row["occurrence_id"], instant=row["instant"], decision=Decision.WAITING, reason=Why.OVERLAP)
