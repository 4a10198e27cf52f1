"""The checker catches every build with a planted bug, and names the invariants that it breaks, no more and no less.

A build is a copy of the packages that one patch of `planted/` changes, with the patch applied. A small history is acted
out with it in a process of its own, on a real database; the checker, not patched, then reads what is on record.
The same history acted out by the build as it is breaks nothing.
"""

import importlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from deploy.stack.home import ROOT
from tests.chaos.checker import check_run
from tests.chaos.report import Report
from tests.chaos.stage import EXECUTIONS, LEDGER, PLOTS, perform

PLANTED: Final = Path(__file__).parent / "planted"
SECONDS: Final = 60
_HEADER: Final = re.compile(r"^(?P<name>Breaks|Plot): (?P<value>.+)$", re.MULTILINE)
_CHANGED: Final = re.compile(r"^--- a/(.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Planted:
    """A patch, with what its header says."""

    patch: Path
    plot: str
    """Module and function."""
    breaks: frozenset[str]

    @classmethod
    def read(cls, patch: Path) -> "Planted":
        """Return the bug that `patch` plants."""
        found = {match["name"]: match["value"] for match in _HEADER.finditer(patch.read_text())}
        return cls(patch, found["Plot"], frozenset(found["Breaks"].split(", ")))

    @property
    def scene(self) -> tuple[str, str]:
        """The plot's module and name."""
        module, _, name = self.plot.partition(":")
        return f"tests.chaos.{module}", name


BUGS: Final = [Planted.read(patch) for patch in sorted(PLANTED.glob("*.patch"))]
PLOTTED: Final = sorted({bug.scene for bug in BUGS})


def build(bug: Planted, folder: Path) -> Path:
    """Return a folder with a copy of the packages that the patch changes, and the bug planted in them."""
    for package in {changed.partition("/")[0] for changed in _CHANGED.findall(bug.patch.read_text())}:
        shutil.copytree(ROOT / package, folder / package)
    applied = subprocess.run(
        ["git", "apply", "-C1", str(bug.patch)], cwd=folder, capture_output=True, text=True, check=False
    )
    assert applied.returncode == 0, (
        f"{bug.patch.name} no longer applies: the code it breaks has changed. "
        f"Make the patch anew, so that the checker is still tried on this bug.\n{applied.stderr}"
    )
    return folder


def judged(name: str, database_url: str, folder: Path) -> Report:
    """Return what the checker says of the history that was acted out."""
    return check_run(database_url, ledger=folder / LEDGER, executions=folder / EXECUTIONS, terms=PLOTS[name].terms)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.patch.stem)
def test_a_planted_bug_is_caught_by_name(bug: Planted, database_url: str, tmp_path: Path) -> None:
    module, name = bug.scene
    importlib.import_module(module)
    bad = build(bug, tmp_path / "build")
    environment = {**os.environ, "DATABASE_URL": database_url, "PYTHONPATH": f"{bad}{os.pathsep}{ROOT}"}

    acted = subprocess.run(
        [sys.executable, "-m", "tests.chaos.act", module, name, str(tmp_path)],
        cwd=bad,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )

    assert acted.returncode == 0, acted.stderr
    assert acted.stdout.startswith(str(bad)), "another build was run"
    report = judged(name, database_url, tmp_path)
    assert set(report.broken) == bug.breaks, report.violations


@pytest.mark.parametrize(("module", "name"), PLOTTED, ids=lambda part: part)
def test_the_build_as_it_is_breaks_nothing_in_the_same_history(
    module: str, name: str, database_url: str, tmp_path: Path
) -> None:
    importlib.import_module(module)

    perform(name, database_url, tmp_path)

    report = judged(name, database_url, tmp_path)
    assert report.violations == []
    assert report.counts.jobs > 0


def test_every_plot_has_a_bug_that_it_brings_out() -> None:
    for module, _ in PLOTTED:
        importlib.import_module(module)

    assert set(PLOTS) == {name for _, name in PLOTTED}
