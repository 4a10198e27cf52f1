"""One child process: on a leash, with a log, watched while it starts, ended when asked."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from deploy.stack.account import Account
from deploy.stack.errors import DidNotStart

PR_SET_PDEATHSIG = 1
POLL_SECONDS = 0.01
TAIL_BYTES = 16_384

# What a server of ours needs from our own environment; the rest may hold secrets that are none of its business.
HARMLESS = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_spawners: dict[int, ThreadPoolExecutor] = {}


def harmless_environment(**more: str) -> dict[str, str]:
    """Return the few variables that a server may see, and `more`."""
    return {name: os.environ[name] for name in HARMLESS if name in os.environ} | more


class Child:
    """A command that can be started, watched and ended; starting it again is a new process with the same log."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str],
        log: Path,
        account: Account | None = None,
        directory: Path = Path("/"),
        leash: signal.Signals = signal.SIGTERM,
    ) -> None:
        """Describe the process; `leash` is the signal it gets from the kernel when we die (Linux)."""
        self.name = name
        self.log = log
        self._command = [str(part) for part in command]
        self._environment = dict(environment)
        self._account = account
        self._directory = directory
        self._leash = leash
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        """The process id while it runs, otherwise None."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def exit_code(self) -> int | None:
        """How it ended (negative: by that signal); None when it runs or never ran."""
        return self._process.poll() if self._process else None

    def start(self) -> int:
        """Start the process in a group of its own and return its pid."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "wb") as log:
            self._log_start = log.seek(0, os.SEEK_END)
            self._process = _spawner().submit(self._spawn, log.fileno()).result()
        return self._process.pid

    def _spawn(self, log: int) -> "subprocess.Popen[bytes]":
        account = self._account
        return subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=self._environment,
            cwd=self._directory,
            process_group=0,
            preexec_fn=_leash(self._leash),  # noqa: PLW1509 - one prctl call, resolved before the fork
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )

    def wait_until(self, is_ready: Callable[[], bool], seconds: float) -> None:
        """Return when `is_ready()`; raise `DidNotStart` with the log's tail as soon as it died, or after `seconds`."""
        deadline = time.monotonic() + seconds
        while not is_ready():
            if self.exit_code is not None:
                raise DidNotStart(f"{self.name} ended with {self.exit_code} while starting\n{self.tail()}")
            if time.monotonic() > deadline:
                raise DidNotStart(f"{self.name} did not answer within {seconds:g} s\n{self.tail()}")
            time.sleep(POLL_SECONDS)  # another process's state, which tells nobody when it changes

    def send(self, number: signal.Signals) -> None:
        """Send `number` to the process if it runs."""
        if self._process and self._process.poll() is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    def wait(self, seconds: float) -> bool:
        """Wait until the process has ended; False when it still runs after `seconds`."""
        if self._process is None:
            return True
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def end(self, number: signal.Signals, seconds: float) -> bool:
        """Ask with `number`, and after `seconds` kill; what is left of its group is killed too. False: had to kill."""
        self.send(number)
        willing = self.wait(seconds)
        self.kill()
        return willing

    def kill(self) -> None:
        """Kill the process and its whole group with SIGKILL, and collect it."""
        if self._process is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def written(self) -> str:
        """Return what it has written to its log since it was last started (the last 16 KiB of it)."""
        with self.log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(min(self._log_start, size), size - TAIL_BYTES))
            return log.read().decode(errors="replace")

    def tail(self, lines: int = 20) -> str:
        """Return the last `lines` of its log, indented for a terminal."""
        return "\n".join(f"    {line}" for line in self.written().splitlines()[-lines:])


def end_together(children: Sequence[Child], seconds: float) -> bool:
    """Ask all with SIGTERM in the order given, and kill after `seconds` who still runs. False: had to kill."""
    for child in children:
        child.send(signal.SIGTERM)
    deadline = time.monotonic() + seconds
    willing = all(child.wait(max(0.0, deadline - time.monotonic())) for child in children)
    for child in children:
        child.kill()
    return willing


def _leash(number: signal.Signals) -> Callable[[], None] | None:
    """Return what a child does before it runs: ask the kernel for `number` when its parent dies (prctl(2))."""
    libc = _libc
    if libc is None:
        return None
    parent = os.getpid()

    def hold() -> None:
        libc.prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(0)

    return hold


def _spawner() -> ThreadPoolExecutor:
    """Return the one thread that starts children.

    The kernel counts the death of the *thread* that started a child as the parent's death (prctl(2), PR_SET_PDEATHSIG),
    so a child must never be started by a thread that ends before the process does.
    """
    return _spawners.setdefault(os.getpid(), ThreadPoolExecutor(1, thread_name_prefix="spawner"))
