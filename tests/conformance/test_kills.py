"""Everything is killed in the midst of 2,000 jobs, and every job ends as if nothing had happened."""

import os
import signal
import time
from collections.abc import Iterator
from typing import Final

import pytest

from jobs.model import JobId, NewJob
from jobs.state import FINAL
from tests.conformance.plant import Crew, Plant

COUNT: Final = 2000
SECONDS_AFTER_THE_LAST_KILL: Final = 60.0


@pytest.fixture
def crew(plant: Plant) -> Iterator[Crew]:
    with plant.crew(count=2, worker_concurrency=2, lease_seconds=2) as crew:
        yield crew
    plant.broker.container.server.start()


def test_two_thousand_jobs_end_once_though_children_workers_and_the_broker_are_killed(plant: Plant, crew: Crew) -> None:
    ids = _submit(plant, crew.lane, COUNT)

    _after(plant, ids, 100)
    os.kill(crew.workers[0].children()[0], signal.SIGKILL)
    _after(plant, ids, 300)
    crew.workers[1].container.kill_all()
    crew.workers[1].container.start()
    _after(plant, ids, 700)
    plant.broker.kill()
    plant.broker.container.server.start()
    _after(plant, ids, 1000)
    crew.workers[0].kill()
    crew.workers[0].container.start()
    _after(plant, ids, 1200)
    for child in crew.workers[1].children():
        os.kill(child, signal.SIGKILL)
    last = time.monotonic()

    rows = plant.all_finished(ids, seconds=SECONDS_AFTER_THE_LAST_KILL)
    assert time.monotonic() - last < SECONDS_AFTER_THE_LAST_KILL
    assert {row["state"] for row in rows} == {"succeeded"}
    assert _accepted_more_than_once(plant, ids) == []
    assert _gaps(plant, ids) == []
    assert _attempts_that_never_ended(plant, ids) == []


def _submit(plant: Plant, lane: str, count: int) -> list[JobId]:
    return plant.accept(*(NewJob(task="probe.naps", payload='{"seconds": 0.005}', queue=lane) for _ in range(count)))


def _after(plant: Plant, ids: list[JobId], count: int) -> None:
    """Return when so many of the jobs are final."""
    query = "SELECT count(*) AS n FROM jobs WHERE id = ANY(:ids) AND state = ANY(:final)"
    final = [str(state) for state in FINAL]
    plant.until(lambda: plant.ask(query, ids=ids, final=final)[0]["n"] >= count, f"{count} jobs are final", 60)


def _accepted_more_than_once(plant: Plant, ids: list[JobId]) -> list[object]:
    """Return the jobs with more than one attempt whose end was accepted as the job's."""
    return list(
        plant.ask(
            "SELECT job_id FROM attempts WHERE job_id = ANY(:ids) AND outcome = 'succeeded'"
            " GROUP BY job_id HAVING count(*) <> 1"
            " UNION SELECT job_id FROM events WHERE job_id = ANY(:ids) AND name = 'succeed'"
            " GROUP BY job_id HAVING count(*) <> 1",
            ids=ids,
        )
    )


def _gaps(plant: Plant, ids: list[JobId]) -> list[object]:
    """Return the jobs whose events do not count 1, 2, 3 up to the job's own count."""
    return list(
        plant.ask(
            "SELECT j.id FROM jobs j JOIN events e ON e.job_id = j.id WHERE j.id = ANY(:ids)"
            " GROUP BY j.id HAVING min(e.seq) <> 1 OR max(e.seq) <> count(*) OR count(*) <> j.event_count",
            ids=ids,
        )
    )


def _attempts_that_never_ended(plant: Plant, ids: list[JobId]) -> list[object]:
    return list(plant.ask("SELECT job_id FROM attempts WHERE job_id = ANY(:ids) AND outcome IS NULL", ids=ids))
