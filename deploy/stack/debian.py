"""Programs of Debian's packages, without installing them.

`apt-get download` and `dpkg -x` need no root and leave no service behind; the tree can simply be removed.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from deploy.stack.account import SHARED_ROOT
from deploy.stack.announce import complain
from deploy.stack.errors import NotInstalled
from deploy.stack.home import ROOT

T = TypeVar("T")


@dataclass(frozen=True)
class Packages:
    """What is wanted: a title for people, the packages, how much there is to download, and what to do without them."""

    title: str
    names: Sequence[str]
    size: str
    cure: str
    are_enough: bool = False
    """Whether nothing is needed that they depend on."""


def nothing_more(half: Path, into: Path) -> None:
    """Leave an unpacked tree as it is."""


def find_or_unpack(
    wanted: Packages,
    into: Path,
    find: Callable[[Path], T | None],
    *,
    adapt: Callable[[Path, Path], None] = nothing_more,
) -> T:
    """Return what `find` finds in `into`, unpacked there where it finds nothing yet. Raises `NotInstalled`."""
    with _alone(into):
        found = find(into)
        if found is None:
            if not shutil.which("apt-get") or not shutil.which("dpkg"):
                raise NotInstalled(f"no {wanted.title} found, and this is no Debian to get it from; {wanted.cure}")
            complain(f"{wanted.title} is not installed: unpacking Debian's packages into {into} ({wanted.size}, once)")
            unpack(wanted, into, adapt=adapt)
            found = find(into)
    if found is None:
        raise NotInstalled(f"Debian's packages hold no {wanted.title} that this could find; {wanted.cure}")
    return found


def cache(name: str) -> Path:
    """Return the folder for unpacked packages; root's is where the account of its servers can reach it."""
    return SHARED_ROOT / f"penstock-{name}" if os.geteuid() == 0 else ROOT / ".run" / "cache" / name


def unpack(
    wanted: Packages,
    into: Path,
    *,
    status: Path | None = None,
    adapt: Callable[[Path, Path], None] = nothing_more,
) -> None:
    """Bring what is wanted, and what it needs and this machine lacks, into `into`: complete or not at all.

    `status` is dpkg's list of what is installed, when it is not the machine's own. `adapt` is given the tree and the
    folder that it will be. Raises `NotInstalled`.
    """
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="penstock-apt-") as apt_folder:
        packages = _download(wanted, Path(apt_folder), status)
        half = Path(tempfile.mkdtemp(prefix=f"{into.name}.", dir=into.parent))
        for package in packages:
            _run(wanted, ["dpkg", "-x", package, half], Path(apt_folder))
    adapt(half, into)
    half.chmod(0o755)
    shutil.rmtree(into, ignore_errors=True)
    half.rename(into)


@contextlib.contextmanager
def _alone(into: Path) -> Iterator[None]:
    """Keep other processes from unpacking into `into` meanwhile."""
    into.parent.mkdir(parents=True, exist_ok=True)
    with into.with_name(f"{into.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _download(wanted: Packages, folder: Path, status: Path | None) -> list[Path]:
    """Download the missing packages, by lists of our own: the machine's may be absent or old."""
    for name in ("lists/partial", "cache/archives/partial", "packages"):
        (folder / name).mkdir(parents=True)
    options = {"Dir::State::Lists": folder / "lists", "Dir::Cache": folder / "cache", "Debug::NoLocking": "1"}
    if status:
        options["Dir::State::status"] = status
    apt = ["apt-get", "-qq", *(part for name, value in options.items() for part in ("-o", f"{name}={value}"))]
    _run(wanted, [*apt, "update"], folder)
    names = list(wanted.names)
    if not wanted.are_enough:
        plan = _run(wanted, [*apt, "--simulate", "--no-install-recommends", "install", *names], folder)
        names = [line.split()[1] for line in plan.splitlines() if line.startswith("Inst ")]
    _run(wanted, [*apt, "download", *names], folder / "packages")
    return sorted((folder / "packages").glob("*.deb"))


def _run(wanted: Packages, command: Sequence[str | Path], folder: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise NotInstalled(f"{command[0]} could not bring {wanted.title}: {done.stderr.strip()}\n{wanted.cure}")
    return done.stdout
