"""A task that takes its process down takes nothing else with it, and a lost worker's jobs go on elsewhere."""

from pathlib import Path

import pytest

from jobs.model import JobId
from jobs.state import JobState
from tests.chaos.memory import bound
from tests.conformance.plant import Plant
from tests.services.fixtures import unavailable
from tests.services.local_processes import Worker
from tests.services.stack import gone


def test_a_job_that_kills_its_process_three_times_is_a_dead_letter_and_the_others_go_on(
    plant: Plant, worker: Worker
) -> None:
    neighbours = [plant.submit("demo.sleep", seconds=2) for _ in range(2)]
    crasher = plant.submit("demo.crash")
    others = plant.echoes(20, "default")

    job = plant.finished(crasher)
    plant.all_finished(neighbours + others)

    assert (job["state"], job["reason"], job["crash_count"]) == (JobState.FAILED, "crashed", 3)
    assert job["error"]["type"] == "WorkerLost"
    assert plant.outcomes(crasher) == ["lost", "lost", "lost"]
    assert {plant.job(one)["state"] for one in neighbours + others} == {JobState.SUCCEEDED}
    assert {plant.job(one)["attempt"] for one in neighbours + others} == {1}


def test_the_next_attempt_after_a_crash_begins_within_three_seconds(plant: Plant, worker: Worker) -> None:
    job_id = plant.submit("probe.crash_once")

    job = plant.finished(job_id)

    first, second = plant.attempts(job_id)
    assert (job["state"], job["result"]) == (JobState.SUCCEEDED, 2)
    assert (second["started_at"] - first["started_at"]).total_seconds() < 3


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("memory", "MemoryError"),
        ("exit", "SystemExit"),
        ("sys.exit", "SystemExit"),
        ("interrupt", "KeyboardInterrupt"),
        ("recursion", "RecursionError"),
    ],
)
def test_what_would_end_a_process_only_ends_the_attempt(kind: str, error: str, plant: Plant, worker: Worker) -> None:
    job_id = plant.submit("probe.raises", kind=kind)

    job = plant.finished(job_id)

    assert (job["state"], job["error"]["type"]) == (JobState.FAILED, error)
    assert plant.outcomes(job_id) == ["errored"]
    assert plant.finished(plant.submit("demo.echo", message="next"))["state"] == JobState.SUCCEEDED


def test_leaving_the_process_counts_as_a_crash(plant: Plant, worker: Worker) -> None:
    job = plant.finished(plant.submit("probe.raises", kind="os._exit"))

    assert (job["state"], job["reason"]) == (JobState.FAILED, "crashed")


def test_a_killed_workers_jobs_are_rescued_when_their_lease_runs_out(plant: Plant) -> None:
    with plant.crew(count=2, worker_concurrency=1, lease_seconds=1.5) as crew:
        job_id = plant.submit("probe.long_first", crew.lane, seconds=6)
        victim = _who_runs(plant, crew.workers, str(plant.running(job_id)["worker"]))

        victim.kill()
        job = plant.finished(job_id)

        assert (job["state"], job["result"], job["crash_count"]) == (JobState.SUCCEEDED, 2, 1)
        assert plant.outcomes(job_id) == ["lost", "succeeded"]
        assert plant.events(job_id) == ["accept", "start", "rescue", "start", "succeed"]


def test_a_worker_that_slept_through_its_lease_is_refused_when_it_wakes(plant: Plant) -> None:
    with plant.crew(count=2, worker_concurrency=1, lease_seconds=1.5) as crew:
        job_id = plant.submit("probe.long_first", crew.lane, seconds=3)
        sleeper = _who_runs(plant, crew.workers, str(plant.running(job_id)["worker"]))

        sleeper.kill("SIGSTOP")
        job = plant.finished(job_id)
        sleeper.kill("SIGCONT")
        plant.until(lambda: "fenced" in plant.events(job_id), "the stale end is refused, and told")

        assert (job["state"], job["result"]) == (JobState.SUCCEEDED, 2)
        assert plant.job(job_id)["result"] == 2
        assert plant.outcomes(job_id) == ["lost", "succeeded"]
        after = plant.echoes(4, crew.lane)
        assert {row["state"] for row in plant.all_finished(after)} == {JobState.SUCCEEDED}


def test_a_fenced_task_is_ended_and_does_no_more(plant: Plant, tmp_path: Path) -> None:
    log = tmp_path / "said"
    with plant.crew(worker_concurrency=1, lease_seconds=30, cancel_grace_seconds=0.3) as crew:
        job_id = plant.submit("probe.naps", crew.lane, seconds=40, log=str(log))
        plant.running(job_id)
        plant.until(log.exists, "the task has begun")
        pids = crew.worker.children()

        plant.until(lambda: _without_lease(plant, job_id), "upkeep takes the job away")
        plant.until(lambda: len(plant.attempts(job_id)) == 2, "the next attempt begins", seconds=10)
        plant.cancel(job_id)
        plant.finished(job_id)

        assert log.read_text().count("end") == 0
        assert pids


def test_a_process_is_replaced_after_so_many_tasks_and_no_job_is_lost_by_it(plant: Plant) -> None:
    with plant.crew(module="tests.recycling_worker", worker_concurrency=1) as crew:
        ids = [plant.submit("probe.request", crew.lane) for _ in range(7)]

        rows = plant.all_finished(ids)

        assert {(row["state"], row["attempt"]) for row in rows} == {(JobState.SUCCEEDED, 1)}
        assert len({row["result"]["pid"] for row in rows}) >= 3


def test_the_children_of_a_killed_worker_do_not_outlive_their_task(plant: Plant) -> None:
    with plant.crew(worker_concurrency=2, lease_seconds=1.5) as crew:
        children = crew.worker.processes()

        crew.worker.kill()

        assert gone(children, 10) == []


def _without_lease(plant: Plant, job_id: JobId) -> bool:
    """Let the lease of a first attempt run out, and tell whether that was noticed; its worker may have extended it."""
    plant.change(
        "UPDATE jobs SET lease_expires_at = now() - interval '1 s'"
        " WHERE id = :id AND state = 'running' AND attempt = 1",
        id=job_id,
    )
    return plant.outcomes(job_id)[0] == "lost"


def _who_runs(plant: Plant, workers: list[Worker], name: str) -> Worker:
    return next(one for one in workers if name.startswith(one.name()))


def test_a_job_that_takes_more_memory_than_there_is_becomes_a_dead_letter_and_its_neighbours_run(plant: Plant) -> None:
    memory = bound("crashes")
    if not memory.kills:
        unavailable("a control group with a limit of memory")
    with plant.crew(worker_concurrency=2) as crew:
        for pid in (crew.worker.pid, *crew.worker.children()):
            memory.adopt(pid)
        grows = plant.submit("probe.grows", crew.lane, megabytes=memory.beyond_megabytes)
        rows = plant.all_finished(plant.echoes(20, crew.lane), seconds=60)
        job = plant.finished(grows, seconds=60)
        killed = memory.kill_count()
        crew.worker.stop()
    memory.close()

    assert {row["state"] for row in rows} == {JobState.SUCCEEDED}
    assert (job["state"], job["reason"]) == (JobState.FAILED, "crashed")
    assert plant.outcomes(grows) == ["lost", "lost", "lost"]
    assert killed == 3
