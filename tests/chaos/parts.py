"""The processes of the system under test, each with links that can be broken, started again when they die."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from deploy.stack.child import Child, harmless_environment
from deploy.stack.errors import StackError
from deploy.stack.home import ROOT
from tests.services.proxy import Proxy

READY_SECONDS: Final = 60.0
STOP_SECONDS: Final = 30.0
READY: Final = {"api": "Uvicorn running on", "worker": " ready.", "beat": "beat: Starting..."}
"""What each process says when it is ready."""
MODULES: Final = {"api": "api", "worker": "worker", "beat": "schedules"}
"""By what it is started."""


class Held(StackError):
    """Another fault has hold of what this one would strike."""


class Hold:
    """What only one fault at a time, or the supervisor, may handle."""

    def __init__(self) -> None:
        """Nobody has hold of it."""
        self._lock = threading.Lock()

    @contextmanager
    def held(self, seconds: float) -> Iterator[None]:
        """Have hold of it for the block. Raises `Held` when it is not free within `seconds`."""
        if not self._lock.acquire(timeout=seconds):
            raise Held
        try:
            yield
        finally:
            self._lock.release()


@dataclass(eq=False)
class Part(Hold):
    """One process of Penstock's, and the links that lead to and from it by the name of their other end."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    prompt: str
    links: dict[str, Proxy] = field(default_factory=dict)
    port: int | None = None
    adopt: Callable[[int], None] = lambda _pid: None
    """Called with the pid of each new process, before it has forked."""
    ready_seconds: float = READY_SECONDS
    """After its start, by which it must be ready."""
    stop_seconds: float = STOP_SECONDS
    """After SIGTERM, by which it must have ended."""

    def __post_init__(self) -> None:
        """Describe the process; nothing runs before `start`."""
        super().__init__()
        self.child = Child(
            self.name,
            [sys.executable, "-m", *self.command],
            environment=harmless_environment(PYTHONUNBUFFERED="1", **self.environment),
            log=self.log,
            directory=ROOT,
        )
        self._began_at = 0

    @property
    def pid(self) -> int | None:
        """The main process while it runs."""
        return self.child.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return self.child.exit_code

    def start(self) -> None:
        """Start the process, after killing what is left of the one before, and return at once."""
        self.child.kill()
        self._began_at = self.log.stat().st_size if self.log.exists() else 0
        self.adopt(self.child.start())

    def wait_until_ready(self) -> None:
        """Return when it says that it is ready. Raises `DidNotStart`."""
        self.child.wait_until(self._has_said_so, self.ready_seconds)

    def _has_said_so(self) -> bool:
        with self.log.open("rb") as log:
            log.seek(self._began_at)
            return self.prompt.encode() in log.read()

    def children(self) -> list[int]:
        """Return the processes that it has forked."""
        try:
            return [child.pid for child in psutil.Process(self.pid).children()] if self.pid else []
        except psutil.NoSuchProcess:
            return []

    def kill_main(self) -> None:
        """Kill the main process alone."""
        self.child.send(signal.SIGKILL)
        self.child.wait(STOP_SECONDS)

    def kill(self) -> None:
        """Kill it and everything that it has forked."""
        self.child.kill()

    def stop(self) -> bool:
        """Ask it to end, and return when it has; False: it had to be killed."""
        return self.child.end(signal.SIGTERM, self.stop_seconds)

    def ask_to_stop(self) -> None:
        """Ask it to end, and return at once."""
        self.child.send(signal.SIGTERM)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hold it and all that it has forked still for the block."""
        group = self.pid
        if group is None:
            yield
            return
        os.killpg(group, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(group, signal.SIGCONT)

    def tail(self) -> str:
        """Return the end of its log."""
        return self.child.tail()


@dataclass(frozen=True, slots=True)
class Death:
    """A part that ended though nobody had told it to."""

    name: str
    exit_code: int
    seconds: float
    """After the load began."""
    said: str


class Supervisor:
    """Starts again what ends by itself, as a supervisor of services would, and keeps a record of it."""

    def __init__(self, parts: Sequence[Part], clock: Callable[[], float]) -> None:
        """Watch `parts`; `clock` tells the seconds since the load began."""
        self._parts = parts
        self._clock = clock
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self.deaths: list[Death] = []

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def close(self) -> None:
        """Watch no longer."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        while not self._over.wait(0.3):
            for part in self._parts:
                try:
                    with part.held(0.0):
                        self._look_at(part)
                except Held:
                    continue

    def _look_at(self, part: Part) -> None:
        if part.exit_code is not None and not self._over.is_set():
            self.deaths.append(Death(part.name, part.exit_code, round(self._clock(), 1), part.tail()))
            part.start()
