"""A schedule's jobs reach a worker and run, on each broker; what overlaps does what it should with real jobs."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

from sqlalchemy import RowMapping

from jobs.database import transaction
from jobs.errors import DatabaseUnavailable
from jobs.planning import editing
from jobs.planning.model import Definition
from jobs.planning.words import Overlap
from jobs.state import JobState
from tests.conformance.plant import Plant
from tests.services.local_processes import Worker


@contextmanager
def each_second(plant: Plant, name: str, **wishes: Any) -> Iterator[None]:
    """Have a job made each second for as long as the block lasts."""
    definition = Definition(**{"every_seconds": 1.0, "task": "demo.noop", "queue": "default"} | wishes)
    with transaction(plant.engine) as connection:
        editing.put(connection, name, lambda *_: definition, editing.ANYBODY)
    try:
        yield
    finally:
        _remove(plant, name)


def _remove(plant: Plant, name: str) -> None:
    try:
        with transaction(plant.engine) as connection:
            editing.remove(connection, name)
    except DatabaseUnavailable:  # it was restarted by another test: our connections are gone, it is not
        plant.engine.dispose()
        with transaction(plant.engine) as connection:
            editing.remove(connection, name)


def decided(plant: Plant, name: str) -> list[RowMapping]:
    """Return what was decided about the schedule, in the order of the instants."""
    query = "SELECT o.* FROM occurrences o JOIN schedules s ON s.id = o.schedule_id WHERE s.name = :name"
    return plant.ask(f"{query} ORDER BY o.instant", name=name)


def test_the_jobs_of_a_schedule_run(plant: Plant, worker: Worker) -> None:
    with each_second(plant, "runs", task="demo.echo", payload='{"message": "tick"}', priority=8):
        plant.until(lambda: len(decided(plant, "runs")) >= 3, "three instants are decided")
        made = [row["job_id"] for row in decided(plant, "runs")]

    rows = plant.all_finished(made)

    assert {row["state"] for row in rows} == {JobState.SUCCEEDED}
    assert {row["attempt"] for row in rows} == {1}


def test_nothing_comes_after_a_delete(plant: Plant, worker: Worker) -> None:
    with each_second(plant, "ends"):
        plant.until(lambda: decided(plant, "ends"), "an instant is decided")
    (before,) = plant.ask("SELECT count(*) AS count FROM jobs WHERE request_id LIKE 'schedule.ends.%'")

    with each_second(plant, "goes-on"):
        plant.until(lambda: len(decided(plant, "goes-on")) >= 3, "beat goes on for others")

    assert plant.ask("SELECT count(*) AS count FROM jobs WHERE request_id LIKE 'schedule.ends.%'") == [before]


def test_of_a_schedule_that_waits_no_two_jobs_run_at_once(plant: Plant, worker: Worker) -> None:
    nap = {"task": "probe.naps", "payload": '{"seconds": 1.5}', "overlap": Overlap.WAIT}
    with each_second(plant, "waits", **nap):
        fired = plant.until(
            lambda: [row for row in decided(plant, "waits") if row["reason"] == "waited"][1:], "two have waited"
        )
        plant.finished(fired[-1]["job_id"])
        made = [row["job_id"] for row in decided(plant, "waits") if row["job_id"]]

    rows = sorted(plant.all_finished(made), key=lambda row: row["started_at"])

    for former, latter in pairwise(rows):
        assert former["finished_at"] <= latter["started_at"]


def test_of_a_schedule_that_cancels_the_newest_runs(plant: Plant, worker: Worker) -> None:
    nap = {"task": "probe.naps", "payload": '{"seconds": 30}', "overlap": Overlap.CANCEL}
    with each_second(plant, "cancels", **nap):
        first = plant.until(lambda: decided(plant, "cancels"), "it is fired")[0]["job_id"]
        plant.until(lambda: len(decided(plant, "cancels")) >= 3, "it is fired again")
        made = [row["job_id"] for row in decided(plant, "cancels") if row["job_id"]]

    assert plant.finished(first)["state"] == JobState.CANCELLED
    for job_id in made[-2:]:
        plant.cancel(job_id)
    plant.all_finished(made)
