"""Penstock as a running stack: its own processes, with their defaults but for what both sides are given."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil
from sqlalchemy import create_engine, make_url

from jobs.keys import create_key
from tests.bench.hammer import hammer
from tests.bench.options import Options
from tests.bench.processes import NeverHappenedError
from tests.bench.servers import PENSTOCK_PLACE, Servers
from tests.bench.stacks import NOOP, DrainStack, HttpStack, Watch

BATCH = 1000


class Penstock(HttpStack, DrainStack):
    """API, schedules and workers over HTTP, PostgreSQL and the broker."""

    name = "Penstock"
    ready_path = "/ready"
    extra: Mapping[str, str] = MappingProxyType({})
    """Settings beside the defaults, for the next start."""
    job: dict[str, Any] = NOOP
    """What `submit` submits."""
    _key = ""
    _rung = -1

    def __init__(self, servers: Servers, options: Options, home: Path, place: int = PENSTOCK_PLACE) -> None:
        """One in a `place` of its own, in the broker and in PostgreSQL; several may run."""
        super().__init__(servers, options, home / f"place{place}")
        self._place = place
        self._empty = f"penstock_empty{place}"

    @property
    def env(self) -> dict[str, str]:
        """The settings of each of its processes."""
        places = {"DATABASE_URL": self.database_url, "BROKER_URL": self.servers.broker_url(self._place)}
        return places | dict(self.extra)

    def reset(self) -> None:
        self.stop()
        self._rung = -1
        if not self._key:
            self.database_url = self.servers.recreate_database(self._empty)
            self.programs.run("migrations", "jobs.migrations", env=self.env, seconds=30)
            self._make_key()
        self.database_url = self.servers.recreate_database(f"penstock_bench{self._place}", self._empty)
        self.servers.empty_broker(self._place)

    def _make_key(self) -> None:
        engine = create_engine(make_url(self.database_url).set(drivername="postgresql+psycopg"))
        with engine.begin() as connection:
            self._key = create_key(connection, name="bench")
        engine.dispose()
        self.authorization = f"Bearer {self._key}"

    def start_api(self, *, beat: bool = True) -> None:
        """The API answers, and `schedules` runs as it does in every installation, unless it would disturb."""
        address = {"PENSTOCK_API_HOST": "127.0.0.1", "PENSTOCK_API_PORT": str(self.choose_port())}
        processes = {"PENSTOCK_API_PROCESSES": str(self.options.api_processes)}
        self.programs.start("api", "api", env=self.env | address | processes)
        if beat:
            self.programs.start("schedules", "schedules", env=self.env)
        self.wait_until_ready()

    def start_beat(self) -> psutil.Process:
        """A beat is starting, and nothing else of Penstock."""
        pid = self.programs.start("schedules", "schedules", env=self.env).pid
        if pid is None:
            raise NeverHappenedError("beat has ended")
        return psutil.Process(pid)

    def start_workers(self) -> None:
        for number in range(self.options.workers):
            own = {
                "PENSTOCK_NODE_NAME": f"worker{number}",
                "PENSTOCK_WORKER_CONCURRENCY": str(self.options.concurrency),
            }
            self.workers.append(self.programs.start(f"worker{number}", "worker", env=self.env | own))

    def start(self) -> None:
        self.start_api()
        self.start_workers()

    def started_at(self, job_id: str, connection: Watch) -> float | None:
        row = connection.execute(
            "SELECT extract(epoch FROM attempts.started_at) FROM attempts JOIN jobs ON jobs.id = attempts.job_id"
            " WHERE jobs.id = %s AND jobs.state = 'succeeded' AND attempts.number = 1",
            [job_id],
        ).fetchone()
        return float(row[0]) if row else None

    def submit(self, count: int) -> None:
        """Raises NeverHappenedError when a batch was refused."""
        for start in range(0, count, BATCH):
            size = min(BATCH, count - start)
            result = hammer(self.batch(size, self.job), connections=1, seconds=0, processes=1)
            if result.accepted != 1:
                raise NeverHappenedError("Penstock refused a batch")

    def is_filled(self) -> bool:
        before, self._rung = self._rung, int(self.ask("SELECT count(*) FROM jobs WHERE rung_at IS NOT NULL"))
        return before == self._rung

    def finished(self) -> int:
        return int(self.ask("SELECT count(*) FROM jobs WHERE state = 'succeeded'"))

    def last_finish(self) -> float:
        return float(self.ask("SELECT extract(epoch FROM max(finished_at)) FROM jobs"))

    def process(self, name: str) -> psutil.Process:
        """One of its programs."""
        return psutil.Process(self.programs.pid(name))

    def ask(self, question: str) -> Any:
        """The first field that the database answers with."""
        with self.watch() as connection:
            row = connection.execute(question).fetchone()
        return row[0] if row else 0
