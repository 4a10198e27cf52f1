"""Why a job is not running: what holds it, since when, and what would end that.

Several things may hold a job at once, such as a paused queue without a worker. The first of the findings is what
must be cured first; the others are what would hold the job next.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from operator import gt, lt
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, Select, and_, func, or_, select, tuple_

from jobs import census, registry
from jobs.errors import NotFound
from jobs.model import DEFAULT_TENANT, JobId
from jobs.state import FINAL, TRANSITIONS, JobState
from jobs.tables import RUNG, UNRUNG, events, jobs, paused_queues

MOST_COUNTED: Final = 5_000
"""Jobs ahead that are counted of each kind, and behind; with more of both the position has only bounds."""
OVERDUE_AFTER: Final = timedelta(seconds=5)
"""A beat releases what is due within a second; later than this, there is none, or its upkeep fails."""

_READY_SINCE: Final = (
    "accept", *(event.value for event, way in TRANSITIONS.items() if way.target is JobState.QUEUED)
)  # fmt: skip
"""The events that put a job into its queue."""


class Cause(StrEnum):
    """What a job waits for, or how it ended."""

    NOT_DUE = "not_due"
    RETRY_WAIT = "retry_wait"
    NO_BEAT = "no_beat"
    """Its time has come, and nobody has put it into its queue."""
    UPKEEP_BEHIND = "upkeep_behind"
    """The same, although a beat is connected."""
    QUEUE_PAUSED = "queue_paused"
    NO_WORKER = "no_worker"
    TASK_UNKNOWN = "task_unknown"
    """Workers consume the queue, and none of them has the task."""
    WAITING_TURN = "waiting_turn"
    RUNNING = "running"
    LEASE_EXPIRED = "lease_expired"
    """Its worker is silent; a beat gives the job to another."""
    SUCCEEDED = "succeeded"
    DEAD_LETTER = "dead_letter"
    FAILED = "failed"
    """A dead letter that was replayed or discarded."""
    CANCELLED = "cancelled"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that holds the job, or that ended it."""

    cause: Cause
    since: datetime
    sentence: str
    until: datetime | None = None
    """When it ends by itself, where that is known."""
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Explanation:
    """What holds one job, the first to be cured first."""

    job_id: JobId
    state: JobState
    at: datetime
    findings: tuple[Finding, ...]


def explain(connection: Connection, job_id: JobId, *, tenant: str = DEFAULT_TENANT) -> Explanation:
    """Return why the job is where it is, by the database's clock. Raises `NotFound`."""
    query = (
        select(jobs, paused_queues.c.paused_at, paused_queues.c.paused_by, func.clock_timestamp().label("now"))
        .outerjoin(paused_queues, paused_queues.c.queue == jobs.c.queue)
        .where(jobs.c.id == job_id, jobs.c.tenant == tenant)
    )
    job = connection.execute(query).mappings().one_or_none()
    if job is None:
        raise NotFound(f"There is no job {job_id}.")
    state = JobState(job["state"])
    if state in FINAL:
        found = [_ended(job)]
    elif state is JobState.RUNNING:
        found = [_running(connection, job)]
    else:
        found = list(_waiting(connection, job))
    return Explanation(job_id, state, job["now"], tuple(found))


# Finished


def _ended(job: RowMapping) -> Finding:
    since = job["finished_at"]
    match JobState(job["state"]):
        case JobState.SUCCEEDED:
            return Finding(Cause.SUCCEEDED, since, "It has run and succeeded.")
        case JobState.CANCELLED:
            return Finding(Cause.CANCELLED, since, "It was cancelled. Retry it, or replay it as a new job.")
        case JobState.EXPIRED:
            facts = {"expires_at": job["expires_at"]}
            return Finding(Cause.EXPIRED, since, "It was not started before its expires_at.", facts=facts)
    facts = {"reason": job["reason"], "error_type": (job["error"] or {}).get("type"), "attempts": job["attempt"]}
    if job["closed_at"] is not None:
        return Finding(Cause.FAILED, since, "It failed, and its dead letter was dealt with.", facts=facts)
    words = f"It failed ({job['reason']}) and is a dead letter. Replay it when the cause is mended, or discard it."
    return Finding(Cause.DEAD_LETTER, since, words, facts=facts)


# Running


def _running(connection: Connection, job: RowMapping) -> Finding:
    worker, until, is_cancelled = job["worker"], job["lease_expires_at"], job["cancel_requested_at"] is not None
    facts = {"worker": worker, "attempt": job["attempt"], "lease_expires_at": until, "cancel_requested": is_cancelled}
    known = registry.find(connection, worker)
    facts["worker_seen_at"] = known["seen_at"] if known else None
    if until < job["now"]:
        words = f"The lease of worker {worker} has run out; a beat gives the job to another within seconds."
        return Finding(Cause.LEASE_EXPIRED, until, words, facts=facts)
    words = f"Worker {worker} runs attempt {job['attempt']}."
    seen_at = facts["worker_seen_at"]
    if seen_at is not None and seen_at < job["now"] - registry.SILENT_AFTER:
        words = (
            f"Worker {worker} began attempt {job['attempt']} and was not seen since {seen_at:%Y-%m-%d %H:%M:%S} UTC. "
            "If it is gone, a beat gives the job to another when its lease has run out."
        )
    if is_cancelled:
        words += " It was told to end."
    return Finding(Cause.RUNNING, job["started_at"], words, facts=facts)


# Waiting


def _waiting(connection: Connection, job: RowMapping) -> Iterator[Finding]:
    """Yield what holds a job that has not started, in the order in which it must be cured."""
    now, expiry = job["now"], job["expires_at"]
    if expiry is not None and expiry <= now:
        yield Finding(Cause.EXPIRED, expiry, "Its expires_at has passed; a beat is about to end it.")
        return
    if job["state"] != JobState.QUEUED:
        yield _early(connection, job)
    since = _ready_since(connection, job)
    if job["paused_at"] is not None:
        facts = {"queue": job["queue"], "paused_by": job["paused_by"]}
        words = f"Queue {job['queue']} is paused. Resume it."
        yield Finding(Cause.QUEUE_PAUSED, max(since, job["paused_at"]), words, facts=facts)
    workers = registry.on_queue(connection, job["queue"])
    alive = [worker for worker in workers if worker["is_alive"]]
    if not alive:
        gone = max((worker["stopped_at"] or worker["seen_at"] for worker in workers), default=since)
        words = f"No live worker consumes queue {job['queue']}. Start one."
        yield Finding(Cause.NO_WORKER, max(since, gone), words, facts={"queue": job["queue"]})
        return
    able = [worker for worker in alive if job["task"] in worker["tasks"]]
    if not able:
        facts = {"task": job["task"], "workers": sorted(worker["name"] for worker in alive)}
        words = f"No worker of queue {job['queue']} has the task {job['task']}. Deploy it to them."
        yield Finding(Cause.TASK_UNKNOWN, since, words, facts=facts)
    elif job["state"] == JobState.QUEUED and job["paused_at"] is None:
        yield _in_line(connection, job, alive, since)


def _early(connection: Connection, job: RowMapping) -> Finding:
    due, now = job["run_at"], job["now"]
    if due < now - OVERDUE_AFTER:
        return _overdue(connection, due)
    if job["state"] == JobState.RETRYING:
        error = (job["error"] or {}).get("type")
        facts = {"attempt": job["attempt"], "error_type": error}
        since = _last_event(connection, job, ("retry",))
        return Finding(Cause.RETRY_WAIT, since, f"Attempt {job['attempt']} failed; the next is due.", due, facts)
    return Finding(Cause.NOT_DUE, job["created_at"], "It is not due yet.", due)


def _overdue(connection: Connection, due: datetime) -> Finding:
    if registry.is_beat_connected(connection):
        words = (
            "Its time has come and the beat that runs has not queued it: its upkeep fails, or is behind. See its log."
        )
        return Finding(Cause.UPKEEP_BEHIND, due, words)
    return Finding(Cause.NO_BEAT, due, "Its time has come and no beat has queued it. Start one: penstock beat.")


def _last_event(connection: Connection, job: RowMapping, names: Sequence[str]) -> datetime:
    query = select(func.max(events.c.at)).where(events.c.job_id == job["id"], events.c.name.in_(names))
    at: datetime = connection.scalar(query) or job["created_at"]
    return at


def _ready_since(connection: Connection, job: RowMapping) -> datetime:
    return _last_event(connection, job, _READY_SINCE) if job["state"] == JobState.QUEUED else job["created_at"]


def _in_line(connection: Connection, job: RowMapping, alive: Sequence[RowMapping], since: datetime) -> Finding:
    least, most = place_in_line(connection, job)
    rate = sum(worker["rates"].get(job["queue"], 0.0) for worker in alive)
    free = sum(max(0, worker["slots"] - worker["running"]) for worker in alive)
    starts = [_start_of(position, rate, free, job["now"]) for position in (least, most)]
    facts: dict[str, Any] = {
        "position": least,
        "position_at_most": most,
        "position_is_exact": least == most,
        "workers": len(alive),
        "free_slots": free,
        "finished_per_second": round(rate, 3),
        "not_before_at": starts[0],
        "estimated_start_at": starts[1],
    }
    return Finding(Cause.WAITING_TURN, since, _words(job["queue"], least - 1, most - 1), facts=facts)


def _start_of(position: int, rate: float, free: int, now: datetime) -> datetime | None:
    """Return when the job at this position starts, if the workers go on as they do; None: they finish nothing."""
    if position <= free:
        return now
    return now + timedelta(seconds=position / rate) if rate > 0 else None


def _words(queue: str, least: int, most: int) -> str:
    if most == 0:
        return "It is next in its queue."
    count = f"{least:,}" if least == most else f"Between {least:,} and {most:,}"
    return f"{count} jobs of queue {queue} are before it."


def place_in_line(connection: Connection, job: RowMapping) -> tuple[int, int]:
    """Return the least and the greatest position that the job may have among the ready jobs of its queue, from 1.

    They are one where few are ahead of it, or few behind.
    """
    ahead, is_all = _counted(connection, line_queries(job))
    if is_all:
        return ahead + 1, ahead + 1
    behind, is_all = _counted(connection, line_queries(job, behind=True))
    last = max(ahead + 1, census.ready(connection, job["queue"]) - behind)
    return (last if is_all else ahead + 1), last


def _counted(connection: Connection, queries: Iterable[Select[Any]]) -> tuple[int, bool]:
    """Return how many rows the queries find together, and whether that is all."""
    counts = [connection.scalar(select(func.count()).select_from(query.subquery())) or 0 for query in queries]
    return sum(counts), all(count < MOST_COUNTED for count in counts)


def line_queries(job: RowMapping, *, behind: bool = False) -> Iterator[Select[Any]]:
    """Yield the queries for the ready jobs before this one, or `behind` it: those not rung for, and those that were.

    The broker orders by priority and then by when it was rung; PostgreSQL by priority, due time and id. Of the same
    priority those come first whose doorbell is in the broker.
    """
    than = gt if behind else lt
    is_rung, same = job["rung_at"] is not None, jobs.c.priority == job["priority"]
    others = than(job["priority"], jobs.c.priority)
    if is_rung:
        unrung = [others, same] if behind else [others]
        rung = [others, and_(same, than(jobs.c.rung_at, job["rung_at"]))]
    else:
        unrung = [others, and_(same, than(tuple_(jobs.c.run_at, jobs.c.id), tuple_(job["run_at"], job["id"])))]
        rung = [others] if behind else [others, same]
    for kind, wanted in ((UNRUNG, unrung), (RUNG, rung)):
        yield select(jobs.c.id).where(kind, jobs.c.queue == job["queue"], or_(*wanted)).limit(MOST_COUNTED)
