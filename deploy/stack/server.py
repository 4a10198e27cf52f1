"""What every server of the local stack has in common: its life, its place, its password, its port."""

import os
import secrets
import shutil
import signal
import threading
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Self

from deploy.stack.account import service_account, settle, unsettle
from deploy.stack.child import Child
from deploy.stack.errors import DidNotStart
from deploy.stack.ports import free_port

PORT_ATTEMPTS = 3


class Server(ABC):
    """A server on 127.0.0.1 whose state lives under `home` and survives `stop()`, `kill()` and this process."""

    name: ClassVar[str]
    start_seconds: ClassVar[float] = 20.0
    stop_seconds: ClassVar[float] = 10.0
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, home: Path, port: int | None = None, *, durable: bool = True, log: Path | None = None) -> None:
        """Describe a server under `home`; without `port` it takes its last one, or any that is free.

        `durable=False` is for tests: what it acknowledged survives its own death, not the machine's.
        """
        self.home = home.absolute()
        self.durable = durable
        self.log = (log or self.home / "server.log").absolute()
        self.port = port or 0
        self._fixed_port = port
        self._account = service_account()
        self._child: Child | None = None
        self._abandoned = threading.Event()

    @property
    @abstractmethod
    def url(self) -> str:
        """How a client reaches it, password included. Valid after `start()`."""

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs, otherwise None."""
        return self._child.pid if self._child else None

    @property
    def pids(self) -> list[int]:
        """The processes that belong to it and run now."""
        return [self.pid] if self.pid is not None else []

    def tail(self) -> str:
        """The last lines of its log."""
        return self._child.tail() if self._child else ""

    @cached_property
    def state(self) -> Path:
        """The folder of its state: `home`/state, wherever that really is. Made when missing."""
        return settle(self.home, self._account)

    @property
    def data(self) -> Path:
        """What the server itself writes, inside `state`; belongs to the account that it runs as."""
        return self.state / "data"

    @property
    def password(self) -> str:
        """The password, made at the first use and kept in a file of mode 0600 beside the state."""
        kept = self.state / "password"
        if not kept.exists():
            write_private(kept, secrets.token_hex(24))
        return kept.read_text()

    def start(self) -> Self:
        """Return when the server answers; a server that runs already is left alone.

        Raises `DidNotStart` with the log's tail at once when it died, or when its deadline passed, and
        `NotInstalled` when its programs are missing.
        """
        if self.pid is not None:
            return self
        if not self.data.exists():
            self.make_data()
        self.prepare()
        for attempt in range(1, PORT_ATTEMPTS + 1):
            self.port = self._choose_port()
            self._child = self.child()
            try:
                self._start(self._child)
            except DidNotStart as error:
                self.kill()
                if self._fixed_port or attempt == PORT_ATTEMPTS or not self.lost_its_port(str(error)):
                    raise
            else:
                (self.state / "port").write_text(str(self.port))
                return self
        raise AssertionError("the loop returns or raises")

    def _start(self, child: Child) -> None:
        child.start()
        child.wait_until(lambda: self._abandoned.is_set() or self.is_ready(), self.start_seconds)
        if self._abandoned.is_set():
            raise DidNotStart(f"{self.name} was told to stop while it was starting")

    def abandon(self) -> None:
        """Make a `start()` that another thread has under way give up; no later one succeeds."""
        self._abandoned.set()

    def stop(self) -> None:
        """End the server in good order; killed when it does not end within its time."""
        if self._child:
            self._child.end(self.stop_signal, self.stop_seconds)

    def kill(self) -> None:
        """End the server with SIGKILL, as a crash would."""
        if self._child:
            self._child.kill()

    def restart(self) -> Self:
        """Stop and start on the same port: `url` stays true."""
        self.stop()
        self._fixed_port = self._fixed_port or self.port or None
        return self.start()

    def destroy(self) -> None:
        """Kill the server and remove its state for good."""
        self.kill()
        unsettle(self.home)
        self.__dict__.pop("state", None)

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    @abstractmethod
    def prepare(self) -> None:
        """Bring the state into being where it is missing. Runs before every start."""

    @abstractmethod
    def child(self) -> Child:
        """Describe the process for the present port."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Say whether *our* process, and not another on this port, answers."""

    def lost_its_port(self, why: str) -> bool:
        """Say whether a failed start means that someone else took the port in the meantime."""
        return "address already in use" in why.lower()

    def make_data(self) -> None:
        """Make `data` anew and empty."""
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.mkdir(mode=0o700)
        self.own(self.data)

    def own(self, path: Path) -> Path:
        """Give `path` to the account that the server runs as, and return it."""
        if self._account:
            self._account.owns(path)
        return path

    def _choose_port(self) -> int:
        if self._fixed_port:
            return self._fixed_port
        last = self.state / "port"
        wanted = int(last.read_text()) if last.exists() else None
        return free_port(wanted)


def write_private(path: Path, text: str) -> None:
    """Write `text` to `path` with mode 0600 from its first byte on, in one step."""
    part = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    part.replace(path)
