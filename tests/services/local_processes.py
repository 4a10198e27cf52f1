"""pytest-celery's nodes as processes of this machine: a `LocalProcess` has the face of its Docker container.

`CeleryTestNode`, `CeleryTestWorker` and `CeleryTestBroker` work on it unchanged, so a test kills, restarts and
reads the log of a real worker as it would in a cluster of containers.
"""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import psutil
from pytest_celery import CeleryTestBroker, CeleryTestNode, CeleryTestWorker

from deploy.stack.child import Child
from deploy.stack.home import ROOT
from deploy.stack.server import Server
from tests.services.stack import eventually

START_SECONDS: Final = 40.0
STOP_SECONDS: Final = 30.0
_OURS: Final = ("PENSTOCK_", "DATABASE_URL", "BROKER_URL")


PATIENT: Final = {"PENSTOCK_START_WAIT_SECONDS": 30}
"""For processes that are to start although the machine, and what they wait for, may be slow."""


def surroundings(**own: object) -> dict[str, str]:
    """Return our environment without what configures Penstock, and with `own` in its place."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    return inherited | {name: str(value) for name, value in own.items()}


class LocalProcess:
    """`python -m <module>`, seen as a container."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: Path,
        prompt: str,
        release: Path = ROOT,
    ) -> None:
        """Describe the process; it is ready when its log holds `prompt`. Its code is what lies in `release`."""
        self.name = self.id = name
        self.prompt = prompt
        self.log = log
        self.celeryconfig: dict[str, Any] = {}
        self._child = Child(
            name, [sys.executable, "-m", *arguments], environment=environment, log=log, directory=release
        )
        self._begun_at = 0

    @property
    def pid(self) -> int:
        """The main process; 0 when it does not run."""
        return self._child.pid or 0

    @property
    def status(self) -> str:
        """Docker's word for whether it runs."""
        return "running" if self._child.pid else "exited"

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._child.exit_code

    def start(self) -> None:
        """Start and return at once; the process before must have been ended."""
        self.wait()
        self._begun_at = self.log.stat().st_size if self.log.exists() else 0
        self._child.start()

    def ready(self) -> bool:
        """Return when the process says that it is ready."""
        self._child.wait_until(lambda: self.prompt in self._written(), START_SECONDS)
        return True

    def logs(self) -> str:
        """Return all that it ever wrote."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _written(self) -> str:
        with self.log.open("rb") as log:
            log.seek(self._begun_at)
            return log.read().decode(errors="replace")

    def kill(self, signal: str | int = "SIGKILL") -> None:
        """Send a signal to the main process alone, as Docker does."""
        self._child.send(_signal(signal))

    def kill_all(self) -> None:
        """End it and all that it has forked, as the loss of a machine would."""
        self._child.kill()

    def wait(self, seconds: float = STOP_SECONDS) -> None:
        """Return when the main process has ended."""
        assert self._child.wait(seconds), f"{self.name} still runs after {seconds:g} s\n{self._child.tail()}"

    def restart(self, timeout: float = STOP_SECONDS) -> None:
        """Stop, start, and return when it is ready."""
        self._child.end(signal.SIGTERM, timeout)
        self.start()
        self.ready()

    def reload(self) -> None:
        """Nothing is cached."""

    def teardown(self) -> None:
        """End it in good order, and what is left of it with force."""
        self._child.send(signal.SIGCONT)
        self._child.end(signal.SIGTERM, STOP_SECONDS)

    def processes(self) -> list[psutil.Process]:
        """The processes that it has forked."""
        try:
            return psutil.Process(self.pid).children()
        except psutil.NoSuchProcess:
            return []


def _signal(number: str | int) -> signal.Signals:
    return signal.Signals[number] if isinstance(number, str) else signal.Signals(number)


class Worker(CeleryTestWorker):  # type: ignore[misc]  # pytest-celery ships no types
    """A worker of pytest-celery whose container is a local process."""

    container: LocalProcess

    @property
    def pid(self) -> int:
        """The worker's main process."""
        return self.container.pid

    def processes(self) -> list[psutil.Process]:
        """The processes of its pool."""
        return self.container.processes()

    def children(self) -> list[int]:
        """Their pids."""
        return [process.pid for process in self.processes()]

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Ask it to stop, and return when it has."""
        self.kill("SIGTERM")
        self.container.wait(seconds)

    def ended(self, seconds: float) -> None:
        """Return when its main process is gone."""
        eventually(lambda: self.container.status == "exited", seconds, f"{self.name()} has ended")


class Beat(CeleryTestNode):  # type: ignore[misc]  # the same
    """Beat as a node of pytest-celery."""

    container: LocalProcess


class ServerFace:
    """A server of the tests, seen as a container."""

    def __init__(self, server: Server, url: str) -> None:
        """Show `server`, which others start and end."""
        self.server = server
        self.name = self.id = server.name
        self.celeryconfig = {"url": url, "host_url": url}

    @property
    def status(self) -> str:
        """Docker's word for whether it runs."""
        return "running" if self.server.pid else "exited"

    def ready(self) -> bool:
        """Tell whether it runs."""
        return self.server.pid is not None

    def logs(self) -> str:
        """Return the end of its log."""
        return self.server.tail()

    def kill(self, signal: str | int = "SIGKILL") -> None:
        """End it as a crash would, or in good order."""
        self.server.kill() if _signal(signal) is _signal("SIGKILL") else self.server.stop()

    def restart(self, timeout: float = STOP_SECONDS) -> None:
        """Stop it where it runs, and start it on the same port."""
        self.server.restart()

    def reload(self) -> None:
        """Nothing is cached."""

    def teardown(self) -> None:
        """Whoever started it ends it."""


class Broker(CeleryTestBroker):  # type: ignore[misc]  # the same
    """A broker of pytest-celery whose container is a server of the tests."""

    container: ServerFace
