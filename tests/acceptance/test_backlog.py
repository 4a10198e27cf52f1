"""A backlog stays in PostgreSQL: in order, behind a window of doorbells, and up to a stated limit."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from kombu import Connection
from sqlalchemy import Engine

from tasks.topology import depth, transport_options
from tests.services import plain
from tests.services.api_process import ApiProcess, new_key
from tests.services.backlog import PRIORITIES, fill
from tests.services.brokers import each_broker
from tests.services.local_processes import LocalProcess, surroundings
from tests.services.stack import eventually

JOBS = 3000
WINDOW = 200
LIMIT = 30
DRAIN_SECONDS = 240.0

Run = Callable[..., LocalProcess]


@pytest.fixture
def run(database_url: str, broker_url: str, tmp_path: Path) -> Iterator[Run]:
    """Starts a process with a small window; all end with the test."""
    started: list[LocalProcess] = []

    def start(module: str, prompt: str, **own: object) -> LocalProcess:
        settings = {f"PENSTOCK_{name.upper()}": value for name, value in {"doorbell_window": WINDOW, **own}.items()}
        environment = surroundings(DATABASE_URL=database_url, BROKER_URL=broker_url, **settings)
        name = f"{module}-{len(started)}"
        process = LocalProcess(name, [module], environment=environment, log=tmp_path / f"{name}.log", prompt=prompt)
        started.append(process)
        process.start()
        process.ready()
        return process

    yield start
    for process in started:
        process.teardown()


def ask(url: str, query: str) -> Any:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(query).fetchall()  # type: ignore[arg-type]  # psycopg wants literals; these are


def held(url: str) -> int:
    with Connection(url, transport_options=transport_options(url)) as connection:
        return depth(connection, "default")


def submit(api: ApiProcess, key: str, **wishes: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"}
    body = {"task": "demo.noop", **wishes}
    return plain.post(f"{api.url}/api/v1/jobs", json=body, headers=headers, timeout=30, trust_env=False)


@each_broker
def test_a_backlog_goes_out_in_order_through_a_small_window_and_an_urgent_job_passes_it(
    run: Run, engine: Engine, database_url: str, broker_url: str, tmp_path: Path
) -> None:
    key = new_key(engine)
    fill(database_url, JOBS)
    run("schedules", "beat: Starting...")
    eventually(lambda: held(broker_url) >= WINDOW * len(PRIORITIES), 60, "the windows are full")
    assert held(broker_url) == WINDOW * len(PRIORITIES)

    with ApiProcess(tmp_path, database_url=database_url, broker_url=broker_url, doorbell_window=WINDOW) as api:
        api.start()
        for number in range(2):
            run("worker", " ready.", node_name=f"worker-{number}")
        done = "SELECT count(*) FROM jobs WHERE state = 'succeeded'"
        eventually(lambda: ask(database_url, done)[0][0] > JOBS / 10, DRAIN_SECONDS, "a part of it has run")
        urgent = submit(api, key, priority=9).json()["id"]
        depths = []

        def drained() -> bool:
            depths.append(held(broker_url))
            return bool(ask(database_url, done)[0][0] == JOBS + 1)

        eventually(drained, DRAIN_SECONDS, "all of it has run")

    assert max(depths) <= 2 * WINDOW * len(PRIORITIES)
    assert ask(database_url, "SELECT max(number) FROM attempts") == [(1,)]
    passed = "SELECT count(*) FROM jobs, jobs AS urgent WHERE urgent.id = '{}' AND jobs.started_at > urgent.started_at"
    assert ask(database_url, passed.format(urgent))[0][0] > JOBS / 4
    order = ask(
        database_url, "SELECT priority FROM jobs WHERE priority < 9 GROUP BY 1 ORDER BY avg(started_at - created_at)"
    )
    assert [priority for (priority,) in order] == sorted(PRIORITIES, reverse=True)


def test_beyond_the_limit_a_client_is_told_when_to_come_back_and_is_welcome_again_when_there_is_room(
    engine: Engine, database_url: str, broker_url: str, tmp_path: Path, run: Run
) -> None:
    key = new_key(engine)
    own = {"doorbell_window": 5, "backlog_limit": LIMIT}
    with ApiProcess(tmp_path, database_url=database_url, broker_url=broker_url, **own) as api:
        api.start()

        def refused() -> httpx.Response | None:
            answer = submit(api, key)
            assert answer.status_code in {202, 503}
            return answer if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE else None

        answer = eventually(refused, 60, "the backlog is full")
        assert answer is not None
        assert answer.json()["type"] == "/problems/backlog-full"
        assert int(answer.headers["Retry-After"]) >= 1
        stored = ask(database_url, "SELECT count(*) FROM jobs")[0][0]
        assert stored >= LIMIT
        assert submit(api, key).status_code == 503
        assert ask(database_url, "SELECT count(*) FROM jobs")[0][0] == stored, "nothing of it was stored"

        run("schedules", "beat: Starting...")
        run("worker", " ready.")
        eventually(lambda: submit(api, key).status_code == 202, 60, "there is room again")
