"""A worker and a beat that cannot work say so, and do not start; those that can answer for themselves."""

import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from deploy.stack.home import ROOT
from deploy.stack.ports import free_port
from tests.services import plain
from tests.services.local_processes import LocalProcess, surroundings
from tests.services.stack import eventually

DATABASE = "postgresql://nobody:x@127.0.0.1:1/none"
BROKER = "redis://127.0.0.1:1/0"


def boot(module: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", module],
        cwd=ROOT,
        env=surroundings(**environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("module", ["worker", "schedules"])
@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"DATABASE_URL": DATABASE}, "BROKER_URL"),
        ({"BROKER_URL": BROKER}, "database_url"),
        ({"DATABASE_URL": "mysql://h/d", "BROKER_URL": BROKER}, "postgresql://"),
    ],
)
def test_a_process_without_its_servers_says_what_is_missing(
    module: str, environment: dict[str, str], says: str
) -> None:
    ended = boot(module, **environment)

    assert ended.returncode == 2
    assert says.lower() in ended.stderr.lower()


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"PENSTOCK_WORKER_QUEUES": "nowhere"}, "nowhere"),
        ({"PENSTOCK_TASK_MODULES": "no_such_module"}, "no_such_module"),
        ({"PENSTOCK_WORKER_POOL": "gevent"}, "PENSTOCK_WORKER_POOL"),
    ],
)
def test_a_worker_that_is_told_the_impossible_does_not_start(environment: dict[str, str], says: str) -> None:
    ended = boot("worker", DATABASE_URL=DATABASE, BROKER_URL=BROKER, **environment)

    assert ended.returncode != 0
    assert says in ended.stderr


@pytest.mark.parametrize(
    ("module", "setting", "prompt", "metric"),
    [
        ("worker", "PENSTOCK_WORKER_METRICS_PORT", " ready.", "slots"),
        ("schedules", "PENSTOCK_BEAT_METRICS_PORT", "beat: Starting", "upkeep"),
    ],
)
def test_a_process_answers_for_itself(
    module: str, setting: str, prompt: str, metric: str, database_url: str, broker_url: str, tmp_path: Path
) -> None:
    port = free_port()
    environment = surroundings(DATABASE_URL=database_url, BROKER_URL=broker_url, **{setting: port})
    process = LocalProcess(module, [module], environment=environment, log=tmp_path / "log", prompt=prompt)
    process.start()
    try:
        process.ready()

        def answers(path: str) -> bool:
            try:
                return plain.get(f"http://127.0.0.1:{port}{path}").status_code == 200
            except httpx.TransportError:
                return False

        eventually(lambda: answers("/health"), 10, "the process is healthy")
        eventually(lambda: answers("/ready"), 10, "the process is ready")
        assert metric in plain.get(f"http://127.0.0.1:{port}/metrics").text
    finally:
        process.teardown()
    assert process.exit_code == 0


@pytest.mark.parametrize(
    ("module", "setting", "prompt"),
    [
        ("worker", "PENSTOCK_WORKER_METRICS_PORT", " ready."),
        ("schedules", "PENSTOCK_BEAT_METRICS_PORT", "beat: Starting"),
    ],
)
def test_a_process_whose_metrics_port_is_taken_says_so_and_works(
    module: str, setting: str, prompt: str, database_url: str, broker_url: str, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        own = {setting: taken.getsockname()[1]}
        environment = surroundings(DATABASE_URL=database_url, BROKER_URL=broker_url, **own)
        process = LocalProcess(module, [module], environment=environment, log=tmp_path / "log", prompt=prompt)
        process.start()
        try:
            process.ready()
            eventually(lambda: "monitor_not_served" in process.logs(), 10, "it says so")
        finally:
            process.teardown()

    assert process.exit_code == 0
