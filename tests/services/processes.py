"""API, worker and beat as processes on a database and a broker, with whatever else is in their environment."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from sqlalchemy import Engine

from tests.services.api_process import ApiProcess, new_key
from tests.services.databases import connect_to
from tests.services.local_processes import PATIENT, LocalProcess, surroundings

PROMPTS = {"worker": " ready.", "schedules": "beat: Starting..."}


@dataclass
class Processes:
    """What runs, and somebody who may use it."""

    api: ApiProcess
    engine: Engine
    key: str
    client: httpx.Client
    home: Path
    """Where each writes its log."""
    worker: LocalProcess
    beat: LocalProcess

    def submit(self, task: str, *, priority: int = 5, **payload: object) -> str:
        """Return the id of a new job."""
        answer = self.client.post("/jobs", json={"task": task, "payload": payload, "priority": priority})
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        return str(answer.json()["id"])

    def logs(self) -> str:
        """Return all that they have written."""
        return "".join(path.read_text() for path in sorted(self.home.glob("*.log")))


@contextmanager
def all_processes(home: Path, database_url: str, broker_url: str, **own: object) -> Iterator[Processes]:
    """Run one of each for the block; `own` is in the environment of all of them."""
    everyone = PATIENT | {"PENSTOCK_TASK_MODULES": "tests.worker_tasks", "PENSTOCK_LOG_FORMAT": "json"} | own
    fast = {"PENSTOCK_DRAIN_SECONDS": 5, "PENSTOCK_UPKEEP_SECONDS": 0.1, "PENSTOCK_MISSED_AFTER_SECONDS": 60}
    environment = surroundings(DATABASE_URL=database_url, BROKER_URL=broker_url, **fast, **everyone)
    others = [
        LocalProcess(module, [module], environment=environment, log=home / f"{module}.log", prompt=prompt)
        for module, prompt in PROMPTS.items()
    ]
    api = ApiProcess(home, database_url=database_url, broker_url=broker_url, environment=everyone)
    engine = connect_to(database_url)
    try:
        key = new_key(engine)
        headers = {"Authorization": f"Bearer {key}"}
        for process in others:
            process.start()
        api.start()
        for process in others:
            process.ready()
        with httpx.Client(
            base_url=f"{api.url}/api/v1", headers=headers, timeout=60, verify=False, trust_env=False
        ) as client:
            yield Processes(api, engine, key, client, home, *others)
    finally:
        for process in others:
            process.teardown()
        api.stop()
        engine.dispose()
