"""A short run with a few faults goes through: it strikes, it checks, it reports, and it leaves nothing running."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from deploy.stack.home import ROOT
from tests.services.stack import gone

RUN_SECONDS = 300.0
END_SECONDS = 60.0


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder for temporary folders, within reach of the accounts that servers run under."""
    folder = Path(tempfile.mkdtemp(prefix="penstock-scratch-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


def begin(home: Path, *options: str, **surroundings: str) -> "subprocess.Popen[str]":
    """Begin a run whose reports go to `home`."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.chaos", "--seed", "3", "--rate", "20", *options],
        cwd=ROOT,
        env={**os.environ, "PENSTOCK_HOME": str(home), **surroundings},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a short run wrote."""
    home = tmp_path_factory.mktemp("chaos")
    kinds = "kill_child,kill_worker,kill_api,wipe_broker,reset,cut_after_commit"
    run = begin(home, "--minutes", "0.4", "--faults-per-minute", "20", "--only", kinds)
    said, _ = run.communicate(timeout=RUN_SECONDS)

    assert run.returncode == 0, said
    assert "nothing lost, nothing doubled" in said

    written: dict[str, Any] = json.loads((home / "chaos.json").read_text())
    return written


def test_a_run_under_faults_loses_nothing_and_says_so(told: dict[str, Any]) -> None:
    assert (told["seed"], told["broker"], told["lost"], told["doubled"]) == (3, "valkey", 0, 0)
    assert told["violations"] == []
    assert told["checker"]["counts"]["acknowledged"] > 100
    assert told["jobs"] >= told["checker"]["counts"]["acknowledged"]


def test_its_faults_struck_and_were_got_over(told: dict[str, Any]) -> None:
    assert told["faults"] >= 4
    assert sum(one["count"] for one in told["recovery"].values()) == told["faults"]
    assert sum(told["exposures"].values()) > 0
    assert all(one["stuck"] == 0 for one in told["recovery"].values())


def test_its_checker_had_something_to_check(told: dict[str, Any]) -> None:
    facts = told["checker"]["facts"]

    assert min(facts[name] for name in ("acknowledged-kept", "one-completion", "drained", "success-was-run")) > 100
    assert facts["nothing-starts-while-paused"] > 0


def test_an_interrupted_run_ends_everything_that_it_has_started(tmp_path: Path, scratch: Path) -> None:
    run = begin(tmp_path, "--minutes", "3", TMPDIR=str(scratch))
    assert run.stdout is not None
    lines = iter(run.stdout.readline, "")
    assert any("jobs asked for" in line for line in lines), "the run never got going"
    processes = psutil.Process(run.pid).children(recursive=True)
    assert list(scratch.iterdir()) != []

    run.send_signal(signal.SIGINT)
    said, _ = run.communicate(timeout=END_SECONDS)

    assert run.returncode == 130, said
    assert "Traceback" not in said
    assert len(processes) > 15
    assert gone(processes, END_SECONDS) == []
    assert [*scratch.iterdir(), *tmp_path.iterdir()] == []
