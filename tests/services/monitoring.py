"""Prometheus's and Alertmanager's own programs: as installed, or Debian's, unpacked without installing them."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from deploy.stack import debian
from deploy.stack.errors import NotInstalled
from tests.services.fixtures import unavailable

PACKAGES: Final = debian.Packages(
    "Prometheus",
    ["prometheus", "prometheus-alertmanager"],
    "30 MB",
    "as root: apt-get install prometheus prometheus-alertmanager",
    are_enough=True,  # the programs stand alone; what the packages depend on is for pages
)
FOLDER: Final = "usr/bin"


class Programs(NamedTuple):
    """Where they are."""

    prometheus: str
    promtool: str
    amtool: str


def find(root: Path) -> Programs | None:
    """Return the programs under `root`, or None where one is missing."""
    paths = [root / FOLDER / name for name in Programs._fields]
    return Programs(*map(str, paths)) if all(path.exists() for path in paths) else None


def programs() -> Programs:
    """Return the programs; where they cannot be had the test skips at home, and fails with CI=true."""
    on_path = [shutil.which(name) for name in Programs._fields]
    if all(on_path):
        return Programs(*map(str, on_path))
    try:
        return debian.find_or_unpack(PACKAGES, debian.cache("prometheus"), find)
    except NotInstalled as error:
        unavailable(str(error))


def run(command: Sequence[str | Path]) -> str:
    """Return what the program says; raise `AssertionError` with it when it is not content."""
    done = _ended(command, subprocess.PIPE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def tried(command: Sequence[str | Path]) -> str:
    """Return what the program says, content or not, in the order in which it said it."""
    return _ended(command, subprocess.STDOUT).stdout


def _ended(command: Sequence[str | Path], errors: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        check=False,
        env=os.environ | {"TZ": "UTC"},
    )
