"""The folder of one local stack: what is in it, who holds it, and what a former supervisor left behind."""

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploy.stack.errors import StackError
from deploy.stack.server import write_private

ROOT = Path(__file__).resolve().parents[2]


class AlreadyRunning(StackError):
    """A stack is running here already."""

    def __init__(self, pid: int | None) -> None:
        """Carry the pid of the supervisor that holds the folder."""
        super().__init__(f"a stack runs here already (supervisor's pid {pid}); `make stop` ends it")
        self.pid = pid


class Home:
    """The folder `.run`, or the one that PENSTOCK_HOME names; several stacks run side by side in several homes."""

    def __init__(self, folder: Path | None = None) -> None:
        """Name the folder; nothing is made yet."""
        self.folder = (folder or Path(os.environ.get("PENSTOCK_HOME") or ROOT / ".run")).absolute()
        self.stack_file = self.folder / "stack.json"
        self.key_file = self.folder / "api.key"
        self.logs = self.folder / "log"
        self._lock_file = self.folder / "lock"
        self._processes_file = self.folder / "processes.json"

    def log(self, role: str) -> Path:
        """Where the process `role` writes."""
        return self.logs / f"{role}.log"

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder alone until the block ends or this process dies. Raises `AlreadyRunning`."""
        self._make()
        with self._lock_file.open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AlreadyRunning(self.holder()) from None
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            yield

    def holder(self) -> int | None:
        """Return the pid of the supervisor that holds the folder now, or None when nobody does."""
        try:
            with self._lock_file.open() as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return int(lock.readline() or 0) or None
                return None
        except FileNotFoundError:
            return None

    def _make(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
            self.logs.mkdir(exist_ok=True, mode=0o700)
        except PermissionError as error:
            whose = f"{error.filename} belongs to another user"
            raise StackError(f"{whose}: remove it, or set PENSTOCK_HOME to a folder of your own") from error

    def secret(self, name: str) -> str:
        """Return a password of this stack, made at the first call and kept in a file of mode 0600."""
        kept = self.secret_file(name)
        if not kept.exists():
            write_private(kept, secrets.token_urlsafe(18))
        return kept.read_text()

    def secret_file(self, name: str) -> Path:
        """Where that password is kept."""
        return self.folder / f"{name}.password"

    @property
    def api_key(self) -> str:
        """The key that was kept for this stack."""
        return self.key_file.read_text().strip()

    def write_stack(self, facts: dict[str, Any]) -> None:
        """Write what scripts and tests read, mode 0600, in one step."""
        write_private(self.stack_file, json.dumps(facts, indent=2) + "\n")

    def read_stack(self) -> dict[str, Any] | None:
        """Return what the running stack wrote, or None when there is none."""
        try:
            facts: dict[str, Any] = json.loads(self.stack_file.read_text())
        except FileNotFoundError:
            return None
        return facts

    def write_processes(self, started: dict[int, str]) -> None:
        """Note which processes are ours, each with the instant it started: a pid alone may be reused."""
        write_private(self._processes_file, json.dumps(started))

    def read_processes(self) -> dict[int, str]:
        """Return the processes that the last supervisor noted."""
        try:
            noted = json.loads(self._processes_file.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}
        return {int(pid): started for pid, started in noted.items()}
