"""What people ask a schedule for besides its timing: a job now, and jobs for a span of the past."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, func, select

from jobs.calendar.instants import next_instants
from jobs.calendar.refusal import InvalidTiming
from jobs.calendar.timing import Instant, Rule
from jobs.model import DEFAULT_TENANT, Doorbell, Idempotency
from jobs.planning import asked, history, store
from jobs.planning.decisions import Wanted, settle
from jobs.planning.editing import ANYTHING, Expected
from jobs.planning.history import Row
from jobs.planning.model import LARGEST_LIMIT, Schedule
from jobs.planning.orders import Order, carry_out
from jobs.planning.words import Overlap, Why

_TICK: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who asks, and the request that carries it."""

    tenant: str = DEFAULT_TENANT
    submitter: str | None = None
    request_id: str | None = None
    traceparent: str | None = None


def trigger(
    connection: Connection,
    name: str,
    asker: Asker,
    idempotency: Idempotency | None = None,
    *,
    expected: Expected = ANYTHING,
) -> tuple[Row, list[Doorbell], bool]:
    """Have a job made now, apart from the timing; return the occurrence, what must be rung, and whether it is old.

    `overlap` is heeded, a pause is not. The same request under the same key gets the occurrence of the first one,
    also where that made no job.
    Raises `NotFound`, `PreconditionFailed`, `IdempotencyKeyReused`.
    """
    schedule = store.find(connection, name, tenant=asker.tenant, lock=True)
    earlier = asked.recall(connection, schedule.id, asker.tenant, idempotency) if idempotency else None
    if earlier is not None:
        return earlier, [], True
    expected.check(schedule)
    now = store.clock(connection)
    # Not the transaction's instant: two triggers that began together are told apart by when they had the lock.
    wanted = Wanted(connection.scalars(select(func.clock_timestamp())).one(), Why.TRIGGERED)
    busy = frozenset(store.unfinished(connection, schedule.open_jobs))
    is_waiting = history.is_waiting(connection, schedule.id)
    decisions = settle(schedule.definition.overlap, [wanted], is_busy=bool(busy), is_waiting=is_waiting)
    order = Order(
        schedule=replace(schedule, submitter=asker.submitter),
        decisions=decisions,
        busy=busy,
        request_id=asker.request_id,
        traceparent=asker.traceparent,
        idempotency=idempotency,
    )
    done = carry_out(connection, [order], now, rings=True)
    occurrence = done.told[0].occurrence
    if idempotency is not None and occurrence.job_id is None:
        asked.keep(connection, asker.tenant, idempotency, occurrence.id, now)
    return history.one(connection, occurrence.id), done.doorbells, False


@dataclass(frozen=True, slots=True)
class Backfilled:
    """An instant of a span of the past, and the occurrence that it has; None: it has none, for this was a dry run."""

    instant: Instant
    occurrence: Row | None
    is_new: bool
    """This backfill has decided about it, or would."""


def backfill(
    connection: Connection, name: str, asker: Asker, *, first: datetime, last: datetime, dry_run: bool
) -> list[Backfilled]:
    """Have jobs made for all instants from `first` to `last`, both included, that have none; return all of them.

    Neither `overlap` nor a pause nor the schedule's creation counts: somebody wants these jobs. Asking again makes
    no second job. With `dry_run` nothing is done. Upkeep rings for the jobs. Raises `NotFound`; `InvalidTiming` for
    a span that ends before it begins or in the future, or that has more than `LARGEST_LIMIT` instants.
    """
    now = store.clock(connection)
    schedule = store.find(connection, name, tenant=asker.tenant, lock=not dry_run)
    instants = _instants(schedule.definition.rule, first, last, now)
    taken = history.taken(connection, schedule.id, first, last)
    missing = [one.at for one in instants if one.at not in taken]
    made: dict[datetime, Row] = {}
    if missing and not dry_run:
        done = carry_out(connection, [_order(connection, schedule, missing, asker)], now)
        made = history.by_instant(connection, [told.occurrence.id for told in done.told])
    return [Backfilled(one, taken.get(one.at) or made.get(one.at), one.at not in taken) for one in instants]


def _instants(rule: Rule, first: datetime, last: datetime, now: datetime) -> list[Instant]:
    if last < first:
        raise InvalidTiming("to", "lies before from; swap them")
    if last > now:
        raise InvalidTiming("to", "lies in the future; what is still to come is fired when it is due")
    found = list(next_instants(rule, first - _TICK, until=last, count=LARGEST_LIMIT + 1))
    if len(found) > LARGEST_LIMIT:
        raise InvalidTiming("to", f"makes a span of more than {LARGEST_LIMIT} instants; take several shorter ones")
    return found


def _order(connection: Connection, schedule: Schedule, missing: Sequence[datetime], asker: Asker) -> Order:
    return Order(
        schedule=replace(schedule, submitter=asker.submitter),
        decisions=settle(
            Overlap.ALLOW, [Wanted(at, Why.BACKFILLED) for at in missing], is_busy=False, is_waiting=False
        ),
        busy=frozenset(store.unfinished(connection, schedule.open_jobs)),
        request_id=asker.request_id,
        traceparent=asker.traceparent,
    )
