"""The OpenAPI document is true: schemathesis sends what it allows and what it does not, and checks each answer."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from jobs.tables import jobs
from tests import factories
from tests.integration.jobs import scenes
from tests.services.api import Api, running_api

CONFIG = Path(__file__).with_name("schemathesis.toml")
SECONDS = 240


@pytest.fixture
def patient_api(database_url: str, broker_url: str) -> Iterator[Api]:
    """An API whose readers are not left to wait for long."""
    with running_api(database_url, broker_url, long_poll_limit_seconds=1) as api:
        yield api


@pytest.fixture
def mishaps(patient_api: Api) -> Iterator[None]:
    """Have some jobs fail all the time, so that there are dead letters to act on."""
    over = threading.Event()

    def fail_some() -> None:
        while not over.wait(0.05):
            with patient_api.engine.connect() as connection:
                query = select(jobs.c.id).where(jobs.c.state == "queued", jobs.c.task != "demo.echo").limit(5)
                some = connection.scalars(query.order_by(jobs.c.id.desc())).all()
            for attempt in scenes.start(patient_api.engine, *some):
                scenes.end(patient_api.engine, attempt, factories.failure())

    thread = threading.Thread(target=fail_some)
    thread.start()
    yield
    over.set()
    thread.join()


@pytest.mark.usefixtures("mishaps")
def test_the_api_does_what_its_document_says(patient_api: Api, tmp_path: Path) -> None:
    run = subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG),
            "run", f"{patient_api.url}/openapi.json",
            "--phases", "examples,coverage,fuzzing,stateful", "--checks", "all", "--max-examples", "20",
            "--generation-deterministic", "--no-shrink", "--suppress-health-check", "all",
        ],
        env={**os.environ, "PENSTOCK_TEST_KEY": patient_api.person().key},
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=SECONDS,
    )  # fmt: skip

    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-2000:]
    tested = re.search(r"Selected: (\d+)/\1\n  Tested: (\d+)", run.stdout)
    assert tested, run.stdout[-3000:]
    assert tested[1] == tested[2]
