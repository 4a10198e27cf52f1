"""Where RabbitMQ's programs are, and how they get onto a Debian machine without being installed on it.

`apt-get download` and `dpkg -x` need no root and leave no service behind; the tree can simply be removed. Debian's
`erl` has its own folder written into it, so that is rewritten (the variable ERL_ROOTDIR is ignored).
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.stack.account import SHARED_ROOT
from deploy.stack.announce import complain
from deploy.stack.errors import NotInstalled
from deploy.stack.home import ROOT

SYSTEM = Path("/")
LIBRARY = "usr/lib/rabbitmq/lib"
ERLANG = "usr/lib/erlang"
PACKAGE = "rabbitmq-server"
CURE = f"as root: apt-get install {PACKAGE}; or set BROKER_URL, or use BROKER=valkey"


@dataclass(frozen=True)
class RabbitPrograms:
    """The node's script, its name server, and what must stand first on PATH."""

    server: Path
    epmd: Path
    path: Sequence[Path] = ()


def find(root: Path = SYSTEM) -> RabbitPrograms | None:
    """Return RabbitMQ as installed or unpacked under `root`, or None."""
    servers = sorted((root / LIBRARY).glob("rabbitmq_server-*/sbin/rabbitmq-server"))
    epmds = sorted((root / ERLANG).glob("erts-*/bin/epmd"))
    if not servers or not epmds:
        return None
    return RabbitPrograms(servers[-1], epmds[-1], [] if root == SYSTEM else [root / ERLANG / "bin"])


def find_or_install(system: Path = SYSTEM, unpacked: Path | None = None) -> RabbitPrograms:
    """Return RabbitMQ's programs, unpacked into `unpacked` (by default a folder of ours) when `system` has none.

    Raises `NotInstalled` with the cure where that cannot be done.
    """
    unpacked = unpacked or cache()
    found = find(system) or find(unpacked)
    if found:
        return found
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        raise NotInstalled(f"no RabbitMQ found, and this is no Debian to get it from; {CURE}")
    complain(f"RabbitMQ is not installed: unpacking Debian's packages into {unpacked} (32 MB, once)")
    unpack(unpacked)
    found = find(unpacked)
    if not found:
        raise NotInstalled(f"Debian's packages hold no RabbitMQ that this could find; {CURE}")
    return found


def cache() -> Path:
    """Return the folder for unpacked packages; root's is where the account of its servers can reach it."""
    return SHARED_ROOT / "penstock-rabbitmq" if os.geteuid() == 0 else ROOT / ".run" / "cache" / "rabbitmq"


def unpack(into: Path, status: Path | None = None) -> None:
    """Bring RabbitMQ, and what it needs and this machine lacks, into `into`, which appears complete or not at all.

    `status` is dpkg's list of what is installed, when it is not the machine's own. Raises `NotInstalled`.
    """
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="penstock-apt-") as apt_folder:
        packages = _download(Path(apt_folder), status)
        half = Path(tempfile.mkdtemp(prefix=f"{into.name}.", dir=into.parent))
        for package in packages:
            _run(["dpkg", "-x", package, half], Path(apt_folder))
    _rewrite_erlang(half / ERLANG, into / ERLANG)
    half.chmod(0o755)
    shutil.rmtree(into, ignore_errors=True)
    half.rename(into)


def _download(folder: Path, status: Path | None) -> list[Path]:
    """Download the missing packages, by lists of our own: the machine's may be absent or old."""
    for name in ("lists/partial", "cache/archives/partial", "packages"):
        (folder / name).mkdir(parents=True)
    options = {"Dir::State::Lists": folder / "lists", "Dir::Cache": folder / "cache", "Debug::NoLocking": "1"}
    if status:
        options["Dir::State::status"] = status
    apt = ["apt-get", "-qq", *(part for name, value in options.items() for part in ("-o", f"{name}={value}"))]
    _run([*apt, "update"], folder)
    plan = _run([*apt, "--simulate", "--no-install-recommends", "install", PACKAGE], folder)
    names = [line.split()[1] for line in plan.splitlines() if line.startswith("Inst ")]
    _run([*apt, "download", *names], folder / "packages")
    return sorted((folder / "packages").glob("*.deb"))


def _run(command: Sequence[str | Path], folder: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise NotInstalled(f"{command[0]} could not bring RabbitMQ: {done.stderr.strip()}\n{CURE}")
    return done.stdout


def _rewrite_erlang(tree: Path, final: Path) -> None:
    """Replace Debian's folder by `final` in the scripts under `tree`."""
    for script in [*tree.glob("bin/*"), *tree.glob("erts-*/bin/*")]:
        if script.is_file() and not script.is_symlink() and script.read_bytes()[:2] == b"#!":
            script.write_text(script.read_text().replace(f"/{ERLANG}", str(final)))
