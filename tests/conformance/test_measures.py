"""What a worker tells of itself is there when it is asked, and what its tasks tell is counted once."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.stack.ports import LOOPBACK, free_port
from jobs.state import JobState
from jobs.telemetry.contract import PREFIX, Process, told_by
from tests.conformance.plant import Crew, Plant
from tests.services import plain

EURO = {"task": "probe.measures", "currency": "EUR"}


class Told(NamedTuple):
    """A worker, and where it answers."""

    crew: Crew
    port: int

    def families(self) -> dict[str, dict[str, float]]:
        """Return the samples of each family by their labels, written out."""
        answer = plain.get(f"http://{LOOPBACK}:{self.port}/metrics", trust_env=False, timeout=20)
        return {
            family.name: {f"{one.name}{sorted(one.labels.items())}": one.value for one in family.samples}
            for family in text_string_to_metric_families(answer.text)
        }

    def value(self, name: str, **labels: str) -> float | None:
        return next(
            (
                family[key]
                for family in self.families().values()
                if (key := f"{PREFIX}{name}{sorted(labels.items())}") in family
            ),
            None,
        )


@pytest.fixture
def told(plant: Plant) -> Iterator[Told]:
    port = free_port()
    with plant.crew(worker_concurrency=2, worker_metrics_port=port) as crew:
        yield Told(crew, port)


def test_a_worker_whose_slots_are_all_busy_answers(plant: Plant, told: Told) -> None:
    running = [plant.submit("probe.spins", told.crew.lane, seconds=8) for _ in range(6)]
    for job_id in running[:2]:
        plant.running(job_id)

    plant.until(lambda: told.value("slots_busy") == 2, "all slots are busy")

    assert told.value("slots") == 2
    assert told.value("processes") == 3
    ours = {name for name in told.families() if not name.startswith(("python_", "process_"))}
    assert ours == {PREFIX + metric.name for metric in told_by(Process.WORKER)}
    for job_id in running:
        plant.cancel(job_id)


def test_a_worker_of_threads_that_compute_answers(plant: Plant) -> None:
    port = free_port()
    with plant.crew(worker_pool="threads", worker_concurrency=2, worker_metrics_port=port) as crew:
        running = [plant.submit("probe.spins", crew.lane, seconds=4) for _ in range(2)]
        for job_id in running:
            plant.running(job_id)

        assert Told(crew, port).value("slots_busy") == 2


def test_what_a_task_measures_is_told_once_its_attempt_has_ended(plant: Plant, told: Told) -> None:
    jobs = [plant.submit("probe.measures", told.crew.lane, paid=paid, fail=paid == 3) for paid in (1, 2, 3)]
    states = {row["state"] for row in plant.all_finished(jobs)}
    assert states == {JobState.SUCCEEDED, JobState.FAILED}

    plant.until(lambda: told.value("task_orders_paid_total", **EURO) == 6, "everything is counted")
    assert told.value("task_payment_seconds_count", task="probe.measures") == 3
    assert told.value("task_payment_seconds_bucket", task="probe.measures", le="0.1") == 3
    assert told.value("task_stock", task="probe.measures", store="north") in {6, 5, 4}


def test_what_a_process_measured_that_died_is_not_told_and_what_the_next_attempt_measures_is(
    plant: Plant, told: Told
) -> None:
    job = plant.finished(plant.submit("probe.measures_and_dies", told.crew.lane))
    assert (job["state"], job["attempt"]) == (JobState.SUCCEEDED, 2)

    labels = EURO | {"task": "probe.measures_and_dies"}
    plant.until(lambda: told.value("task_orders_paid_total", **labels), "it is counted")
    assert told.value("task_orders_paid_total", **labels) == 1000
    lost = {"task": "probe.measures_and_dies", "queue": told.crew.lane, "outcome": "lost"}
    assert told.value("attempts_finished_total", **lost) == 1
