"""A link to PostgreSQL that stays open and silent, under real workers: they find out, and go on by themselves."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from deploy.stack.ports import LOOPBACK
from deploy.stack.postgres import PostgresServer
from jobs.state import JobState
from tests.conformance.plant import Crew, Plant
from tests.services.proxy import Proxy

LEASE_SECONDS: Final = 12
SECONDS: Final = 60.0
OWN: Final[dict[str, Any]] = {
    "worker_concurrency": 3,
    "lease_seconds": LEASE_SECONDS,
    "database_statement_timeout_seconds": 2,
    "database_answer_seconds": 1,
}
"""A worker that waits three seconds for an answer."""
ASKS: Final = "SELECT FROM pg_stat_activity WHERE application_name = 'penstock-task' AND datname = current_database()"


@pytest.fixture
def proxy(postgres_server: PostgresServer) -> Iterator[Proxy]:
    with Proxy(LOOPBACK, postgres_server.port) as made:
        yield made


@pytest.fixture
def crew(plant: Plant, proxy: Proxy) -> Iterator[Crew]:
    """The only worker of its queue, which reaches PostgreSQL through the proxy."""
    with plant.crew(database_url=proxy.through(plant.database_url), **OWN) as crew:
        plant.all_finished(plant.echoes(20, crew.lane))
        yield crew


def test_a_worker_whose_links_are_silent_for_ever_keeps_its_leases_and_settles_once(
    plant: Plant, crew: Crew, proxy: Proxy, tmp_path: Path
) -> None:
    log = tmp_path / "naps"
    longer = plant.submit("probe.naps", crew.lane, seconds=LEASE_SECONDS * 1.5, log=str(log))
    asking = plant.submit("demo.sleep", crew.lane, seconds=LEASE_SECONDS)
    plant.running(longer)
    plant.until(lambda: plant.ask(ASKS), "a task asks about its job")
    shorter = plant.submit("probe.naps", crew.lane, seconds=3)
    plant.running(shorter)

    proxy.forget()
    meanwhile = plant.echoes(20, crew.lane)
    plant.all_finished([longer, asking, shorter, *meanwhile], seconds=SECONDS)

    assert {tuple(plant.events(one)) for one in (longer, asking, shorter)} == {("accept", "start", "succeed")}
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["begin", "end"]
    assert [one for one in meanwhile if plant.events(one).count("succeed") != 1] == []
    assert {plant.job(one)["crash_count"] for one in meanwhile} == {0}
    assert crew.worker.container.status == "running"


def test_a_worker_that_reaches_nothing_until_the_silence_ends_was_fenced_and_serves_on(
    plant: Plant, crew: Crew, proxy: Proxy
) -> None:
    pid = crew.worker.pid
    overdue = plant.submit("probe.naps", crew.lane, seconds=3)
    plant.running(overdue)

    proxy.swallow()
    plant.reaches(overdue, JobState.QUEUED, seconds=SECONDS)
    meanwhile = plant.echoes(20, crew.lane)
    proxy.heal()
    rows = plant.all_finished([overdue, *meanwhile], seconds=SECONDS)

    assert {row["state"] for row in rows} == {JobState.SUCCEEDED}
    assert plant.outcomes(overdue) == ["lost", "succeeded"]
    assert [one for one in meanwhile if plant.events(one).count("succeed") != 1] == []
    assert crew.worker.pid == pid
