"""What the README shows in one screen, as a person pastes it into a shell of the clone while the stack runs."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from deploy.stack.home import ROOT
from tests.services.stack import JOB_SECONDS, Stack, eventually
from tests.unit.docs.pages import blocks

SECONDS: Final = 180.0


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack that runs, and a folder from which it looks as from the clone."""
    stack = Stack(tmp_path / "home", NO_COLOR="1", TERM="dumb", PYTHONPATH="")
    (tmp_path / ".run").symlink_to(stack.home)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    yield stack.up()
    stack.end()


def shown(first: str) -> str:
    """The block of the README that begins with these words."""
    (found,) = [one.text for one in blocks((ROOT / "README.md").read_text()) if one.text.startswith(first)]
    return found


def pasted(stack: Stack, folder: Path, *scripts: str) -> str:
    """Run the scripts, which end at the first command that fails, and return what they print."""
    script = "\n".join(("set -eu", *scripts))
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=stack.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def test_what_the_readme_shows_does_what_it_says(stack: Stack, tmp_path: Path) -> None:
    printed = pasted(stack, tmp_path, shown("export PATH="), shown("fact() {"))

    def told(path: str) -> Any:
        return stack.call("GET", f"/api/v1/{path}").json()

    (first,) = told("jobs?tag=first")["jobs"]
    eventually(lambda: told(f"jobs/{first['id']}")["state"] == "succeeded", JOB_SECONDS, "it runs")
    assert (first["priority"], printed.count('"next_cursor":')) == (9, 1)
    assert told("jobs?task=demo.echo&limit=1")["jobs"][0]["run_at"].startswith("2030-01-01T00:00:00")
    flaky, *others = told("jobs?task=demo.flaky")["jobs"]
    assert (flaky["state"], flaky["attempt"], others) == ("succeeded", 3, [])
    assert told("jobs?task=demo.noop&limit=200")["next_cursor"], "many more"
    (letter,) = told("dead-letters")["dead_letters"]
    assert letter["task"] == "demo.fail"
    assert letter["id"] in printed
    assert [one["name"] for one in told("schedules")["schedules"]] == ["hourly", "nightly"]
