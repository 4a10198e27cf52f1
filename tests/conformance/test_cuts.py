"""A connection to PostgreSQL that is cut at the worst moment, under real workers: each job ends once all the same."""

from collections.abc import Iterator
from typing import Final

import pytest

from deploy.stack.ports import LOOPBACK
from deploy.stack.postgres import PostgresServer
from jobs.model import JobId
from jobs.state import JobState
from tests.conformance.plant import Crew, Plant
from tests.services.crashes import crash
from tests.services.proxy import Proxy, When

CUTS: Final = 4
FINISH: Final = b"succeed"
"""Goes over the wire with every statement that ends attempts well."""
NAME: Final = b"@test"
"""The end of a worker's name: it goes with every start, and with each sign of life."""


@pytest.fixture
def proxy(postgres_server: PostgresServer) -> Iterator[Proxy]:
    with Proxy(LOOPBACK, postgres_server.port) as made:
        yield made


@pytest.fixture
def crew(plant: Plant, proxy: Proxy) -> Iterator[Crew]:
    """A worker that reaches PostgreSQL through the proxy."""
    with plant.crew(worker_concurrency=2, database_url=proxy.through(plant.database_url)) as crew:
        plant.all_finished(plant.echoes(20, crew.lane))  # by now the driver has prepared its statements
        yield crew


def histories(plant: Plant, ids: list[JobId]) -> set[tuple[str, ...]]:
    return {tuple(plant.events(job_id)) for job_id in ids}


@pytest.mark.parametrize("when", When)
def test_ends_that_are_cut_off_count_once(when: When, plant: Plant, crew: Crew, proxy: Proxy) -> None:
    proxy.cut(FINISH, when, times=CUTS)

    ids = [plant.submit("probe.naps", crew.lane, seconds=0.05) for _ in range(40)]
    plant.all_finished(ids)

    assert proxy.cuts == CUTS
    assert histories(plant, ids) == {("accept", "start", "succeed")}
    assert plant.finished(plant.submit("demo.echo", crew.lane, message="next"))["state"] == JobState.SUCCEEDED


@pytest.mark.parametrize("when", When)
def test_starts_and_signs_of_life_that_are_cut_off_lose_nothing(
    when: When, plant: Plant, crew: Crew, proxy: Proxy
) -> None:
    proxy.cut(NAME, when, times=CUTS)

    ids = [plant.submit("probe.naps", crew.lane, seconds=0.05) for _ in range(40)]
    plant.until(lambda: proxy.cuts == CUTS, "every cut was made")
    rows = plant.all_finished(ids)

    assert {row["state"] for row in rows} == {JobState.SUCCEEDED}
    assert {row["crash_count"] + row["error_count"] for row in rows} == {0}
    once = ("accept", "start", "succeed")
    allowed = {once, *(("accept", *("start", "release") * count, "start", "succeed") for count in range(1, CUTS + 1))}
    assert histories(plant, ids) <= allowed


def test_a_database_that_is_killed_again_and_again_under_load_costs_nothing(
    plant: Plant, crew: Crew, postgres_server: PostgresServer
) -> None:
    ids = [plant.submit("probe.naps", crew.lane, seconds=0.05) for _ in range(150)]

    for number in (5, 40, 80):
        plant.until(lambda number=number: plant.job(ids[number])["state"] == JobState.SUCCEEDED, "the load goes on")  # type: ignore[misc]  # binds the loop's value
        crash(postgres_server)
        plant.engine.dispose()
    rows = plant.all_finished(ids)

    assert {row["state"] for row in rows} == {JobState.SUCCEEDED}
    assert {row["crash_count"] + row["error_count"] for row in rows} == {0}
    assert [one for one in ids if plant.events(one).count("succeed") != 1] == []
