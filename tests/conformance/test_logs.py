"""What is written of a job can be found by it: in the log of its worker, and in the log that is kept with the job."""

import json
from typing import Any

from jobs import control
from jobs.database import transaction
from jobs.model import NewJob
from tests.conformance.plant import Plant
from tests.services.local_processes import Worker

TRACE = "0af7651916cd43dd8448eb211c80319c"


def test_every_line_of_an_attempt_says_what_it_is_about_whoever_writes_it(plant: Plant, worker: Worker) -> None:
    new = NewJob(
        task="probe.logs",
        payload="{}",
        queue="default",
        tenant="acme",
        request_id="req-18",
        traceparent=f"00-{TRACE}-b7ad6b7169203331-01",
    )
    plant.accept(new)
    plant.until(lambda: _lines(plant, new), "the line of a task that still runs is kept")
    with transaction(plant.engine) as connection:
        control.cancel(connection, new.id, tenant="acme")
    by_event = plant.until(lambda: _told(worker, new), "its end is told")

    said = ("said_by_logging", "said_by_celery", "said_by_structlog", "attempt_ended")
    facts = {"job_id": str(new.id), "attempt": 1, "task": "probe.logs", "tenant": "acme"}
    facts |= {"request_id": "req-18", "trace_id": TRACE}
    for event in said:
        assert facts.items() <= by_event[event].items(), event
    assert by_event["said_by_logging"]["logger"] == "billing"
    assert by_event["said_by_structlog"]["page"] == 3
    assert "said_of_the_job" not in worker.logs(), "that is the tenant's to read"


def _told(worker: Worker, new: NewJob) -> dict[str, dict[str, Any]]:
    """Return the worker's lines about the job by their event, once they tell of the attempt's end."""
    written = [json.loads(line) for line in worker.logs().splitlines() if str(new.id) in line]
    by_event = {line["event"]: line for line in written}
    return by_event if "attempt_ended" in by_event else {}


def _lines(plant: Plant, new: NewJob) -> bool:
    found = plant.ask("SELECT event, facts, level FROM job_logs WHERE job_id = :id", id=new.id)
    return [(row["event"], row["facts"], row["level"]) for row in found] == [("said_of_the_job", {"page": 3}, "info")]
