"""A worker that is asked to stop finishes what is short and gives back what is long."""

import time

from celery import Celery

from deploy.stack.ports import free_port
from jobs.state import JobState
from tests.conformance.plant import Plant
from tests.services import plain


def test_a_stopping_worker_finishes_short_jobs_and_gives_long_ones_back(plant: Plant) -> None:
    with plant.crew(worker_concurrency=2, drain_seconds=5) as crew:
        short = plant.submit("probe.naps", crew.lane, seconds=1)
        long = plant.submit("probe.long_first", crew.lane, seconds=30)
        plant.running(short)
        plant.running(long)

        began = time.monotonic()
        crew.worker.stop(seconds=15)

        assert time.monotonic() - began < 10
        assert plant.job(short)["state"] == JobState.SUCCEEDED
        assert plant.outcomes(long)[0] == "interrupted"
        after = plant.worker(queue=crew.lane, worker_concurrency=2)
        job = plant.finished(long)
        plant.dismiss(after)
    assert (job["state"], job["result"], job["error_count"], job["crash_count"]) == (JobState.SUCCEEDED, 2, 0, 0)
    assert plant.events(long) == ["accept", "start", "release", "start", "succeed"]


def test_the_next_worker_takes_over_at_once_and_no_doorbell_is_lost(plant: Plant) -> None:
    with plant.crew(worker_concurrency=2, drain_seconds=0) as crew, plant.no_upkeep():
        busy = [plant.submit("probe.long_first", crew.lane, seconds=30) for _ in range(2)]
        for job_id in busy:
            plant.running(job_id)
        waiting = plant.echoes(20, crew.lane)

        crew.worker.stop(seconds=10)
        after = plant.worker(queue=crew.lane, worker_concurrency=2)
        rows = plant.all_finished(waiting, seconds=5)
        plant.dismiss(after)

        assert {(row["state"], row["attempt"]) for row in rows} == {(JobState.SUCCEEDED, 1)}
        assert {plant.job(job_id)["state"] for job_id in busy} == {JobState.QUEUED}


def test_workers_that_come_and_go_under_load_lose_nothing_and_repeat_nothing(plant: Plant) -> None:
    with plant.crew(count=2, worker_concurrency=2, drain_seconds=5) as crew:
        ids = [plant.submit("probe.naps", crew.lane, seconds=0.02) for _ in range(300)]
        for worker in crew.workers:
            worker.restart()

        rows = plant.all_finished(ids)

        assert {row["state"] for row in rows} == {JobState.SUCCEEDED}
        given_back = [row["id"] for row in rows if row["attempt"] > 1]
        assert all(set(plant.outcomes(one)[:-1]) == {"interrupted"} for one in given_back)
        assert {row["error_count"] + row["crash_count"] for row in rows} == {0}


def test_a_worker_that_is_told_to_end_by_remote_control_drains_as_well(plant: Plant) -> None:
    with plant.crew(worker_concurrency=1, drain_seconds=1) as crew:
        long = plant.submit("probe.long_first", crew.lane, seconds=600)
        plant.running(long)
        name = plant.ask("SELECT name FROM workers WHERE name LIKE :name", name=f"{crew.worker.name()}.%")[0]["name"]

        with Celery("remote", broker=plant.broker_url, set_as_current=False) as app:
            app.control.shutdown(destination=[name])

        crew.worker.ended(20)
        assert plant.outcomes(long) == ["interrupted"]
    plant.cancel(long)


def test_a_worker_says_hello_and_goodbye(plant: Plant) -> None:
    with plant.crew(worker_concurrency=3) as crew:
        name = crew.worker.name()
        query = "SELECT queues, slots, stopped_at FROM workers WHERE name LIKE :name"

        alive = plant.ask(query, name=f"{name}.%")
        crew.worker.stop()

        assert [(row["queues"], row["slots"], row["stopped_at"]) for row in alive] == [([crew.lane], 3, None)]
        assert plant.ask(query, name=f"{name}.%")[0]["stopped_at"] is not None


def test_a_draining_worker_lives_and_is_not_ready(plant: Plant) -> None:
    port = free_port()
    with plant.crew(worker_concurrency=1, drain_seconds=60, worker_metrics_port=port) as crew:
        job_id = plant.submit("probe.long_first", crew.lane, seconds=600)
        plant.running(job_id)
        plant.until(lambda: plain.get(f"http://127.0.0.1:{port}/ready").status_code == 200, "it is ready")

        crew.worker.kill("SIGTERM")

        plant.until(lambda: plain.get(f"http://127.0.0.1:{port}/ready").status_code == 503, "it is not ready")
        left = plain.get(f"http://127.0.0.1:{port}/ready").json()["dependencies"]
        alive = plain.get(f"http://127.0.0.1:{port}/health").status_code
        plant.cancel(job_id)
        crew.worker.ended(60)

    assert (left["accepting"], left["postgresql"], alive) == (False, True, 200)
