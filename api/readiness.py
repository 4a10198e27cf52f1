"""Each dependency by its name."""

import time
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

from api.replica import Replica
from api.schemas import Dependency
from api.schemas import Readiness as View
from jobs import registry, schema
from jobs.database import reading
from jobs.errors import DatabaseUnavailable
from tasks.topology import connect

REMEMBERED_FOR: Final = 1.0
"""Seconds for which the broker is not asked again, so that probes cost it nothing."""


class Readiness:
    """Looks at PostgreSQL, its schema, its replica, the broker and the workers."""

    def __init__(
        self, engine: Engine, broker_url: str, broker_ca_file: Path | None = None, replica: Replica | None = None
    ) -> None:
        """Look at these."""
        self._engine = engine
        self._broker_url = broker_url
        self._broker_ca_file = broker_ca_file
        self._replica = replica
        self._broker = Dependency(ok=False, detail="not looked at yet")
        self._looked_at = float("-inf")
        self.is_leaving = False

    def leave(self) -> None:
        """Be not ready from now on: the process is about to stop."""
        self.is_leaving = True

    def look(self) -> View:
        """Return what is there now; ready means that jobs can be accepted."""
        database, schema, alive = self._look_at_database()
        dependencies = {
            "postgresql": database,
            "schema": schema,
            "broker": self._look_at_broker(),
            "accepting": self._accepting(),
            **self._replicas(),
        }
        ready = database.ok and schema.ok and not self.is_leaving
        return View(status="ready" if ready else "not_ready", dependencies=dependencies, workers_alive=alive)

    def silence(self) -> View:
        """Return what is known when looking took too long: something hangs on a connection that is open."""
        hangs = Dependency(ok=False, detail="does not answer in time")
        return View(
            status="not_ready",
            dependencies={
                "postgresql": hangs,
                "schema": hangs,
                "broker": self._broker,
                "accepting": self._accepting(),
                **self._replicas(),
            },
            workers_alive=None,
        )

    def _accepting(self) -> Dependency:
        return Dependency(ok=not self.is_leaving, detail="is stopping" if self.is_leaving else None)

    def _replicas(self) -> dict[str, Dependency]:
        return {"replica": self._replica.status()} if self._replica else {}

    def _look_at_database(self) -> tuple[Dependency, Dependency, int | None]:
        try:
            with reading(self._engine) as connection:
                is_read_only = schema.is_read_only(connection)
                found = schema.found_in(connection)
                alive = registry.count_alive(connection) if found else None
        except DatabaseUnavailable:
            return Dependency(ok=False, detail="does not answer"), Dependency(ok=False, detail="unknown"), None
        wrong = schema.wrong(found)
        database = Dependency(ok=not is_read_only, detail="is read-only, as a standby is" if is_read_only else None)
        return database, Dependency(ok=wrong is None, detail=wrong), alive

    def _look_at_broker(self) -> Dependency:
        now = time.monotonic()
        if now - self._looked_at < REMEMBERED_FOR:
            return self._broker
        options = {"socket_timeout": 2}
        broker = connect(self._broker_url, self._broker_ca_file, transport_options=options, connect_timeout=2)
        try:
            broker.connect()
            if self._broker_url.startswith("redis"):
                broker.default_channel  # noqa: B018 - Redis is asked at the first channel, not at connect
            self._broker = Dependency(ok=True)
        except Exception as error:  # noqa: BLE001 - each transport fails in its own ways, and all mean the same here
            self._broker = Dependency(ok=False, detail=f"does not answer ({type(error).__name__})")
        finally:
            broker.collect(socket_timeout=0.5)
        self._looked_at = now
        return self._broker
