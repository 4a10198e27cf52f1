"""The checker catches every build with a planted bug, and names the invariants that it breaks, no more and no less.

A build is a copy of the packages that one patch of `planted/` changes, with the patch applied. A small history is acted
out with it in a process of its own, on a real database; the checker, not patched, then reads what is on record.
The same history acted out by the build as it is breaks nothing.
"""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from deploy.stack.home import ROOT
from tests.chaos.checker import check_run
from tests.chaos.page import PLANTED
from tests.chaos.planting import DoesNotApply, Planted, build
from tests.chaos.report import Report
from tests.chaos.stage import EXECUTIONS, LEDGER, PLOTS, perform

SECONDS: Final = 60
BUGS: Final = [Planted.read(patch) for patch in sorted(PLANTED.glob("*.patch"))]
PLOTTED: Final = sorted({bug.scene for bug in BUGS})


def judged(name: str, database_url: str, folder: Path) -> Report:
    """Return what the checker says of the history that was acted out."""
    return check_run(database_url, ledger=folder / LEDGER, executions=folder / EXECUTIONS, terms=PLOTS[name].terms)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.patch.stem)
def test_a_planted_bug_is_caught_by_name(bug: Planted, database_url: str, tmp_path: Path) -> None:
    module, name = bug.scene
    importlib.import_module(module)
    bad = build(bug, ROOT, tmp_path / "build")
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
    run = json.loads(acted.stdout.partition("\n")[0])
    assert {package: run[package] for package in bug.packages} == {
        package: str(bad / package / "__init__.py") for package in bug.packages
    }, "another build was run"
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


def pond_with(line: str, folder: Path) -> tuple[Planted, Path]:
    """Return a patch that changes `line` in a file of three lines, two of them the same, and the file's home."""
    (folder / "source/pond").mkdir(parents=True)
    (folder / "source/pond/fish.py").write_text("carp = 1\npike = 2\npike = 2\n")
    patch = folder / "01-fish.patch"
    header = "Breaks: a, b\nPlot: plots:any\n\n--- a/pond/fish.py\n+++ b/pond/fish.py\n"
    patch.write_text(f"{header}@@ -7 +7 @@\n-{line}\n+eel\n")
    return Planted.read(patch), folder / "source"


def test_a_patch_finds_its_place_by_what_stands_there(tmp_path: Path) -> None:
    bug, source = pond_with("carp = 1", tmp_path)

    built = build(bug, source, tmp_path / "build")

    assert (built / "pond/fish.py").read_text() == "eel\npike = 2\npike = 2\n"
    assert (set(bug.breaks), bug.scene) == ({"a", "b"}, ("tests.chaos.plots", "any"))


@pytest.mark.parametrize(("line", "times"), [("carp = 2", 0), ("pike = 2", 2)])
def test_a_patch_of_which_the_code_has_changed_says_so(line: str, times: int, tmp_path: Path) -> None:
    bug, source = pond_with(line, tmp_path)

    with pytest.raises(DoesNotApply, match=rf"01-fish.patch no longer applies: pond/fish.py has {times} times\n{line}"):
        build(bug, source, tmp_path / "build")
