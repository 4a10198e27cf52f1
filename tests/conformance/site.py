"""A site with default settings on a broker of its own: API, beat and workers behind proxies, and people who submit."""

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import psutil
from kombu import Connection
from sqlalchemy import Engine, text

from jobs.database import reading
from tasks.topology import depth, transport_options
from tests.chaos.brokers import ChaosRabbit, ChaosValkey
from tests.services.api_process import ApiProcess, new_key
from tests.services.databases import lasting
from tests.services.local_processes import LocalProcess, surroundings
from tests.services.proxy import Proxy
from tests.services.stack import eventually

ROLES: Final = ("api", "worker", "beat")
WORKERS: Final = 2
FINISH_SECONDS: Final = 120.0

Server = ChaosRabbit | ChaosValkey


class Site:
    """All processes of an installation, each role reaching the broker through a proxy of its own."""

    def __init__(self, server: Server, database_url: str, home: Path) -> None:
        """Start nothing yet."""
        self.server = server
        self.engine: Engine = lasting(database_url)
        self.key = new_key(self.engine)
        self.proxies = {role: Proxy("127.0.0.1", server.port) for role in ROLES}
        self._database_url = database_url
        self._home = home
        self._processes: list[LocalProcess] = []

    @contextmanager
    def open(self) -> Iterator["Site"]:
        """Run everything for the block."""
        for proxy in self.proxies.values():
            proxy.__enter__()
        self.api = ApiProcess(self._home, database_url=self._database_url, broker_url=self._url("api"))
        try:
            for number in range(WORKERS):
                self._start(f"worker-{number}", "worker", " ready.", "worker")
            self._start("beat", "schedules", "beat: Starting...", "beat")
            self.api.start()
            yield self
        finally:
            self.api.stop()
            for process in self._processes:
                process.teardown()
            for proxy in self.proxies.values():
                proxy.__exit__()
            self.engine.dispose()

    def _url(self, role: str) -> str:
        return self.proxies[role].through(self.server.url)

    def _start(self, name: str, module: str, prompt: str, role: str) -> None:
        environment = surroundings(
            DATABASE_URL=self._database_url,
            BROKER_URL=self._url(role),
            PENSTOCK_LOG_FORMAT="json",
            PENSTOCK_NODE_NAME=name,
        )
        log = self._home / f"{name}.log"
        process = LocalProcess(name, [module], environment=environment, log=log, prompt=prompt)
        self._processes.append(process)
        process.start()
        process.ready()

    # What is asked of it

    def pids(self) -> list[int]:
        """The processes that must live through everything."""
        return [self.api.pid or 0, *(process.pid for process in self._processes)]

    def api_bytes(self) -> int:
        """Return how much memory the API holds."""
        return int(psutil.Process(self.api.pid).memory_info().rss)

    def submit(self, task: str, **wishes: Any) -> str:
        """Submit one job and return its id."""
        with self.client() as client:
            answer = client.post("/api/v1/jobs", json={"task": task, **wishes})
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        job_id: str = answer.json()["id"]
        return job_id

    def submit_batch(self, count: int, task: str, **payload: Any) -> list[str]:
        """Submit so many jobs in one request and return their ids."""
        with self.client() as client:
            answer = client.post("/api/v1/jobs/batch", json={"jobs": [{"task": task, "payload": payload}] * count})
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        ids: list[str] = answer.json()["ids"]
        return ids

    def client(self) -> httpx.Client:
        """Return somebody who may submit."""
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.Client(base_url=self.api.url, headers=headers, timeout=30, verify=False, trust_env=False)

    def ask(self, query: str, **values: Any) -> list[Any]:
        """Read by SQL."""
        with reading(self.engine) as connection:
            return list(connection.execute(text(query), values).all())

    def depth(self) -> int:
        """Return how many doorbells wait in the broker."""
        options = transport_options(self.server.url)
        with Connection(self.server.url, transport_options=options) as connection:
            return depth(connection, "default")

    def now(self) -> Any:
        """Return the instant by the clock that all instants are of."""
        return self.ask("SELECT clock_timestamp()")[0][0]

    def finished(self, ids: Sequence[str], seconds: float = FINISH_SECONDS) -> None:
        """Return when these jobs have succeeded, each at its first attempt and in no other."""

        def left() -> int:
            query = "SELECT count(*) FROM jobs WHERE id = ANY(CAST(:ids AS uuid[])) AND state = 'succeeded'"
            return len(set(ids)) - int(self.ask(query, ids=list(ids))[0][0])

        eventually(lambda: left() == 0, seconds, f"{len(ids)} jobs have succeeded")
        tries = """
            SELECT job_id, number, worker, outcome, error, started_at, finished_at FROM attempts
            WHERE job_id = ANY(CAST(:ids AS uuid[])) ORDER BY number DESC
        """
        ran = self.ask(tries, ids=list(ids))
        assert len(ran) == len(set(ids)), f"each ran once: {ran[:5]}"

    def running(self, job_id: str) -> None:
        """Return when an attempt at the job has begun."""
        query = "SELECT count(*) FROM attempts WHERE job_id = CAST(:id AS uuid)"
        eventually(lambda: self.ask(query, id=job_id)[0][0], 30, "the job runs")

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Hold the broker still for the block: it takes connections and says nothing."""
        pid = self.server.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)


@dataclass
class Crowd:
    """Clients that submit, one job after another, and what they were told."""

    site: Site
    rate: float = 40.0
    seconds: list[float] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    statuses: set[int] = field(default_factory=set)

    @contextmanager
    def submitting(self, task: str = "demo.noop", **payload: Any) -> Iterator["Crowd"]:
        """Submit for as long as the block takes."""
        over = threading.Event()
        threads = [threading.Thread(target=self._run, args=(over, task, payload)) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            over.set()
            for thread in threads:
                thread.join(60)

    def _run(self, over: threading.Event, task: str, payload: dict[str, Any]) -> None:
        with self.site.client() as client:
            while not over.wait(2 / self.rate):
                began = time.monotonic()
                answer = client.post("/api/v1/jobs", json={"task": task, "payload": payload})
                self.seconds.append(time.monotonic() - began)
                self.statuses.add(answer.status_code)
                if answer.status_code == httpx.codes.ACCEPTED:
                    self.ids.append(answer.json()["id"])

    def goes_on(self, count: int) -> None:
        """Return when so many more jobs were accepted."""
        wanted = len(self.ids) + count
        eventually(lambda: len(self.ids) >= wanted, 120, f"{count} more jobs are accepted")

    @property
    def median(self) -> float:
        """Return how long half of the answers took at the most."""
        return sorted(self.seconds)[len(self.seconds) // 2]
