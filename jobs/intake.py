"""Accept many submissions in one transaction: each of them whole, or not at all.

The order inside the transaction is what makes it right: the idempotency keys first (a second request
with the same key waits there until the first is committed, then reads its receipts), then the jobs with
their first event, then the undoing of those whose unique key was taken.
"""

import json
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    ARRAY,
    Connection,
    DateTime,
    LargeBinary,
    Text,
    bindparam,
    delete,
    func,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import JSONB, Insert
from sqlalchemy.dialects.postgresql import insert as upsert

from jobs.errors import IdempotencyKeyReused, InvalidJob, InvalidPayload, RefusedError, UniqueKeyTaken
from jobs.failpoints import passed, reached
from jobs.insertion import UNIQUE_SCOPE, insert_jobs
from jobs.model import Acceptance, Doorbell, JobId, Kind, NewJob, Receipt, Submission
from jobs.state import JobState
from jobs.storable import is_storable, is_storable_json
from jobs.tables import events, idempotency_keys, jobs

IDEMPOTENCY_LIFETIME: Final = timedelta(hours=24)

Answer = Acceptance | RefusedError
"""What one submission gets: it was accepted, or why it was not."""

#: What a client may have written freely.
_TEXTS: Final = ("task", "queue", "unique_key", "submitter", "request_id", "traceparent", "tags")


def where_free(statement: Insert) -> Any:
    """Return the INSERT of idempotency keys, which takes and returns those that are free.

    A key that has expired is free again; a living one is left as it is and not returned.
    """
    return statement.on_conflict_do_update(
        index_elements=["tenant", "key"],
        where=idempotency_keys.c.expires_at <= statement.excluded.created_at,
        set_={name: statement.excluded[name] for name in ("fingerprint", "receipts", "created_at", "expires_at")},
    ).returning(idempotency_keys.c.tenant, idempotency_keys.c.key)


def _claim_statement() -> Any:
    kinds: dict[str, Any] = {"tenant": Text(), "key": Text(), "fingerprint": LargeBinary(), "receipts": Text()}
    arrays = [bindparam(name, type_=ARRAY(kind)) for name, kind in kinds.items()]
    new = func.unnest(*arrays).table_valued(*kinds, name="new").render_derived()
    now, expiry = (bindparam(name, type_=DateTime(timezone=True)) for name in ("now", "expiry"))
    statement = upsert(idempotency_keys).from_select(
        ["tenant", "key", "fingerprint", "receipts", "created_at", "expires_at"],
        select(new.c.tenant, new.c.key, new.c.fingerprint, new.c.receipts.cast(JSONB()), now, expiry),
    )
    return where_free(statement)


_CLAIM: Final = _claim_statement()


class _Claim(NamedTuple):
    tenant: str
    key: str


def accept(
    connection: Connection, submissions: Sequence[Submission], quiet: Collection[Kind] = frozenset()
) -> list[Answer]:
    """Store what can be accepted and return an answer for each submission, in order.

    Runs inside the caller's transaction; nothing is true before its commit. A refusal is returned, not
    raised, so that one bad submission does not spoil the others. For jobs of the `quiet` kinds upkeep rings
    when their turn has come; for the other ready ones the caller does, after the commit (`doorbells`).
    """
    now = connection.scalar(select(func.now()))
    assert isinstance(now, datetime)  # noqa: S101 - tells the type checker what PostgreSQL's now() is
    answers: dict[int, Answer] = {}
    receipts: dict[int, tuple[Receipt, ...]] = {}
    for index, submission in enumerate(submissions):
        try:
            receipts[index] = _receipts(submission, now)
        except RefusedError as refusal:
            answers[index] = refusal
    # A request that was accepted once is answered the same for ever, though by now its job could not be accepted.
    known = [(claim, index) for index in answers if (claim := _claim(submissions[index]))]
    answers |= _replay(connection, submissions, known)
    reached("intake.claim")
    replayed, twins = _claim_keys(connection, submissions, receipts, now)
    passed("intake.claim")
    answers |= replayed
    fresh = [index for index in receipts if index not in answers and index not in twins]
    reached("intake.insert")
    answers |= _keep(connection, submissions, receipts, fresh, quiet)
    passed("intake.insert")
    answers |= {index: _twin(submissions, index, first, answers[first]) for index, first in twins.items()}
    return [answers[index] for index in range(len(submissions))]


def was_committed(connection: Connection, job_id: JobId) -> bool:
    """Tell, after a COMMIT of unknown outcome, whether the transaction that stored this job was committed.

    The transaction may still be open on the other side, its COMMIT on the way: so we try to write what it wrote,
    which waits for its end, and take that back.
    """
    with connection.begin_nested() as savepoint:
        facts = {"job_id": job_id, "seq": 1, "at": func.now(), "name": "accept", "state": "queued", "attempt": 0}
        writing = upsert(events).values(facts).on_conflict_do_nothing().returning(events.c.seq)
        was_there = connection.scalar(writing) is None
        savepoint.rollback()
    return was_there


def doorbells(answers: Iterable[Answer], quiet: Collection[Kind] = frozenset()) -> list[Doorbell]:
    """Return what dispatch has to ring after the commit: new jobs that are ready, those of `quiet` kinds left out."""
    return [
        Doorbell(receipt.id, receipt.task, receipt.queue, receipt.priority)
        for answer in answers
        if isinstance(answer, Acceptance) and not answer.replayed
        for receipt in answer.receipts
        if receipt.state is JobState.QUEUED and (receipt.queue, receipt.priority) not in quiet
    ]


def _receipts(submission: Submission, now: datetime) -> tuple[Receipt, ...]:
    if not submission.jobs:
        raise InvalidJob("A request needs at least one job.")
    return tuple(_receipt(job, now, position) for position, job in enumerate(submission.jobs))


def _receipt(job: NewJob, now: datetime, position: int) -> Receipt:
    _must_be_storable(job, position)
    run_at = now + job.delay if job.delay is not None else job.run_at or now
    if job.expires_at is not None and job.expires_at <= max(now, run_at):
        where = [{"field": "expires_at", "message": "must be later than the time at which the job may run"}]
        raise InvalidJob("The job would expire before it may run.", errors=where, index=position)
    state = JobState.SCHEDULED if run_at > now else JobState.QUEUED
    return Receipt(job.id, job.task, job.queue, job.priority, state, max(run_at, now), now)


def _must_be_storable(job: NewJob, position: int) -> None:
    """Refuse what PostgreSQL cannot keep: it would fail the statement that carries everyone's jobs."""
    bad = [name for name in _TEXTS if not is_storable("".join(getattr(job, name) or ""))]
    if bad or not is_storable_json(job.payload):
        kind, field = (InvalidJob, bad[0]) if bad else (InvalidPayload, "payload")
        where = [{"field": field, "message": "must not contain NUL or half of a surrogate pair"}]
        raise kind(f"A text of the job's {field} cannot be stored.", errors=where, index=position)


def _claim(submission: Submission) -> _Claim | None:
    if submission.idempotency is None or not submission.jobs:
        return None
    return _Claim(submission.jobs[0].tenant, submission.idempotency.key)


def _claim_keys(
    connection: Connection,
    submissions: Sequence[Submission],
    receipts: dict[int, tuple[Receipt, ...]],
    now: datetime,
) -> tuple[dict[int, Answer], dict[int, int]]:
    """Take the idempotency keys that are free and answer for those that are not.

    Also return the requests whose key was taken by an earlier one of the same call: they share its answer.
    """
    first: dict[_Claim, int] = {}
    later: list[tuple[_Claim, int]] = []
    for index in receipts:
        claim = _claim(submissions[index])
        if claim is not None and first.setdefault(claim, index) != index:
            later.append((claim, index))
    if not first:
        return {}, {}
    # Sorted: two processes that claim the same keys wait for each other in one order, never in a circle.
    claims = sorted(first)
    rows = connection.execute(
        _CLAIM,
        {
            "tenant": [claim.tenant for claim in claims],
            "key": [claim.key for claim in claims],
            "fingerprint": [_fingerprint(submissions[first[claim]]) for claim in claims],
            "receipts": [_dump(receipts[first[claim]]) for claim in claims],
            "now": now,
            "expiry": now + IDEMPOTENCY_LIFETIME,
        },
    )
    taken = {_Claim(*row) for row in rows}
    repeated = [(claim, index) for claim, index in [*first.items(), *later] if claim not in taken]
    twins = {index: first[claim] for claim, index in later if claim in taken}
    return _replay(connection, submissions, repeated), twins


def _twin(submissions: Sequence[Submission], index: int, first: int, answer: Answer) -> Answer:
    """Return what a request gets whose key was used in the same call by the request `first`."""
    if _fingerprint(submissions[index]) != _fingerprint(submissions[first]):
        return IdempotencyKeyReused()
    return Acceptance(answer.receipts, replayed=True) if isinstance(answer, Acceptance) else answer


def _replay(
    connection: Connection, submissions: Sequence[Submission], repeated: list[tuple[_Claim, int]]
) -> dict[int, Answer]:
    """Answer those requests whose key was used before: the stored receipts, or a refusal for another request."""
    if not repeated:
        return {}
    keys = idempotency_keys.c
    wanted = sorted({claim for claim, _ in repeated})
    rows = connection.execute(
        select(keys.tenant, keys.key, keys.fingerprint, keys.receipts).where(
            tuple_(keys.tenant, keys.key).in_(wanted), keys.expires_at > func.now()
        )
    )
    found = {_Claim(tenant, key): (bytes(fingerprint), stored) for tenant, key, fingerprint, stored in rows}
    answers: dict[int, Answer] = {}
    for claim, index in repeated:
        if claim not in found:
            continue
        fingerprint, stored = found[claim]
        same = fingerprint == _fingerprint(submissions[index])
        answers[index] = Acceptance(_load(stored), replayed=True) if same else IdempotencyKeyReused()
    return answers


def _keep(
    connection: Connection,
    submissions: Sequence[Submission],
    receipts: dict[int, tuple[Receipt, ...]],
    fresh: list[int],
    quiet: Collection[Kind],
) -> dict[int, Answer]:
    """Store the `fresh` submissions, take back those of which a job was refused, and return the answers."""
    stored = _store(connection, submissions, receipts, fresh, quiet)
    gaps = {index: _gaps(submissions[index], stored) for index in fresh}
    refused = [index for index in fresh if gaps[index]]
    for index in refused:
        _take_back(connection, submissions[index])
    if len(refused) > 1:  # what stood in the way of one may have been another that is gone now
        for index in refused:
            gaps[index] = _gaps(submissions[index], _store(connection, submissions, receipts, [index], quiet))
            if gaps[index]:
                _take_back(connection, submissions[index])
    return {
        index: _refuse(connection, submissions[index], gaps[index][0]) if gaps[index] else Acceptance(receipts[index])
        for index in fresh
    }


def _gaps(submission: Submission, stored: set[JobId]) -> list[int]:
    return [position for position, job in enumerate(submission.jobs) if job.id not in stored]


def _store(
    connection: Connection,
    submissions: Sequence[Submission],
    receipts: dict[int, tuple[Receipt, ...]],
    fresh: list[int],
    quiet: Collection[Kind],
) -> set[JobId]:
    """Insert the jobs of the `fresh` submissions and return the ids of those that were not refused."""
    pairs = [
        (job, receipt) for index in fresh for job, receipt in zip(submissions[index].jobs, receipts[index], strict=True)
    ]
    if not pairs:
        return set()
    # Unique keys are taken in one order everywhere, for the same reason as idempotency keys.
    if any(job.unique_key for job, _ in pairs):
        pairs.sort(key=lambda pair: (pair[0].tenant, pair[0].unique_key or ""))
    return insert_jobs(connection, pairs, quiet)


def _take_back(connection: Connection, submission: Submission) -> None:
    """Remove whatever was stored of a submission of which one job was refused."""
    ids = [job.id for job in submission.jobs]
    connection.execute(delete(events).where(events.c.job_id.in_(ids)))
    connection.execute(delete(jobs).where(jobs.c.id.in_(ids)))


def _refuse(connection: Connection, submission: Submission, refused: int) -> UniqueKeyTaken:
    """Free the submission's idempotency key and tell which of its jobs was refused, and for whose sake."""
    job = submission.jobs[refused]
    if claim := _claim(submission):
        keys = idempotency_keys.c
        connection.execute(delete(idempotency_keys).where(keys.tenant == claim.tenant, keys.key == claim.key))
    holder = connection.scalar(
        select(jobs.c.id).where(
            jobs.c.tenant == job.tenant,
            jobs.c.unique_key == job.unique_key,
            UNIQUE_SCOPE,
        )
    )
    return UniqueKeyTaken(index=refused, existing_job_id=str(holder) if holder else None)


def _fingerprint(submission: Submission) -> bytes:
    return submission.idempotency.fingerprint if submission.idempotency else b""


def _dump(receipts: tuple[Receipt, ...]) -> str:
    rows = [
        [str(r.id), r.task, r.queue, r.priority, r.state.value, r.run_at.isoformat(), r.created_at.isoformat()]
        for r in receipts
    ]
    return json.dumps(rows, separators=(",", ":"))


def _load(stored: list[list[Any]]) -> tuple[Receipt, ...]:
    return tuple(
        Receipt(
            JobId(id_),
            task,
            queue,
            priority,
            JobState(state),
            datetime.fromisoformat(run_at),
            datetime.fromisoformat(at),
        )
        for id_, task, queue, priority, state, run_at, at in stored
    )
