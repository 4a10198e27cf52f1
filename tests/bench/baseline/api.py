"""The hand-built stack's API as the tutorials write it: one ORM commit and one `.delay()` per request.

Endpoints are plain functions, so FastAPI runs them in its thread pool.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, FastAPI
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import orm

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


def open_session() -> Iterator[orm.Session]:
    with Session() as session:
        yield session


@app.post("/api/v1/jobs", status_code=202, response_model=AcceptedJob)
def submit(new: NewJob, session: Annotated[orm.Session, Depends(open_session)]) -> Job:
    job = Job(task=new.task, payload=new.payload)
    session.add(job)
    session.commit()
    session.refresh(job)
    run.delay(str(job.id))
    return job


@app.post("/api/v1/jobs/batch", status_code=202)
def submit_batch(new: NewJobs, session: Annotated[orm.Session, Depends(open_session)]) -> list[UUID]:
    jobs = [Job(task=one.task, payload=one.payload) for one in new.jobs]
    session.add_all(jobs)
    session.flush()
    ids = [job.id for job in jobs]  # read before the commit expires them: no SELECT for each
    session.commit()
    for job_id in ids:
        run.delay(str(job_id))
    return ids
