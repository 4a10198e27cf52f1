"""Somebody sets the clock of the machines that Penstock runs on: PostgreSQL's alone decides what is due."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from sqlalchemy import text

from jobs.database import reading
from tests.services.insistent import settled
from tests.services.jumping_clock import JumpingClock
from tests.services.processes import Processes, all_processes
from tests.services.stack import eventually

HOUR: Final = 3600
LEASE_SECONDS: Final = 8
LONG_SECONDS: Final = 14
"""Longer than a lease: the job keeps it by heartbeats alone."""
LATE_SECONDS: Final = 30
TICKS: Final = {"every_seconds": 1, "task": "demo.noop"}
WAITS: Final = (
    "SELECT extract(epoch FROM attempts.started_at - jobs.run_at)::float FROM attempts JOIN jobs"
    " ON jobs.id = attempts.job_id WHERE jobs.id = ANY(CAST(:ids AS uuid[]))"
)
"""For how long after they were due jobs had to wait."""


def ask(site: Processes, query: str, **values: Any) -> Sequence[Any]:
    with reading(site.engine) as connection:
        return connection.execute(text(query), values).all()


def fired(site: Processes) -> list[float]:
    """Return the instants of which the schedule has made a job, in seconds."""
    found = ask(site, "SELECT extract(epoch FROM instant)::float FROM occurrences WHERE job_id IS NOT NULL ORDER BY 1")
    return [row[0] for row in found]


@contextmanager
def ticking(site: Processes) -> Iterator[None]:
    assert site.client.put("/schedules/ticks", json=TICKS).is_success
    try:
        yield
    finally:
        site.client.delete("/schedules/ticks")


def later(site: Processes, seconds: int) -> str:
    answer = site.client.post("/jobs", json={"task": "demo.noop", "delay_seconds": seconds})
    assert answer.status_code == httpx.codes.ACCEPTED, answer.text
    return str(answer.json()["id"])


def is_off(site: Processes) -> bool:
    """Tell whether the API takes another time for now."""
    told = parsedate_to_datetime(site.client.get("/tasks").headers["date"])
    return abs(told.timestamp() - time.time()) > HOUR / 2


@pytest.mark.parametrize("seconds", [HOUR, -HOUR], ids=["ahead", "back"])
def test_a_clock_that_is_set_by_an_hour_makes_nothing_early_late_or_lost(
    seconds: int, tmp_path: Path, database_url: str, broker_url: str
) -> None:
    clock = JumpingClock(tmp_path)
    own = {"PENSTOCK_LEASE_SECONDS": LEASE_SECONDS, "PENSTOCK_WORKER_CONCURRENCY": 2, **clock.environment}
    with all_processes(tmp_path, database_url, broker_url, **own) as site:
        with ticking(site):
            long, early, far = site.submit("demo.sleep", seconds=LONG_SECONDS), later(site, 5), later(site, HOUR // 2)
            eventually(lambda: len(fired(site)) >= 3, LATE_SECONDS, "the schedule fires")
            clock.jump(seconds)
            eventually(lambda: is_off(site), LATE_SECONDS, "the clock has jumped")
            due = [early, later(site, 3)]
            settled(site.engine, [long, *due])
        instants, (now,) = fired(site), ask(site, "SELECT extract(epoch FROM clock_timestamp())::float")[0]

        for (wait,) in ask(site, WAITS, ids=due):
            assert 0 <= wait < LATE_SECONDS
        assert site.client.get(f"/jobs/{long}").json()["attempt"] == 1
        assert site.client.get(f"/jobs/{far}").json()["state"] == "scheduled"
        assert {after - before for before, after in pairwise(instants)} == {1.0}
        assert instants[-1] <= now < instants[-1] + LATE_SECONDS
