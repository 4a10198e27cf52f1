"""The system that is lost and restored: PostgreSQL with an archive, a broker, an API, two workers and a beat."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

from deploy.stack.child import end_together
from deploy.stack.ports import LOOPBACK
from jobs.database import transaction
from jobs.keys import create_key
from jobs.migrations import upgrade
from tests.chaos import executions
from tests.chaos.brokers import doorbells, kind_of
from tests.chaos.parts import MODULES, READY, STOP_SECONDS, Part
from tests.chaos.plant import SETTINGS
from tests.drill.archive import ArchivingPostgres
from tests.services.databases import connect_to
from tests.services.ports import lasting_port

LEASE_SECONDS: Final = 6.0
SLOTS: Final = 3
NAMES: Final = ("api-1", "worker-1", "worker-2", "beat-1")


class Site:
    """Everything that runs, all of it under `home`."""

    def __init__(self, home: Path, broker: str) -> None:
        """Start nothing yet."""
        self.home = home
        self.logs = home / "log"
        self.executions_file = home / "executions.jsonl"
        self.postgres = ArchivingPostgres(home / "postgres", lasting_port(), log=self.logs / "postgresql.log")
        self.broker = kind_of(broker)(home / "broker", lasting_port(), log=self.logs / "broker.log")
        self.parts: dict[str, Part] = {}
        self.key = ""
        self._api_port = lasting_port()

    @property
    def api_url(self) -> str:
        """Where the API answers."""
        return f"http://{LOOPBACK}:{self._api_port}"

    def start(self) -> None:
        """Return when everything is ready."""
        self.logs.mkdir()
        (self.home / "tmp").mkdir()
        self.executions_file.touch()
        self.postgres.start()
        self.broker.start()
        with self.engine() as engine:
            upgrade(engine)
            with transaction(engine) as connection:
                self.key = create_key(connection, name="drill")
        self.parts = {name: self._part(name) for name in NAMES}
        self.begin(list(self.parts))

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        """Give a way to the database for the block."""
        engine = connect_to(self.postgres.url, pool_size=1)
        try:
            yield engine
        finally:
            engine.dispose()

    def _part(self, name: str) -> Part:
        role = name.partition("-")[0]
        surroundings = {
            **SETTINGS,
            "PENSTOCK_NODE_NAME": f"{name}@drill",
            "PENSTOCK_API_HOST": LOOPBACK,
            "PENSTOCK_API_PORT": str(self._api_port),
            "PENSTOCK_WORKER_CONCURRENCY": str(SLOTS),
            "PENSTOCK_LEASE_SECONDS": f"{LEASE_SECONDS:g}",
            "DATABASE_URL": self.postgres.url,
            "BROKER_URL": self.broker.url,
            executions.FILE: str(self.executions_file),
            "TMPDIR": str(self.home / "tmp"),
        }
        return Part(name, [MODULES[role]], surroundings, self.logs / f"{name}.log", READY[role])

    def begin(self, names: Sequence[str]) -> None:
        """Start these processes, and return when they are ready."""
        for name in names:
            self.parts[name].start()
        for name in names:
            self.parts[name].wait_until_ready()

    def lose(self) -> None:
        """Have everything die at once, and nothing be left of the database's folder and of the broker's."""
        for server in (self.postgres, self.broker):
            server.kill()
        for part in self.parts.values():
            part.kill()
        self.postgres.lose()
        shutil.rmtree(self.broker.data)

    def doorbells(self) -> int:
        """Return how many doorbells wait in the broker."""
        return doorbells(self.broker.url)

    def stop_parts(self) -> bool:
        """End all of Penstock's processes in good order. False: some had to be killed."""
        return end_together([part.child for part in self.parts.values()], STOP_SECONDS)

    def close(self) -> None:
        """End everything."""
        for part in self.parts.values():
            part.kill()
        self.broker.destroy()
        self.postgres.destroy()
