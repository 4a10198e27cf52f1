"""A database, its processes, some of them armed, and what must be true of every job in the end."""

import itertools
import json
from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import httpx
from sqlalchemy import Engine, func, select

from jobs.database import reading
from jobs.model import JobId
from jobs.points import Action
from jobs.state import FINAL, JobState
from jobs.tables import jobs
from tests.chaos.checker import check_run
from tests.chaos.executions import FILE
from tests.chaos.history import Terms
from tests.chaos.ledger import Ledger
from tests.chaos.recorder import read_executions
from tests.integration.failpoints.client import Client
from tests.services.api_process import ApiProcess, new_key
from tests.services.local_processes import PATIENT, LocalProcess, surroundings
from tests.services.stack import eventually

T = TypeVar("T")

LANES: Final = tuple(f"lane-{number}" for number in range(40))
"""Queues for armed workers, each used once."""
QUEUES: Final = ("default", *LANES)
LEASE_SECONDS: Final = 2.0
SECONDS: Final = 40.0
"""How long anything may take on a slow machine."""
TRY_SECONDS: Final = 15.0
"""Longer than the API lets a request wait."""
TERMS: Final = Terms(drained=True, lease_seconds=LEASE_SECONDS, has_bugs=True)
TRIED: Final = ("acknowledged-kept", "attempts-numbered", "events-numbered", "one-completion", "one-key-one-job")
"""Invariants that each check must have tried on something."""

_READY: Final = {"worker": " ready.", "schedules": "beat: Starting..."}


@dataclass
class Site:
    """What one file of tests shares."""

    database_url: str
    broker_url: str
    engine: Engine
    home: Path
    names: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    lanes: Iterator[str] = field(default_factory=lambda: iter(LANES))
    started: list[LocalProcess | ApiProcess] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Open the ledger; no process runs yet."""
        self.key = new_key(self.engine)
        self.ledger = Ledger(self.home / "ledger")
        self.http = httpx.Client(timeout=TRY_SECONDS, trust_env=False)
        self.executions = self.home / "executions"
        self.executions.touch()

    # Its processes

    def api(self, **own: object) -> ApiProcess:
        """Start an API; `own` are its settings."""
        home = self.home / f"api-{next(self.names)}"
        home.mkdir()
        urls = {"database_url": self.database_url, "broker_url": self.broker_url}
        process = ApiProcess(home, **urls, **self._settings(), log_format="json", **own)  # type: ignore[arg-type]  # a dict of texts
        self.started.append(process)
        return process.start()

    def worker(self, queue: str, *, wait: bool = True, **own: object) -> LocalProcess:
        """Start a worker of `queue`, of one slot unless `own` says otherwise."""
        chosen = {"worker_queues": queue, "worker_concurrency": 1, "lease_seconds": LEASE_SECONDS}
        return self._start("worker", wait=wait, **chosen | {"drain_seconds": 1, "cancel_grace_seconds": 0.3} | own)

    def beat(self, *, wait: bool = True, **own: object) -> LocalProcess:
        """Start a beat with a quick pulse."""
        return self._start("schedules", wait=wait, **{"upkeep_seconds": 0.1, "stranded_seconds": 1} | own)

    def _start(self, module: str, *, wait: bool, **own: object) -> LocalProcess:
        name = f"{module}-{next(self.names)}"
        settings = {f"PENSTOCK_{key.upper()}": value for key, value in {**self._settings(), **own}.items()}
        environment = surroundings(
            DATABASE_URL=self.database_url,
            BROKER_URL=self.broker_url,
            PENSTOCK_NODE_NAME=f"{name}@test",
            PENSTOCK_LOG_FORMAT="json",
            **PATIENT | settings,
            **{FILE: self.executions},
        )
        log = self.home / f"{name}.log"
        process = LocalProcess(name, [module], environment=environment, log=log, prompt=_READY[module])
        self.started.append(process)
        process.start()
        if wait:
            process.ready()
        return process

    @staticmethod
    def _settings() -> dict[str, str]:
        return {"queues": ",".join(QUEUES), "task_modules": "tests.chaos.executions,tests.worker_tasks"}

    def close(self) -> None:
        """End all that was started."""
        for process in self.started:
            process.kill_all() if isinstance(process, LocalProcess) else process.kill()
        self.http.close()
        self.ledger.close()

    # What clients do

    def client(self, *apis: ApiProcess) -> Client:
        """Return a client who asks the first of `apis`, and the next when it is gone."""
        return Client(deque(api.url for api in apis), self.key, self.ledger, self.http)

    # What is waited for

    def until(self, ask: Callable[[], T], what: str) -> T:
        """Return the first true answer of `ask`."""
        return eventually(ask, SECONDS, what)

    def died(self, process: LocalProcess | ApiProcess) -> None:
        """Return when the process has ended."""
        self.until(lambda: not process.pid, f"{process.log.parent.name}/{process.log.name} ends")

    def begun(self) -> set[JobId]:
        """Return the jobs whose task was called."""
        return {execution.job_id for execution in read_executions(self.executions)}

    def all_well(
        self, ids: Collection[JobId], state: JobState = JobState.SUCCEEDED, *, tried: Collection[str] = TRIED
    ) -> None:
        """Assert that these jobs come to that end, and that all that is on record of this site is sound."""
        self.until(lambda: not self.unfinished(), "every job of the site ends")
        with reading(self.engine) as connection:
            ends = connection.execute(select(jobs.c.state, func.count()).where(jobs.c.id.in_(ids)).group_by("state"))
            assert [tuple(row) for row in ends] == [(state, len(ids))]
        report = check_run(self.database_url, ledger=self.home / "ledger", executions=self.executions, terms=TERMS)
        assert report.is_clean, "\n".join(map(str, report.violations[:10]))
        assert min(report.facts[name] for name in tried) > 0

    def unfinished(self, ids: Collection[JobId] | None = None) -> list[JobId]:
        """Return which of these jobs, or of all, have not come to an end."""
        query = select(jobs.c.id).where(jobs.c.state.not_in(sorted(FINAL)))
        with reading(self.engine) as connection:
            return list(connection.scalars(query if ids is None else query.where(jobs.c.id.in_(ids))))


def fired(*processes: LocalProcess | ApiProcess) -> list[tuple[str, Action]]:
    """Return what happened at fail-points, by the processes' own word."""
    lines = [line for process in processes for line in process.log.read_text(errors="replace").splitlines()]
    told = [json.loads(line) for line in lines if '"event":"fail_point"' in line]
    return [(line["point"], Action(line["action"])) for line in told]
