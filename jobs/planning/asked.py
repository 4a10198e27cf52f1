"""Triggers under an Idempotency-Key: the same request again gets what the first one came to, whatever that was.

The key of one that made a job is kept by intake, with the job's receipt; that of one that made none is kept here,
with the occurrence.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert as upsert

from jobs.errors import IdempotencyKeyReused
from jobs.intake import IDEMPOTENCY_LIFETIME, where_free
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
    row = {"tenant": tenant, "key": asked.key, "fingerprint": asked.fingerprint, "created_at": now}
    row |= {"receipts": {_OCCURRENCE: str(occurrence_id)}, "expires_at": now + IDEMPOTENCY_LIFETIME}
    if connection.execute(where_free(upsert(idempotency_keys).values(row))).first() is None:
        raise IdempotencyKeyReused
