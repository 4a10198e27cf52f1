"""Three times the load that the API can carry: whoever is accepted is served soon, the others are told at once.

The capacity is set by a database that answers late, not by this machine: two API processes whose commits take a
while, and few submissions each. So the figures hold on a slow machine too; those of a fast one are the benchmark's.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from deploy.stack.postgres import PostgresServer
from jobs.tables import jobs
from tests.bench.arrivals import Arrivals, arrive
from tests.bench.hammer import Target, hammer
from tests.integration.api.test_processes import Served
from tests.services import plain
from tests.services.api_process import new_key
from tests.services.proxy import Proxy
from tests.services.stack import eventually

BODY = b'{"task": "demo.echo", "payload": {"message": "hello"}}'
ROUND_TRIP = 0.012
"""Seconds by which every word to PostgreSQL is late; a commit is some five of them."""
GROUP = 12
CONNECTIONS = 400

ACCEPTED_MS = 500 * 6
REFUSED_MS = 100 * 15
"""What is promised for a quiet machine, and the patience with a very busy one: without a gate both are ten seconds."""
CALM_SECONDS = 60.0


@pytest.fixture
def proxy(postgres_server: PostgresServer) -> Iterator[Proxy]:
    """What makes PostgreSQL slow."""
    with Proxy("127.0.0.1", postgres_server.port) as made:
        yield made


def test_at_three_times_its_capacity_the_api_keeps_its_promises_and_recovers(
    engine: Engine, database_url: str, broker_url: str, proxy: Proxy, tmp_path: Path
) -> None:
    settings = {"api_processes": 2, "group_limit": GROUP, "longest_wait_seconds": 0.25}
    with Served(proxy.through(database_url), broker_url, tmp_path, **settings) as served:
        target = Target(served.port, "/api/v1/jobs", BODY, f"Bearer {new_key(engine, 'crowd')}")
        proxy.delay(ROUND_TRIP)
        usual = hammer(target, connections=10 * GROUP, seconds=3)
        capacity = usual.per_second
        calm = arrive(target, rate=capacity / 3, connections=CONNECTIONS, seconds=3)
        storm = arrive(target, rate=3 * capacity, connections=CONNECTIONS, seconds=10)

        eventually(lambda: _is_calm(target, capacity, calm), CALM_SECONDS, "all is as it was")
        health = plain.get(f"{served.url}/ready", timeout=10)
        lines = served.lines()

    with engine.connect() as connection:
        stored = connection.scalar(select(func.count()).select_from(jobs)) or 0
    told = f"capacity {capacity:.0f}/s, {_told(storm)}; before: {_told(calm)}"
    assert storm.faults == 0, told
    assert storm.accepted(99) < ACCEPTED_MS, told
    assert storm.refused(99) < REFUSED_MS, told
    assert len(storm.refused_ms) > len(storm.accepted_ms) * 0.3, told
    assert len(storm.accepted_ms) / storm.seconds > capacity * 0.2, told
    assert stored >= usual.accepted + len(calm.accepted_ms) + len(storm.accepted_ms)
    assert health.status_code == 200
    assert not [line for line in lines if "exception" in line]


def _is_calm(target: Target, capacity: float, before: Arrivals) -> bool:
    """Tell whether a third of the capacity is served as before the storm, and nobody is sent away."""
    now = arrive(target, rate=capacity / 3, connections=CONNECTIONS, seconds=2)
    assert now.faults == 0
    return not now.refused_ms and now.accepted(99) < max(2 * before.accepted(99), ACCEPTED_MS / 4)


def _told(found: Arrivals) -> str:
    return (
        f"{found.sent / found.seconds:.0f}/s: accepted {len(found.accepted_ms)} (p99 {found.accepted(99):.0f} ms), "
        f"refused {len(found.refused_ms)} (p99 {found.refused(99):.0f} ms), faults {found.faults}"
    )
