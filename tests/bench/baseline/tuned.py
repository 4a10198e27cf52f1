"""The hand-built stack's API after a day of tuning; run it with HANDBUILT_TUNED=1 for the larger pools.

The id is read before the commit expires the row, so nothing is read back, and the answer is a plain dict.
"""

from fastapi import FastAPI

from tests.bench.baseline.api import NewJob
from tests.bench.baseline.handbuilt import run
from tests.bench.baseline.records import Job, Session

app = FastAPI()


@app.post("/api/v1/jobs", status_code=202)
def submit(new: NewJob) -> dict[str, str]:
    with Session() as session:
        job = Job(task=new.task, payload=new.payload)
        session.add(job)
        session.flush()
        job_id = str(job.id)
        session.commit()
    run.delay(job_id)
    return {"id": job_id}
