"""New rows, for one job or a thousand, in one statement with one parameter.

The parameter is a JSON array that PostgreSQL unfolds (``json_to_recordset``). Sent as an array for each
column the same rows cost the client three times the time; a payload goes in as the text it already is.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final

import pydantic_core
from sqlalchemy import Connection, Integer, Text, bindparam, column, func, insert, literal, select, text
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.dialects.postgresql import insert as upsert

from jobs.model import JobId, Kind, NewJob, Receipt
from jobs.state import JobState
from jobs.tables import events, jobs

_COLUMNS: Final = (
    "id",
    "tenant",
    "submitter",
    "task",
    "queue",
    "priority",
    "state",
    "payload",
    "tags",
    "unique_key",
    "created_at",
    "run_at",
    "expires_at",
    "rung_at",
    "retry",
    "time_limit_seconds",
    "soft_time_limit_seconds",
    "replay_of",
    "request_id",
    "traceparent",
)

UNIQUE_SCOPE: Final = text("unique_key IS NOT NULL AND state IN ('queued', 'retrying', 'running', 'scheduled')")
"""In which a unique key is unique: the condition of its index, word for word."""


def _statement() -> Any:
    rows = func.json_to_recordset(bindparam("rows", type_=Text()).cast(JSON))
    kinds = [column(name, jobs.c[name].type) for name in _COLUMNS]
    new = rows.table_valued(*kinds, name="new").render_derived(with_types=True)
    stored = (
        upsert(jobs)
        .from_select(list(_COLUMNS), select(*(new.c[name] for name in _COLUMNS)))
        .on_conflict_do_nothing(index_elements=["tenant", "unique_key"], index_where=UNIQUE_SCOPE)
        .returning(jobs.c.id, jobs.c.state, jobs.c.created_at)
        .cte("stored")
    )
    first = select(
        stored.c.id,
        literal(1, Integer),
        stored.c.created_at,
        literal("accept", Text),
        stored.c.state,
        literal(0, Integer),
    )
    told = insert(events).from_select(["job_id", "seq", "at", "name", "state", "attempt"], first).cte("told")
    return select(stored.c.id).add_cte(told)


_INSERT: Final = _statement()


def insert_jobs(connection: Connection, pairs: Sequence[tuple[NewJob, Receipt]], quiet: Collection[Kind]) -> set[JobId]:
    """Store the jobs with their first events and return their ids; one whose unique key is taken is left out."""
    rows = ",".join(_row(job, receipt, quiet) for job, receipt in pairs)
    return set(connection.scalars(_INSERT, {"rows": f"[{rows}]"}))


def _row(job: NewJob, receipt: Receipt, quiet: Collection[Kind]) -> str:
    """Return the job as a JSON object; a column that is left out is NULL.

    A job that is ready and not of a `quiet` kind counts as rung from the start: dispatch takes that back when the
    broker refuses, and upkeep finds it when this process dies first.
    """
    facts: dict[str, Any] = {
        "id": job.id,
        "tenant": job.tenant,
        "submitter": job.submitter,
        "task": job.task,
        "queue": job.queue,
        "priority": job.priority,
        "state": receipt.state.value,
        "tags": job.tags,
        "created_at": receipt.created_at,
        "run_at": receipt.run_at,
        "request_id": job.request_id,
        "traceparent": job.traceparent,
    }
    if receipt.state is JobState.QUEUED and (job.queue, job.priority) not in quiet:
        facts["rung_at"] = receipt.created_at
    for name in ("unique_key", "expires_at", "time_limit_seconds", "soft_time_limit_seconds", "replay_of"):
        value = getattr(job, name)
        if value is not None:
            facts[name] = value
    raw = f',"retry":{job.retry}' if job.retry else ""
    return f'{pydantic_core.to_json(facts).decode()[:-1]},"payload":{job.payload}{raw}}}'
