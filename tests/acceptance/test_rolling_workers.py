"""Every process is restarted in turn under load: nothing is lost or done twice, and nobody waits for a lease."""

import itertools
import statistics
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from sqlalchemy import Engine, RowMapping, text

from jobs.database import reading
from tests.services import plain
from tests.services.api_process import ApiProcess, new_key
from tests.services.brokers import each_broker
from tests.services.databases import connect_to
from tests.services.local_processes import LocalProcess, surroundings
from tests.services.stack import eventually

CLIENTS: Final = 4
PAUSE_SECONDS: Final = 0.05
"""Between two jobs of one client."""
DRAIN_SECONDS: Final = 2
LONG_SECONDS: Final = 18
"""How long a job takes that is to be given back, and may end by itself on a worker that is not restarted any more."""
FRESH_SECONDS: Final = 4
"""For how long a long job counts on being given back: far from its end, however slowly its worker is told to stop."""
FINISH_SECONDS: Final = 90.0
SOON_SECONDS: Final = 2.0
"""In which the middle one of the jobs that were given back is started again."""
LONGEST_SECONDS: Final = 12.0
"""For the slowest start of all, on a machine that is busy otherwise; far less than the lease of 30 s."""


class House:
    """Two APIs, three workers and two beats on one database and one broker."""

    def __init__(self, home: Path, database_url: str, broker_url: str, running: ExitStack) -> None:
        self._urls = {"database_url": database_url, "broker_url": broker_url}
        self._home = home
        self.workers = [self._started(f"worker-{n}", "worker", " ready.", running) for n in range(3)]
        self.beats = [self._started(f"beat-{n}", "schedules", "beat: Starting...", running) for n in range(2)]
        self.apis = [self._api(home / f"api-{n}", running) for n in range(2)]

    def _started(self, name: str, module: str, prompt: str, running: ExitStack) -> LocalProcess:
        own = {
            "DATABASE_URL": self._urls["database_url"],
            "BROKER_URL": self._urls["broker_url"],
            "PENSTOCK_TASK_MODULES": "tests.worker_tasks",
            "PENSTOCK_NODE_NAME": f"{name}@house",
            "PENSTOCK_WORKER_CONCURRENCY": 4,
            "PENSTOCK_DRAIN_SECONDS": DRAIN_SECONDS,
            "PENSTOCK_LOG_FORMAT": "json",
        }
        log = self._home / f"{name}.log"
        process = LocalProcess(name, [module], environment=surroundings(**own), log=log, prompt=prompt)
        running.callback(process.teardown)
        process.start()
        process.ready()
        return process

    def _api(self, home: Path, running: ExitStack) -> ApiProcess:
        home.mkdir()
        api = ApiProcess(home, **self._urls, task_modules="tests.worker_tasks")
        return running.enter_context(api).start()


class Clients:
    """Submit steadily, each job under a key of its own; who gets no answer asks the other API with the same key."""

    def __init__(self, house: House, key: str) -> None:
        self._urls = [api.url for api in house.apis]
        self._headers = {"Authorization": f"Bearer {key}"}
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._live) for _ in range(CLIENTS)]
        self.accepted: list[uuid.UUID] = []
        self.refusals: list[str] = []

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(FINISH_SECONDS)

    def _live(self) -> None:
        while not self._over.wait(PAUSE_SECONDS):
            self.submit("probe.naps", seconds=0.02)

    def submit(self, task: str, **payload: Any) -> uuid.UUID:
        """Submit until acknowledged, and return the job's id."""
        headers = {**self._headers, "Idempotency-Key": uuid.uuid4().hex}
        urls = itertools.cycle(self._urls)

        def ask() -> uuid.UUID | None:
            try:
                url = f"{next(urls)}/api/v1/jobs"
                answer = plain.post(url, json={"task": task, "payload": payload}, headers=headers, timeout=20)
            except httpx.TransportError:
                return None
            if answer.status_code == httpx.codes.ACCEPTED:
                return uuid.UUID(answer.json()["id"])
            self.refusals.append(f"{answer.status_code} {answer.text}")
            return None

        job_id = eventually(ask, FINISH_SECONDS, "the job is acknowledged")
        assert job_id is not None
        self.accepted.append(job_id)
        return job_id

    def goes_on(self) -> None:
        """Return when some more was acknowledged."""
        enough = len(self.accepted) + 10 * CLIENTS
        eventually(lambda: len(self.accepted) >= enough, FINISH_SECONDS, "clients are served")


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """A way to the database that is no process's of the house."""
    opened = connect_to(database_url)
    yield opened
    opened.dispose()


def ask(engine: Engine, query: str, **values: Any) -> list[RowMapping]:
    with reading(engine) as connection:
        return list(connection.execute(text(query).bindparams(**values)).mappings())


def busy(engine: Engine, clients: Clients, worker: LocalProcess) -> Callable[[], None]:
    """Return what restarts the worker while it runs a job that it must give back."""
    started = "SELECT 1 FROM jobs WHERE id = :id AND state <> 'queued'"
    running = (
        "SELECT 1 FROM jobs WHERE task = 'probe.long_first' AND state = 'running' AND worker LIKE :name"
        " AND started_at > clock_timestamp() - make_interval(secs => :fresh)"
    )

    def restart() -> None:
        for _ in range(40):
            if ask(engine, running, name=f"{worker.name}.%", fresh=FRESH_SECONDS):
                break
            job_id = clients.submit("probe.long_first", seconds=LONG_SECONDS)
            eventually(lambda job_id=job_id: ask(engine, started, id=job_id), 30, "the long job has begun")  # type: ignore[misc]  # binds the loop's value
        worker.restart()

    return restart


def anew(api: ApiProcess) -> Callable[[], None]:
    """Return what restarts the API."""

    def restart() -> None:
        assert api.stop()
        api.start()

    return restart


@each_broker
def test_every_process_is_restarted_in_turn_under_load(
    database_url: str, broker_url: str, tmp_path: Path, engine: Engine
) -> None:
    with ExitStack() as running:
        house = House(tmp_path, database_url, broker_url, running)
        with Clients(house, new_key(engine)) as clients:
            workers = [busy(engine, clients, worker) for worker in house.workers]
            beats = [beat.restart for beat in house.beats]
            apis = [anew(api) for api in house.apis]
            for restart in (workers[0], apis[0], beats[0], workers[1], apis[1], beats[1], workers[2]):
                clients.goes_on()
                restart()
            clients.goes_on()
        left = "SELECT id, state FROM jobs WHERE finished_at IS NULL LIMIT 5"
        eventually(lambda: not ask(engine, left), FINISH_SECONDS, "every job is final")
        logs = "".join(process.logs() for process in (*house.workers, *house.beats))

    assert clients.refusals == [], "one API was always up, and had time for this load"
    _verify_once(engine, clients)
    _verify_soon(engine)
    assert "Traceback" not in logs
    assert "attempt_fenced" not in logs


def _verify_once(engine: Engine, clients: Clients) -> None:
    """Nothing is lost, nothing is there that nobody asked for, and each job was accepted as done once."""
    rows = ask(engine, "SELECT id, state, error_count + crash_count AS harm FROM jobs")
    assert {row["id"] for row in rows} == set(clients.accepted)
    assert len(rows) == len(clients.accepted)
    assert {(row["state"], row["harm"]) for row in rows} == {("succeeded", 0)}
    counts = ask(
        engine,
        "SELECT count(*) FILTER (WHERE outcome = 'succeeded') AS accepted, count(*) - max(number) AS gap,"
        " count(*) FILTER (WHERE outcome NOT IN ('succeeded', 'interrupted')) AS others FROM attempts GROUP BY job_id",
    )
    assert {(row["accepted"], row["gap"], row["others"]) for row in counts} == {(1, 0, 0)}


def _verify_soon(engine: Engine) -> None:
    """What was given back was started again soon, and no first start was late."""
    given_back = [
        row["seconds"]
        for row in ask(
            engine,
            "SELECT extract(epoch FROM later.started_at - earlier.finished_at)::float AS seconds FROM attempts earlier"
            " JOIN attempts later ON later.job_id = earlier.job_id AND later.number = earlier.number + 1",
        )
    ]
    first = "SELECT max(extract(epoch FROM a.started_at - j.created_at))::float AS seconds"
    (latest,) = ask(engine, f"{first} FROM jobs j JOIN attempts a ON a.job_id = j.id AND a.number = 1")
    assert len(given_back) >= 3, "each worker had a job to give back"
    assert statistics.median(given_back) < SOON_SECONDS, sorted(given_back)
    assert max(given_back) < LONGEST_SECONDS
    assert latest["seconds"] < LONGEST_SECONDS
