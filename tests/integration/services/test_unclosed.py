"""A module of tests that leaves something open is blamed for it itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.stack.home import ROOT

LEAVES: dict[str, tuple[str, str]] = {
    "a connection": (
        "import psycopg\n\n\ndef test_guilty():\n    kept = [psycopg.connect({url!r})]\n    kept.append(kept)\n",
        "deleted while still open",
    ),
    "a coroutine": (
        "async def work(): ...\n\n\ndef test_guilty():\n    kept = [work()]\n    kept.append(kept)\n",
        "'work' was never awaited",
    ),
}


@pytest.mark.parametrize(("module", "complaint"), LEAVES.values(), ids=LEAVES)
def test_what_a_module_leaves_open_fails_in_its_own_teardown(
    tmp_path: Path, database_url: str, module: str, complaint: str
) -> None:
    (tmp_path / "test_a.py").write_text("import gc\n\ngc.disable()\n" + module.replace("{url!r}", repr(database_url)))
    (tmp_path / "test_b.py").write_text("import gc\n\n\ndef test_innocent():\n    gc.collect()\n")

    lines = _run(tmp_path)

    assert "test_a.py has left open:" in lines, lines
    assert any(complaint in line for line in lines), lines
    assert lines[-1].startswith("2 passed, 1 error"), lines


def test_a_module_that_closes_what_it_opens_is_not_blamed(tmp_path: Path, database_url: str) -> None:
    (tmp_path / "test_a.py").write_text(
        f"import psycopg\n\n\ndef test_it():\n    with psycopg.connect({database_url!r}):\n        pass\n"
    )

    assert _run(tmp_path)[-1].startswith("1 passed")


def _run(folder: Path) -> list[str]:
    """Run the tests in `folder` with the hooks of ours, and return what pytest says."""
    plugins = ["-p", "tests.unclosed", "-p", "no:cacheprovider", "-p", "no:rerunfailures"]
    options = ["-q", "-W", "error", *plugins, "-c", "/dev/null"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--rootdir", folder, folder],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout.splitlines()
