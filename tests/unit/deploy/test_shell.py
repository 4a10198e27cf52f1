"""The shell programs that ship, and those of CI, hold to what shellcheck knows of their shell."""

import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.stack.home import ROOT
from tests.services.fixtures import unavailable

FOLDERS = [ROOT / "deploy" / "backup", ROOT / "deploy" / "compose" / "gateway"]
PROGRAMS = sorted(path for folder in FOLDERS for path in folder.iterdir() if path.read_text().startswith("#!"))
PROGRAMS += sorted((ROOT / ".ci").iterdir())


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(program: Path) -> None:
    if shutil.which("shellcheck") is None:
        unavailable("shellcheck, of Debian's package of that name")

    shell = "bash" if program.read_text().startswith("#!/usr/bin/env bash") else "sh"
    checked = subprocess.run(
        ["shellcheck", f"--shell={shell}", program], capture_output=True, text=True, check=False, timeout=60
    )

    assert checked.stdout == ""
    assert checked.returncode == 0


def test_there_are_programs_to_look_at() -> None:
    assert [program.name for program in PROGRAMS] == [
        "archive-wal",
        "fetch-wal",
        "penstock-backup",
        "start",
        "cluster",
        "engine",
        "run",
    ]
