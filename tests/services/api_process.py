"""The API as a process of its own, and a worker beside it, on a database of their own."""

import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

import httpx
from sqlalchemy import Engine

from deploy.stack.child import Child
from deploy.stack.home import ROOT
from deploy.stack.ports import LOOPBACK, free_port
from jobs.database import transaction
from jobs.keys import create_key
from tests.services import plain
from tests.services.local_processes import surroundings

START_SECONDS: Final = 40.0
STOP_SECONDS: Final = 20.0


class ApiProcess:
    """`python -m api`; a restart keeps its address."""

    def __init__(
        self,
        home: Path,
        *,
        database_url: str,
        broker_url: str,
        port: int | None = None,
        environment: Mapping[str, object] | None = None,
        **own: object,
    ) -> None:
        """Describe the process; `own` are its settings, `environment` is as it stands."""
        self.port = port or free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.log = home / "api.log"
        surrounding = surroundings(
            DATABASE_URL=database_url,
            BROKER_URL=broker_url,
            PENSTOCK_API_HOST=LOOPBACK,
            PENSTOCK_API_PORT=self.port,
            **{f"PENSTOCK_{name.upper()}": value for name, value in own.items()},
            **(environment or {}),
        )
        self._child = Child("api", [sys.executable, "-m", "api"], environment=surrounding, log=self.log, directory=ROOT)

    @property
    def pid(self) -> int | None:
        """The process id while it runs, otherwise None."""
        return self._child.pid

    def start(self) -> Self:
        """Start, and return when it serves."""
        self._child.start()
        self._child.wait_until(self._answers, START_SECONDS)
        return self

    def _answers(self) -> bool:
        try:
            return plain.get(f"{self.url}/health", timeout=2.0, trust_env=False).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def __enter__(self) -> Self:
        """Start nothing yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing running."""
        self.stop()

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self._child.kill()

    def stop(self) -> bool:
        """Ask it to stop and return when it has; False: it had to be killed."""
        return self._child.end(signal.SIGTERM, STOP_SECONDS)


def new_key(engine: Engine, tenant: str = "default") -> str:
    """Return a key that opens the jobs of `tenant`."""
    with transaction(engine) as connection:
        return create_key(connection, name="test", tenant=tenant)
