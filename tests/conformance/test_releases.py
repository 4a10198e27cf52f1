"""Two releases side by side: each runs what the other rang for, and takes nothing of it for garbage."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kombu import Producer

from deploy.stack.home import ROOT
from jobs.model import Doorbell, JobId, NewJob
from jobs.state import JobState
from tasks import messages
from tasks.topology import EXCHANGE
from tests.conformance.plant import Crew, Plant
from tests.services.local_processes import Beat, Worker

ONCE = {(JobState.SUCCEEDED, 1)}
COUNT = 60


def next_release(home: Path, *, reads: int) -> Path:
    """Make the release after this one: the same code, whose doorbells have the next version and ask for `reads`."""
    for package in ("jobs", "tasks", "worker", "schedules"):
        shutil.copytree(ROOT / package, home / package, ignore=shutil.ignore_patterns("__pycache__"))
    (home / "tests").mkdir()
    for module in ("__init__.py", "worker_tasks.py"):
        shutil.copy(ROOT / "tests" / module, home / "tests" / module)
    written = (home / "tasks" / "messages.py").read_text()
    for name, old, new in (("VERSION", messages.VERSION, messages.VERSION + 1), ("READS", messages.READS, reads)):
        line = f"{name}: Final = {old}\n"
        assert written.count(line) == 1
        written = written.replace(line, f"{name}: Final = {new}\n")
    (home / "tasks" / "messages.py").write_text(written)
    return home


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A next release whose doorbells this one may act on."""
    return next_release(tmp_path_factory.mktemp("ordinary"), reads=messages.VERSION)


@pytest.fixture(scope="module")
def breaking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A next release whose doorbells ask for itself."""
    return next_release(tmp_path_factory.mktemp("breaking"), reads=messages.VERSION + 1)


@contextmanager
def only_beat(plant: Plant, release: Path) -> Iterator[Beat]:
    """Let nobody but a beat of `release` ring."""
    with plant.no_upkeep():
        beat = plant.beat(release)
        try:
            yield beat
        finally:
            beat.kill("SIGTERM", reload_container=False)


def unrung(plant: Plant, lane: str, count: int = COUNT) -> list[JobId]:
    """Accept jobs that take long enough for two workers to share them, and leave the ringing to upkeep."""
    ids = plant.accept(
        *(NewJob(task="probe.naps", payload='{"seconds": 0.05}', queue=lane) for _ in range(count)), ring=False
    )
    plant.change("UPDATE jobs SET rung_at = NULL WHERE id = ANY(:ids) AND state = 'queued'", ids=ids)
    return ids


def who_ran(plant: Plant, ids: list[JobId]) -> set[str]:
    rows = plant.ask("SELECT DISTINCT worker FROM attempts WHERE job_id = ANY(:ids)", ids=ids)
    return {row["worker"].partition(".")[0] for row in rows}


def results(plant: Plant, ids: list[JobId]) -> set[tuple[str, int]]:
    return {(row["state"], row["attempt"]) for row in plant.all_finished(ids, seconds=60)}


@contextmanager
def pair(plant: Plant, release: Path) -> Iterator[tuple[Crew, Worker]]:
    """A worker of this release and one of `release` on one queue."""
    with plant.crew(worker_concurrency=2) as crew:
        newer = plant.worker(queue=crew.lane, worker_concurrency=2, release=release)
        try:
            yield crew, newer
        finally:
            plant.dismiss(newer)


def test_two_releases_run_what_each_of_them_rang_for(plant: Plant, ordinary: Path) -> None:
    with pair(plant, ordinary) as (crew, newer):
        buried = plant.buried(crew.lane)

        ours = plant.echoes(COUNT, crew.lane)
        assert results(plant, ours) == ONCE
        with only_beat(plant, ordinary):
            theirs = unrung(plant, crew.lane)
            assert results(plant, theirs) == ONCE

        assert who_ran(plant, theirs) == {crew.worker.name(), newer.name()}
        assert plant.buried(crew.lane) == buried


def test_what_the_next_release_rang_for_runs_after_it_was_rolled_back(plant: Plant, ordinary: Path) -> None:
    lane = plant.lane()
    with only_beat(plant, ordinary):
        ids = unrung(plant, lane)
        plant.until(lambda: plant.depth(lane) == COUNT, "the next release has rung")

        older = plant.worker(queue=lane)
        assert results(plant, ids) == ONCE
        plant.dismiss(older)


def test_what_this_release_rang_for_runs_in_the_next(plant: Plant, breaking: Path) -> None:
    lane = plant.lane()
    ids = plant.echoes(COUNT, lane)

    newer = plant.worker(queue=lane, release=breaking)

    assert results(plant, ids) == ONCE
    plant.dismiss(newer)


def test_doorbells_that_ask_for_the_next_release_are_left_to_its_workers(plant: Plant, breaking: Path) -> None:
    with pair(plant, breaking) as (crew, newer):
        buried = plant.buried(crew.lane)

        with only_beat(plant, breaking):
            ids = unrung(plant, crew.lane)
            assert results(plant, ids) == ONCE

        assert who_ran(plant, ids) == {newer.name()}
        assert plant.buried(crew.lane) == buried
        assert "doorbell_left" in crew.worker.logs()
        assert results(plant, plant.echoes(COUNT, crew.lane)) == ONCE


@pytest.mark.parametrize(
    "changes",
    [{"penstock": messages.VERSION + 1, "penstock_reads": messages.VERSION + 1}, {"task": "nobody.knows"}],
    ids=["asks for the next release", "for a task that is not installed here"],
)
def test_a_doorbell_that_only_others_could_act_on_is_let_go_and_rung_anew(
    changes: dict[str, Any], plant: Plant
) -> None:
    with plant.crew(worker_concurrency=1) as crew, plant.no_upkeep():
        buried = plant.buried(crew.lane)
        job_id = plant.submit("demo.echo", crew.lane, ring=False, message="in the end")
        headers = messages.headers(Doorbell(job_id, "demo.echo", crew.lane, 5)) | changes
        with plant.connection() as connection:
            Producer(connection, auto_declare=False).publish(
                b"[[],{},{}]",
                exchange=EXCHANGE,
                routing_key=crew.lane,
                headers=headers,
                serializer=None,
                content_type=messages.CONTENT_TYPE,
                content_encoding=messages.CONTENT_ENCODING,
            )

        plant.until(lambda: crew.worker.logs().count("doorbell_left") == 2, "it is left, comes back, and is let go")
        assert results(plant, plant.echoes(3, crew.lane)) == ONCE
        assert (plant.depth(crew.lane), plant.job(job_id)["state"]) == (0, JobState.QUEUED)

    other = plant.worker(queue=crew.lane)
    assert plant.finished(job_id)["result"] == "in the end"
    plant.dismiss(other)
    assert plant.buried(crew.lane) == buried
    assert crew.worker.logs().count("doorbell_left") == 2
