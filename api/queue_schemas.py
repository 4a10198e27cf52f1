"""What goes over the wire about queues and workers, and about why a job is where it is."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, Field, JsonValue
from sqlalchemy import RowMapping

from jobs import explain, queues
from jobs.explain import Cause
from jobs.state import JobState


class Queue(BaseModel):
    """What is known of one queue."""

    name: str
    is_paused: bool
    paused_at: datetime | None
    paused_by: Annotated[str | None, Field(description="The id of the API key")]
    waiting: Annotated[int, Field(description="Ready jobs that nobody has started")]
    running: int
    scheduled: Annotated[int, Field(description="Jobs that are not due yet")]
    retrying: Annotated[int, Field(description="Jobs that wait for their next attempt")]
    oldest_waiting_at: Annotated[datetime | None, Field(description="When the job was due that has waited longest")]
    in_per_second: Annotated[float, Field(description="Jobs accepted, over the last minute")]
    out_per_second: Annotated[float, Field(description="Attempts ended, over the last minute, by its workers' word")]
    workers: Annotated[int, Field(description="Live workers that consume it")]
    slots: int
    slots_busy: Annotated[int, Field(description="Of these workers, by jobs of any queue")]

    @classmethod
    def of(cls, queue: queues.Queue) -> Self:
        """Return the view of what was found."""
        return cls(
            name=queue.name,
            is_paused=queue.paused_at is not None,
            paused_at=queue.paused_at,
            paused_by=queue.paused_by,
            waiting=queue.counts[JobState.QUEUED],
            running=queue.counts[JobState.RUNNING],
            scheduled=queue.counts[JobState.SCHEDULED],
            retrying=queue.counts[JobState.RETRYING],
            oldest_waiting_at=queue.oldest_at,
            in_per_second=round(queue.in_per_second, 3),
            out_per_second=round(queue.out_per_second, 3),
            workers=queue.workers,
            slots=queue.slots,
            slots_busy=queue.slots_busy,
        )


class Queues(BaseModel):
    """All queues."""

    queues: list[Queue]


class RunningJob(BaseModel):
    """A job that a worker has in hand."""

    id: UUID
    task: str
    queue: str
    attempt: int
    started_at: datetime
    lease_expires_at: datetime


class Worker(BaseModel):
    """A worker, by its own word."""

    name: str
    host: str
    pid: int
    release: Annotated[str, Field(description="Penstock's version")]
    queues: list[str]
    tasks: Annotated[list[str], Field(description="What it can run")]
    slots: int
    slots_busy: int
    out_per_second: Annotated[dict[str, float], Field(description="Attempts ended over the last minute, by queue")]
    is_alive: bool
    started_at: datetime
    seen_at: datetime
    stopped_at: Annotated[datetime | None, Field(description="When it stopped by itself")]
    running: Annotated[list[RunningJob], Field(description="Jobs of your tenant")]


class Workers(BaseModel):
    """Workers, those seen last first."""

    workers: list[Worker]

    @classmethod
    def of(cls, workers: Sequence[RowMapping], running: Sequence[RowMapping]) -> Self:
        """Return the view of what was found, each running job with its worker."""
        jobs: defaultdict[str, list[RunningJob]] = defaultdict(list)
        for row in running:
            jobs[row["worker"]].append(RunningJob.model_validate(dict(row)))
        renamed = {"running": "slots_busy", "rates": "out_per_second"}
        facts: list[dict[str, Any]] = [
            {renamed.get(str(name), str(name)): row[name] for name in row} for row in workers
        ]
        return cls(workers=[Worker(**one, running=jobs[one["name"]]) for one in facts])


class Finding(BaseModel):
    """One thing that holds the job, or how it ended."""

    cause: Cause
    since: datetime
    until: Annotated[datetime | None, Field(description="When it ends by itself, where that is known")]
    sentence: str
    facts: dict[str, JsonValue]


class Explanation(Finding):
    """Why the job is where it is: what must be cured first, and what else holds it."""

    job_id: UUID
    state: JobState
    at: datetime
    also: list[Finding]

    @classmethod
    def of(cls, found: explain.Explanation) -> Self:
        """Return the view of what was found."""
        first, *others = (_finding(finding) for finding in found.findings)
        return cls(
            **first, job_id=found.job_id, state=found.state, at=found.at, also=[Finding(**one) for one in others]
        )


def _finding(finding: explain.Finding) -> dict[str, Any]:
    facts = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in finding.facts.items()}
    known = {name: getattr(finding, name) for name in ("cause", "since", "until", "sentence")}
    return known | {"facts": facts}
