"""The hand-built stack's Celery application: a task that loads its row, works, and writes its row."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from celery import Celery

from tests.bench.baseline.records import THREADS, TUNED, Job, Session

app = Celery("handbuilt", broker=os.environ["BROKER_URL"])
app.conf.update(
    task_ignore_result=True,  # the row holds the result
    task_default_queue="handbuilt",
)
if TUNED:
    app.conf.broker_pool_limit = THREADS


def noop() -> None:
    pass


def echo(message: str) -> str:
    return message


TASKS: dict[str, Callable[..., Any]] = {"demo.noop": noop, "demo.echo": echo}


@app.task(name="handbuilt.run")
def run(job_id: str) -> None:
    """The row is `succeeded`; `started_at` is the worker's clock when the task was entered."""
    started_at = datetime.now(UTC)
    with Session() as session:
        job = session.get_one(Job, UUID(job_id))
        job.state, job.started_at = "running", started_at
        session.commit()
        job.result = TASKS[job.task](**job.payload)
        job.state, job.finished_at = "succeeded", datetime.now(UTC)
        session.commit()
