"""A service tells of its main process and its children together, and its CPU time never goes back."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from jobs.release import release_version
from jobs.telemetry.process import Family, children, tell_facts
from tests.services.stack import eventually

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="told from /proc alone")

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time\\nwhile time.process_time() < 0.3: pass\\ninput()"])
input()
child.kill()
child.wait()
print("buried", flush=True)
input()
"""


@pytest.fixture
def parent() -> Iterator["subprocess.Popen[str]"]:
    """A process with a child that has used a moment of CPU time; a line ends the child, the next one the parent."""
    started = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    yield started
    started.kill()
    started.communicate()


def told(pid: int) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(Family(pid))
    return {sample.name: sample.value for family in registry.collect() for sample in family.samples}


def test_children_count_and_what_they_used_stays_when_they_have_died(parent: "subprocess.Popen[str]") -> None:
    assert parent.stdin is not None
    assert parent.stdout is not None
    eventually(lambda: len(children(parent.pid)) == 1, 20, "the child has started")
    eventually(lambda: told(parent.pid)["process_cpu_seconds_total"] >= 0.3, 20, "the child has worked")
    before = told(parent.pid)

    parent.stdin.write("\n")
    parent.stdin.flush()
    assert parent.stdout.readline() == "buried\n"
    after = told(parent.pid)

    assert (before["penstock_processes"], after["penstock_processes"]) == (2, 1)
    assert after["process_cpu_seconds_total"] >= before["process_cpu_seconds_total"]
    assert after["process_resident_memory_bytes"] < before["process_resident_memory_bytes"]


def test_what_is_told_of_this_process_is_what_the_machine_says() -> None:
    found = told(os.getpid())

    assert found["process_open_fds"] >= 3
    assert found["process_max_fds"] >= found["process_open_fds"]
    assert found["process_cpu_seconds_total"] >= 0.9 * sum(os.times()[:2]) - 0.1
    assert found["process_start_time_seconds"] > 1_700_000_000


def test_the_release_is_told_and_a_process_that_has_ended_tells_nothing_more() -> None:
    registry = CollectorRegistry()
    tell_facts(registry)

    labels = {"version": release_version(), "python": sys.version.split()[0]}
    assert registry.get_sample_value("penstock_build_info", labels) == 1
    assert registry.get_sample_value("process_open_fds") is not None
    assert told(2**22 - 1) == {}
