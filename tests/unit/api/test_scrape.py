"""What several processes of one port tell together."""

import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from api.scrape import Siblings
from deploy.stack.home import ROOT
from jobs.telemetry.contract import Process
from jobs.telemetry.metrics import instruments_of
from tests.services.local_processes import surroundings

TELL = """
import sys
from jobs.telemetry.contract import Process
from jobs.telemetry.metrics import instruments_of
told = instruments_of(Process.API)
told["replica_lag_seconds"].set(float(sys.argv[1]))
told["connections"].set(float(sys.argv[1]))
print("told", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def processes(tmp_path: Path) -> list[str]:
    """Have two processes tell 3 and 4, and return the lines of both together."""
    environment = surroundings(PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    started = [
        subprocess.Popen(
            [sys.executable, "-c", TELL, number],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in ("3", "4")
    ]
    for process in started:
        assert process.stdout
        assert process.stdout.readline() == "told\n"
    registry = CollectorRegistry()
    registry.register(Siblings(instruments_of(Process.API).registry, tmp_path))
    lines = generate_latest(registry).decode().splitlines()
    for process in started:
        process.communicate()
    return lines


def test_what_each_process_has_of_its_own_is_added_up_and_what_all_see_is_not(processes: list[str]) -> None:
    assert "penstock_connections 7.0" in processes
    assert "penstock_replica_lag_seconds 4.0" in processes
