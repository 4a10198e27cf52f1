"""What the measures ask of a stack, so that each measure is written once for both sides."""

import json
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import psycopg

from deploy.stack.child import Child
from deploy.stack.ports import free_port
from tests.bench.hammer import Target
from tests.bench.options import Options
from tests.bench.processes import Programs, wait_until
from tests.bench.servers import Servers

START_SECONDS = 40.0

# Intake is measured with 200 bytes of payload; what waits in a queue, and what is timed, does nothing at all.
ECHO: dict[str, Any] = {"task": "demo.echo", "payload": {"message": "x" * 200}}
NOOP: dict[str, Any] = {"task": "demo.noop", "payload": {}}
Watch = psycopg.Connection[tuple[Any, ...]]


class Stack(ABC):
    """One side of a measure. Between `reset` and `stop` its programs may run; `reset` forgets all jobs."""

    name: ClassVar[str]

    def __init__(self, servers: Servers, options: Options, home: Path) -> None:
        self.servers = servers
        self.options = options
        self.folder = home / self.name.replace(" ", "-")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.programs = Programs(self.folder)
        self.workers: list[Child] = []

    @abstractmethod
    def reset(self) -> None:
        """Nothing of it runs, its database is new and its queues are empty."""

    @abstractmethod
    def start_workers(self) -> None:
        """`options.workers` Celery workers with `options.concurrency` prefork children each are starting."""

    def stop(self) -> None:
        """All its programs have ended."""
        self.workers.clear()
        self.programs.stop()

    def celery_workers(self, app: str, queue: str, env: dict[str, str]) -> None:
        """Plain Celery workers, with what its guide leaves to choose set for speed: no gossip, mingle or events."""
        for number in range(self.options.workers):
            arguments = ["celery", "-A", app, "worker", "-P", "prefork", "-c", str(self.options.concurrency)]
            arguments += ["-Q", queue, "-n", f"worker{number}@%h", "--without-gossip", "--without-mingle"]
            self.workers.append(self.programs.start(f"worker{number}", *arguments, env=env))


class HttpStack(Stack):
    """A stack that takes jobs over HTTP and keeps them in a table `jobs`."""

    ready_path: ClassVar[str]
    authorization = ""
    port = 0
    database_url = ""

    @abstractmethod
    def start_api(self) -> None:
        """`options.api_processes` API processes answer on `port`."""

    @abstractmethod
    def started_at(self, job_id: str, connection: Watch) -> float | None:
        """When the job's attempt began, as a Unix time; None before it has finished."""

    def watch(self) -> Watch:
        """A connection to the stack's database, for looking at what its programs do."""
        return psycopg.connect(self.database_url, autocommit=True)

    def rows(self) -> int:
        """How many jobs are stored."""
        with self.watch() as connection:
            row = connection.execute("SELECT count(*) FROM jobs").fetchone()
        return int(row[0]) if row else 0

    def one(self, job: dict[str, Any]) -> Target:
        """The request that submits `job`."""
        return Target(self.port, "/api/v1/jobs", json.dumps(job).encode(), self.authorization)

    def batch(self, size: int, job: dict[str, Any]) -> Target:
        """The request that submits `job` `size` times."""
        body = json.dumps({"jobs": [job] * size}, separators=(",", ":")).encode()
        return Target(self.port, "/api/v1/jobs/batch", body, self.authorization)

    def wait_until_ready(self) -> None:
        """The API answers on `port`; a free port has been chosen by then."""
        url = f"http://127.0.0.1:{self.port}{self.ready_path}"
        wait_until(lambda: _answers(url), seconds=START_SECONDS, what=f"{self.name}: {url}", check=self.programs.check)

    def choose_port(self) -> int:
        self.port = free_port()
        return self.port


class DrainStack(Stack):
    """A stack that can be given many jobs and asked how many it has finished."""

    @abstractmethod
    def start(self) -> None:
        """All that it needs to take and run jobs is starting, its workers among it."""

    @abstractmethod
    def submit(self, count: int) -> None:
        """`count` more no-op jobs were accepted."""

    @abstractmethod
    def is_filled(self) -> bool:
        """What was submitted has come to rest: nothing more moves into the broker while the workers stand still."""

    @abstractmethod
    def finished(self) -> int:
        """How many jobs have succeeded and have their result stored."""

    @abstractmethod
    def last_finish(self) -> float:
        """When the last job finished, as a Unix time, from the stored results."""


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
