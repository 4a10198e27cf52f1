"""Where RabbitMQ's programs are, and how they get onto a Debian machine: as root, or unpacked by anyone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.stack.errors import NotInstalled

LIBRARY = "usr/lib/rabbitmq/lib"
ERLANG = "usr/lib/erlang"


@dataclass(frozen=True)
class RabbitPrograms:
    """The node's script, its name server, and what must stand first on PATH."""

    server: Path
    epmd: Path
    path: Sequence[Path] = ()


def find(root: Path = Path("/")) -> RabbitPrograms | None:
    """Return RabbitMQ as installed or unpacked under `root`, or None."""
    servers = sorted((root / LIBRARY).glob("rabbitmq_server-*/sbin/rabbitmq-server"))
    epmds = sorted((root / ERLANG).glob("erts-*/bin/epmd")) or sorted(root.glob("usr/bin/epmd"))
    if not servers or not epmds:
        return None
    return RabbitPrograms(servers[-1], epmds[-1], [] if root == Path("/") else [root / ERLANG / "bin"])


def find_or_install() -> RabbitPrograms:
    """Return RabbitMQ's programs. Raises `NotInstalled` with the cure."""
    found = find()
    if found is None:
        raise NotInstalled("no RabbitMQ found: apt-get install rabbitmq-server, or set BROKER_URL")
    return found
