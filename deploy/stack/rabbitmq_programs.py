"""Where RabbitMQ's programs are, and how they get onto a Debian machine without being installed on it.

Debian's `erl` has its own folder written into it, so that is rewritten (the variable ERL_ROOTDIR is ignored).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.stack import debian

SYSTEM = Path("/")
LIBRARY = "usr/lib/rabbitmq/lib"
ERLANG = "usr/lib/erlang"
PACKAGE = "rabbitmq-server"
CURE = f"as root: apt-get install {PACKAGE}; or set BROKER_URL, or use BROKER=valkey"
PACKAGES: Final = debian.Packages("RabbitMQ", [PACKAGE], "32 MB", CURE)


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
    found = find(system)
    return found or debian.find_or_unpack(PACKAGES, unpacked or cache(), find, adapt=_rewrite_erlang)


def cache() -> Path:
    """Return the folder for unpacked packages."""
    return debian.cache("rabbitmq")


def unpack(into: Path, status: Path | None = None) -> None:
    """Bring RabbitMQ, and what it needs and this machine lacks, into `into`, which appears complete or not at all.

    `status` is dpkg's list of what is installed, when it is not the machine's own. Raises `NotInstalled`.
    """
    debian.unpack(PACKAGES, into, status=status, adapt=_rewrite_erlang)


def _rewrite_erlang(tree: Path, final: Path) -> None:
    """Replace Debian's folder by the final one in the scripts of the tree."""
    tree, final = tree / ERLANG, final / ERLANG
    for script in [*tree.glob("bin/*"), *tree.glob("erts-*/bin/*")]:
        if script.is_file() and not script.is_symlink() and script.read_bytes()[:2] == b"#!":
            script.write_text(script.read_text().replace(f"/{ERLANG}", str(final)))
