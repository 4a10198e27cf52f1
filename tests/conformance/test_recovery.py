"""How soon a job goes on when what ran it is gone, and that whoever comes back late changes nothing."""

import os
import signal
import statistics
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest

from jobs.model import JobId
from jobs.state import JobState
from tests.conformance.plant import Crew, Plant
from tests.services.local_processes import Worker
from tests.services.stack import gone

ROUNDS: Final = 4
SLOTS: Final = 4
REPORTED_SECONDS: Final = 3.0
"""From the loss of a process that its worker reports to the start of the next attempt, in the middle of many."""
LONGEST_SECONDS: Final = 12.0
"""For the slowest of them on a machine that is busy otherwise; far less than the lease, which nobody waits for."""
LEASE_SECONDS: Final = 3
RESCUED_SECONDS: Final = LEASE_SECONDS + 15.0
"""From the loss of a whole worker to the next start: the lease, two seconds for a beat to look, and a slow machine.

Still far less than the lease of 30 s that a worker has which does not know better.
"""


def begun(plant: Plant, crew: Crew, home: Path, count: int, seconds: float = 60) -> dict[JobId, int]:
    """Submit jobs that take long at first, and return the process that runs each of them."""
    logs = {}
    for number in range(count):
        log = home / f"{time.monotonic_ns()}-{number}"
        logs[plant.submit("probe.long_first", crew.lane, seconds=seconds, log=str(log))] = log
    plant.until(lambda: all(log.exists() and log.read_text().endswith("\n") for log in logs.values()), "all have begun")
    return {job_id: int(log.read_text().split()[1]) for job_id, log in logs.items()}


def started_after(plant: Plant, ids: Iterable[JobId], killed_at: float) -> list[float]:
    """Return how many seconds after `killed_at`, by the clock on the wall, the second attempts began."""
    return [plant.attempts(job_id)[1]["started_at"].timestamp() - killed_at for job_id in ids]


def freeze(worker: Worker) -> list[int]:
    """Stop the worker and all its processes as a paused machine does, and return them."""
    pids = [worker.pid, *worker.children()]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    return pids


def test_after_each_of_many_killed_processes_the_next_attempt_begins_soon(plant: Plant, tmp_path: Path) -> None:
    waits: list[float] = []
    with plant.crew(worker_concurrency=SLOTS) as crew:
        for number in range(ROUNDS * 2):
            running = begun(plant, crew, tmp_path, SLOTS if number % 2 else 1)
            killed_at = time.time()
            for pid in running.values():
                os.kill(pid, signal.SIGKILL)
            plant.all_finished(running)
            waits += started_after(plant, running, killed_at)
            assert {tuple(plant.outcomes(job_id)) for job_id in running} == {("lost", "succeeded")}

    assert len(waits) == ROUNDS * (SLOTS + 1)
    assert statistics.median(waits) < REPORTED_SECONDS, sorted(waits)
    assert max(waits) < LONGEST_SECONDS, sorted(waits)


def test_the_jobs_of_a_whole_worker_that_was_killed_go_on_when_their_leases_have_run_out(
    plant: Plant, tmp_path: Path
) -> None:
    with plant.crew(count=2, worker_concurrency=SLOTS, lease_seconds=LEASE_SECONDS) as crew:
        running = begun(plant, crew, tmp_path, SLOTS)

        killed_at = time.time()
        for worker in crew.workers:
            worker.container.kill_all()
            worker.container.start()
        plant.all_finished(running)

        waits = started_after(plant, running, killed_at)
        assert max(waits) < RESCUED_SECONDS, waits
        assert {plant.job(job_id)["crash_count"] for job_id in running} == {1}


def test_a_paused_worker_is_refused_when_it_wakes_its_task_is_ended_and_it_serves_again(
    plant: Plant, tmp_path: Path
) -> None:
    with plant.crew(count=2, worker_concurrency=1, lease_seconds=LEASE_SECONDS) as crew:
        ((job_id, pid),) = begun(plant, crew, tmp_path, 1).items()
        sleeper, other = sorted(crew.workers, key=lambda worker: pid not in worker.children())

        paused_at = time.time()
        frozen = freeze(sleeper)
        job = plant.finished(job_id)
        waits = started_after(plant, [job_id], paused_at)
        for one in frozen:
            os.kill(one, signal.SIGCONT)
        plant.until(lambda: "fenced" in plant.events(job_id), "the stale end is refused, and told")

        assert (job["state"], job["result"]) == (JobState.SUCCEEDED, 2)
        assert waits[0] < RESCUED_SECONDS
        assert plant.outcomes(job_id) == ["lost", "succeeded"]
        assert "end" not in next(tmp_path.iterdir()).read_text()
        other.stop()
        rows = plant.all_finished(plant.echoes(10, crew.lane))
        assert {(row["state"], row["attempt"]) for row in rows} == {(JobState.SUCCEEDED, 1)}
        assert sleeper.pid == frozen[0]


def test_the_processes_of_a_worker_whose_main_process_was_killed_die_in_the_midst_of_their_tasks(
    plant: Plant, tmp_path: Path
) -> None:
    with plant.crew(worker_concurrency=2, lease_seconds=LEASE_SECONDS) as crew:
        running = begun(plant, crew, tmp_path, 2, seconds=5)
        processes = crew.worker.processes()

        crew.worker.kill()
        assert gone(processes, 4) == []
        crew.worker.container.start()
        plant.all_finished(running)

        assert {tuple(plant.outcomes(job_id)) for job_id in running} == {("lost", "succeeded")}
        assert [log for log in tmp_path.iterdir() if "end" in log.read_text()] == []


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_task_that_never_pauses_keeps_its_lease(pool: str, plant: Plant) -> None:
    with plant.crew(worker_concurrency=1, lease_seconds=LEASE_SECONDS, worker_pool=pool) as crew:
        job_id = plant.submit("probe.spins", crew.lane, seconds=2.5 * LEASE_SECONDS)

        assert plant.finished(job_id)["state"] == JobState.SUCCEEDED
        assert plant.outcomes(job_id) == ["succeeded"]


def test_a_stop_that_strikes_the_pool_as_well_lets_short_jobs_end_and_gives_long_ones_back(
    plant: Plant, tmp_path: Path
) -> None:
    with plant.crew(worker_concurrency=2, drain_seconds=5) as crew:
        (short,) = begun(plant, crew, tmp_path, 1, seconds=2)
        (long,) = begun(plant, crew, tmp_path, 1)
        children = crew.worker.children()

        crew.worker.kill("SIGTERM")
        for child in children:
            os.kill(child, signal.SIGTERM)
        crew.worker.container.wait(20)

        assert [plant.outcomes(job_id) for job_id in (short, long)] == [["succeeded"], ["interrupted"]]
        assert {plant.job(long)["crash_count"], plant.job(long)["error_count"]} == {0}


def test_a_process_that_is_told_to_end_by_someone_else_ends_its_job_first(plant: Plant, tmp_path: Path) -> None:
    with plant.crew(worker_concurrency=1) as crew:
        ((job_id, pid),) = begun(plant, crew, tmp_path, 1, seconds=2).items()

        os.kill(pid, signal.SIGTERM)

        assert plant.finished(job_id)["result"] == 1
        assert plant.outcomes(job_id) == ["succeeded"]


def test_a_worker_of_threads_gives_long_jobs_back_and_does_not_wait_for_them(plant: Plant) -> None:
    with plant.crew(worker_pool="threads", worker_concurrency=2, drain_seconds=1) as crew:
        job_id = plant.submit("probe.long_first", crew.lane, seconds=60)
        plant.running(job_id)

        crew.worker.kill("SIGTERM")
        crew.worker.container.wait(15)

        assert plant.outcomes(job_id) == ["interrupted"]
        crew.worker.container.start()
        assert plant.finished(job_id)["result"] == 2
