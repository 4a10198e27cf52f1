"""Triggers under an Idempotency-Key: the same request again gets what the first one came to, whatever that was.

The key of one that made a job is kept by intake, with the job's receipt; that of one that made none is kept here,
with the occurrence.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, func, literal, select
from sqlalchemy.dialects.postgresql import insert as upsert

from jobs.errors import IdempotencyKeyReused
from jobs.intake import IDEMPOTENCY_LIFETIME
from jobs.model import Idempotency, JobId
from jobs.planning import history
from jobs.planning.history import Row
from jobs.planning.model import ScheduleId
from jobs.tables import idempotency_keys

_OCCURRENCE = "occurrence"


def recall(connection: Connection, schedule_id: ScheduleId, tenant: str, asked: Idempotency) -> Row | None:
    """Return the occurrence that was decided under this key before; None: none was.

    Raises `IdempotencyKeyReused`, and `NotFound` where the occurrence is not kept any more.
    """
    keys = idempotency_keys.c
    living = (keys.tenant == tenant, keys.key == asked.key, keys.expires_at > func.now())
    row = connection.execute(select(keys.fingerprint, keys.receipts).where(*living)).one_or_none()
    if row is None:
        return None
    if bytes(row.fingerprint) != asked.fingerprint:
        raise IdempotencyKeyReused
    if isinstance(row.receipts, dict):
        return history.of_id(connection, schedule_id, UUID(row.receipts[_OCCURRENCE]))
    return history.of_job(connection, schedule_id, JobId(row.receipts[0][0]))


def keep(connection: Connection, tenant: str, asked: Idempotency, occurrence_id: UUID, now: datetime) -> None:
    """Keep the key of a trigger that made no job. Raises `IdempotencyKeyReused` where another request was quicker."""
    statement = upsert(idempotency_keys).values(
        tenant=tenant,
        key=asked.key,
        fingerprint=asked.fingerprint,
        receipts={_OCCURRENCE: str(occurrence_id)},
        created_at=now,
        expires_at=now + IDEMPOTENCY_LIFETIME,
    )
    new = statement.excluded
    kept = statement.on_conflict_do_update(
        index_elements=["tenant", "key"],
        where=idempotency_keys.c.expires_at <= new.created_at,
        set_={name: new[name] for name in ("fingerprint", "receipts", "created_at", "expires_at")},
    ).returning(literal(1))
    if connection.scalar(kept) is None:
        raise IdempotencyKeyReused
