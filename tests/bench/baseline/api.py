"""The hand-built stack's API as the tutorials write it: one ORM commit and one `.delay()` per request.

Endpoints are plain functions, so FastAPI runs them in its thread pool. The session is opened in the endpoint, not by
`Depends`: there, 40 threads that wait for 15 connections starve those whose answer needs a thread, and requests fail.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from tests.bench.baseline.handbuilt import run
from tests.bench.baseline.records import Job, Session

app = FastAPI()


class NewJob(BaseModel):
    task: str
    payload: dict[str, Any] = {}


class NewJobs(BaseModel):
    jobs: list[NewJob] = Field(max_length=1000)


class AcceptedJob(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    state: str
    created_at: datetime


@app.post("/api/v1/jobs", status_code=202)
def submit(new: NewJob) -> AcceptedJob:
    with Session() as session:
        job = Job(task=new.task, payload=new.payload)
        session.add(job)
        session.commit()
        session.refresh(job)
        accepted = AcceptedJob.model_validate(job)
    run.delay(str(accepted.id))
    return accepted


@app.post("/api/v1/jobs/batch", status_code=202)
def submit_batch(new: NewJobs) -> list[UUID]:
    with Session() as session:
        jobs = [Job(task=one.task, payload=one.payload) for one in new.jobs]
        session.add_all(jobs)
        session.flush()
        ids = [job.id for job in jobs]  # read before the commit expires them: no SELECT for each
        session.commit()
    for job_id in ids:
        run.delay(str(job_id))
    return ids
