"""The disk of the logs is full: lines are lost, and nothing else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest
from sqlalchemy import Engine

from tests.services.api_process import ApiProcess, new_key
from tests.services.insistent import Insistent, settled
from tests.services.local_processes import LocalProcess, surroundings
from tests.services.processes import PROMPTS

FULL: Final = Path("/dev/full")
"""Has no room for a byte (full(4))."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder in which every log is full from the first byte on."""
    for name in ("api", *PROMPTS):
        (tmp_path / f"{name}.log").symlink_to(FULL)
    return tmp_path


@pytest.fixture
def others(home: Path, database_url: str, broker_url: str) -> Iterator[list[LocalProcess]]:
    environment = surroundings(DATABASE_URL=database_url, BROKER_URL=broker_url, PENSTOCK_LOG_FORMAT="json")
    made = [
        LocalProcess(module, [module], environment=environment, log=home / f"{module}.log", prompt=prompt)
        for module, prompt in PROMPTS.items()
    ]
    for process in made:
        process.start()
    yield made
    for process in made:
        process.teardown()


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_processes_that_can_write_no_log_go_on_with_their_work(
    home: Path, engine: Engine, database_url: str, broker_url: str, others: list[LocalProcess]
) -> None:
    headers = {"Authorization": f"Bearer {new_key(engine)}"}
    pids = [process.pid for process in others]

    with ApiProcess(home, database_url=database_url, broker_url=broker_url) as api:
        api.start()
        with httpx.Client(base_url=f"{api.url}/api/v1", headers=headers, verify=False, trust_env=False) as client:
            insistent = Insistent(client)
            with insistent.submitting():
                insistent.goes_on(20)
            refused = client.post("/jobs", json={"task": "nobody.knows"})
        settled(engine, insistent.ids)

    assert insistent.statuses == {202}
    assert refused.status_code == 422
    assert [process.pid for process in others] == pids
