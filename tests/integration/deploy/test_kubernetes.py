"""What deploy/kubernetes has a shell and Prometheus do, done by them."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from deploy.stack.child import Child
from tests.services.databases import migrate
from tests.services.kustomize import Manifest
from tests.services.local_processes import surroundings
from tests.services.monitoring import programs, run
from tests.unit.deploy.manifests import OVERLAYS, of, pods

SECONDS: Final = 30.0
SHIM: Final = f'#!/bin/sh\nexec {sys.executable} -P -m deploy.cli.entry "$@"\n'
"""Stands for the command `penstock` of the image."""


@pytest.fixture
def waiting(empty_url: str, tmp_path: Path) -> Iterator[Child]:
    """What stands before each process that needs the schema; it has looked once and found none."""
    shim = tmp_path / "penstock"
    shim.write_text(SHIM)
    shim.chmod(0o755)
    (container,) = those_that_wait()
    environment = surroundings(DATABASE_URL=empty_url, PATH=f"{tmp_path}:{os.environ['PATH']}")
    child = Child("schema", container["command"], environment=environment, log=tmp_path / "log", directory=tmp_path)
    child.start()
    try:
        child.wait_until(lambda: "schema empty ->" in child.written(), SECONDS)
        yield child
    finally:
        child.kill()


def those_that_wait() -> list[Manifest]:
    """Return the containers that wait for the schema, as far as they differ."""
    found = [one for name in OVERLAYS for pod in pods(name).values() for one in pod["spec"].get("initContainers", ())]
    found = [one for one in found if "penstock migrate" in " ".join(one["command"])]
    return [one for at, one in enumerate(found) if one not in found[:at]]


def test_a_process_starts_once_the_schema_is_there(waiting: Child, empty_url: str) -> None:
    assert waiting.exit_code is None
    migrate(empty_url)

    assert waiting.wait(SECONDS)
    assert waiting.exit_code == 0


def test_a_pod_that_waits_for_the_schema_goes_when_it_is_told(waiting: Child) -> None:
    waiting.send(signal.SIGTERM)

    assert waiting.wait(SECONDS)
    assert waiting.exit_code == 1, "the shell ends by itself, which as process 1 it does only where it is told how"


def test_prometheus_parses_what_the_scalers_ask(tmp_path: Path) -> None:
    triggers = [one for made in of("production", "ScaledObject").values() for one in made["spec"]["triggers"]]
    rules = [
        {"record": f"scaler:{number}", "expr": trigger["metadata"]["query"]} for number, trigger in enumerate(triggers)
    ]
    file = tmp_path / "scalers.yml"
    file.write_text(json.dumps({"groups": [{"name": "scalers", "rules": rules}]}))

    assert f"{len(triggers)} rules found" in run([programs().promtool, "check", "rules", "--lint=none", file])
    assert len(triggers) == 6


def test_promtool_accepts_the_rules_as_kubernetes_gets_them(tmp_path: Path) -> None:
    (made,) = of("production", "PrometheusRule").values()
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps(made["spec"]))

    assert "SUCCESS" in run([programs().promtool, "check", "rules", file])
