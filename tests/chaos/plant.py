"""The whole system under test: PostgreSQL, a broker, two APIs, three workers, two beats, and a link between any two."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Self

import psycopg
from pydantic import SecretStr

from deploy.stack.child import end_together
from deploy.stack.ports import LOOPBACK
from deploy.stack.postgres import PostgresServer
from jobs.database import DatabaseSettings, open_engine, transaction
from jobs.keys import create_key
from jobs.migrations import upgrade
from tests.chaos import executions
from tests.chaos.brokers import kind_of
from tests.chaos.memory import MemoryBound, bound
from tests.chaos.options import Options
from tests.chaos.parts import MODULES, READY, STOP_SECONDS, Hold, Part
from tests.chaos.schedule import APIS, BEATS, BROKER, CLIENT, POSTGRES, WORKERS
from tests.services.ports import lasting_port
from tests.services.proxy import Proxy

SLOTS: Final = {"worker-1": 4, "worker-2": 3, "worker-3": 3}
GRACE_SECONDS: Final = 0.5
SETTINGS: Final[Mapping[str, str]] = {
    "PENSTOCK_DRAIN_SECONDS": "2",
    "PENSTOCK_CANCEL_GRACE_SECONDS": f"{GRACE_SECONDS:g}",
    "PENSTOCK_STRANDED_SECONDS": "5",
    "PENSTOCK_START_WAIT_SECONDS": "300",
    "PENSTOCK_LOG_FORMAT": "json",
    "PENSTOCK_TASK_MODULES": executions.__name__,
}
"""What differs from the defaults, the lease apart: shorter, so that a short run sees many recoveries; and a process may
start while a server is away."""


class Plant:
    """Everything that runs, all of it under `home`."""

    def __init__(self, home: Path, options: Options) -> None:
        """Start nothing yet."""
        self.home = home
        self.logs = home / "log"
        self._scratch = home / "tmp"
        self.ledger_file = home / "ledger.jsonl"
        self.executions_file = home / "executions.jsonl"
        self.postgres = PostgresServer(home / "postgres", lasting_port(), log=self.logs / "postgresql.log")
        self.broker = kind_of(options.broker)(home / "broker", lasting_port(), log=self.logs / "broker.log")
        self.holds = {BROKER: Hold(), POSTGRES: Hold()}
        self.parts: dict[str, Part] = {}
        self.memory: dict[str, MemoryBound] = {}
        self.key = ""
        self._options = options
        self._open = ExitStack()

    def start(self) -> Self:
        """Return when everything is ready."""
        self.logs.mkdir()
        self._scratch.mkdir()
        self.executions_file.touch()
        for server in (self.postgres, self.broker):
            self._open.callback(server.destroy)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda server: server.start(), (self.postgres, self.broker)))
        self._prepare()
        self.parts = {name: self._part(name) for name in (*APIS, *WORKERS, *BEATS)}
        self._open.callback(self.stop_parts)
        for part in self.parts.values():
            part.start()
        for part in self.parts.values():
            part.wait_until_ready()
        return self

    def _prepare(self) -> None:
        settings = DatabaseSettings(database_url=SecretStr(self.postgres.url), database_acquire_timeout_seconds=10)
        engine = open_engine(settings, application_name="chaos-prepare")
        try:
            upgrade(engine)
            with transaction(engine) as connection:
                self.key = create_key(connection, name="chaos")
        finally:
            engine.dispose()

    def _part(self, name: str) -> Part:
        role = name.partition("-")[0]
        links = {POSTGRES: self._link(self.postgres.port), BROKER: self._link(self.broker.port)}
        own: dict[str, Any] = {"PENSTOCK_NODE_NAME": f"{name}@chaos"}
        port = None
        if role == "api":
            port = lasting_port()
            links[CLIENT] = self._link(port)
            own = {"PENSTOCK_API_HOST": LOOPBACK, "PENSTOCK_API_PORT": str(port)}
        if role == "worker":
            own["PENSTOCK_WORKER_CONCURRENCY"] = str(SLOTS[name])
        surroundings = {
            **SETTINGS,
            **own,
            "PENSTOCK_LEASE_SECONDS": f"{self._options.lease_seconds:g}",
            "DATABASE_URL": links[POSTGRES].through(self.postgres.url),
            "BROKER_URL": links[BROKER].through(self.broker.url),
            executions.FILE: str(self.executions_file),
            "TMPDIR": str(self._scratch),  # a process that is killed leaves its temporary files
        }
        return Part(
            name=name,
            command=[MODULES[role]],
            environment=surroundings,
            log=self.logs / f"{name}.log",
            prompt=READY[role],
            links=links,
            port=port,
            adopt=self._bound(name).adopt if role == "worker" else lambda _pid: None,
        )

    def _bound(self, name: str) -> MemoryBound:
        """Return a bound on the memory of this worker and its children together."""
        made = self.memory[name] = bound(f"{self._options.broker}-{name}")
        self._open.callback(made.close)
        return made

    def _link(self, port: int) -> Proxy:
        return self._open.enter_context(Proxy(LOOPBACK, port))

    @property
    def lease_seconds(self) -> float:
        """The lease of the workers."""
        return self._options.lease_seconds

    @property
    def api_urls(self) -> dict[str, str]:
        """Where clients reach each API: through its link."""
        return {name: f"http://{LOOPBACK}:{self.parts[name].links[CLIENT].port}" for name in APIS}

    def hold_of(self, target: str) -> Hold:
        """Return what a fault at `target` must have hold of."""
        return self.parts.get(target) or self.holds[target]

    def stop_parts(self) -> bool:
        """End all of Penstock's processes in good order; the servers stay. False: some had to be killed."""
        return end_together([part.child for part in self.parts.values()], STOP_SECONDS)

    def versions(self) -> dict[str, str]:
        """Return what the servers are; PostgreSQL must run."""
        with psycopg.connect(self.postgres.url) as connection:
            row = connection.execute("SHOW server_version").fetchone()
        return {"postgresql": str(row[0]) if row else "unknown", self._options.broker: self.broker.version()}

    def kill(self) -> None:
        """Kill everything at once."""
        for part in self.parts.values():
            part.kill()
        self.postgres.kill()
        self.broker.kill()

    def close(self) -> None:
        """End everything."""
        self._open.close()
