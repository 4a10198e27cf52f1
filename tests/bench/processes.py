"""The programs of a measured stack: started from the repository's root, paused together, ended together."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from deploy.stack.child import Child, end_together, harmless_environment

ROOT = Path(__file__).resolve().parents[2]
STOP_SECONDS = 10.0


class NeverHappenedError(Exception):
    """What was waited for did not come within its deadline, or a program that it needs has ended."""


class Programs:
    """Programs of one stack. `stop` asks all of them to end, the last started first, and kills what is left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: list[Child] = []

    def start(self, name: str, *arguments: str, env: dict[str, str]) -> Child:
        """`python -m <arguments>` runs; its output goes to `<name>.log` in the folder."""
        child = Child(
            name,
            [sys.executable, "-m", *arguments],
            environment=harmless_environment(**env),
            log=self.folder / f"{name}.log",
            directory=ROOT,
        )
        child.start()
        self._running.append(child)
        return child

    def run(self, name: str, *arguments: str, env: dict[str, str], seconds: float) -> None:
        """`python -m <arguments>` has ended with 0 within `seconds`; raises NeverHappenedError otherwise."""
        child = self.start(name, *arguments, env=env)
        try:
            ended = child.wait(seconds)
            if not ended or child.exit_code != 0:
                raise NeverHappenedError(f"{name}: {child.exit_code if ended else 'too slow'}\n{child.tail()}")
        finally:
            child.kill()
            self._running.remove(child)

    def pids(self) -> list[int]:
        """The main processes of those that run."""
        return [child.pid for child in self._running if child.pid is not None]

    def pid(self, name: str) -> int:
        """The main process of one program; raises NeverHappenedError when it has ended."""
        found = [child.pid for child in self._running if child.name == name and child.pid is not None]
        if not found:
            raise NeverHappenedError(f"{name} does not run")
        return found[0]

    def check(self) -> None:
        """All of them run; raises NeverHappenedError with the end of a log otherwise."""
        for child in self._running:
            if child.pid is None:
                raise NeverHappenedError(f"{child.name} ended with {child.exit_code}\n{child.tail()}")

    def stop(self) -> None:
        end_together(self._running[::-1], STOP_SECONDS)
        self._running.clear()


def pause(programs: list[Child]) -> None:
    """The programs and their children stand still, as they are, until `resume`."""
    _signal_groups(programs, signal.SIGSTOP)


def resume(programs: list[Child]) -> None:
    """The programs and their children go on."""
    _signal_groups(programs, signal.SIGCONT)


def _signal_groups(programs: list[Child], number: signal.Signals) -> None:
    for program in programs:
        if program.pid is not None:  # Child makes each program the leader of its own group
            os.killpg(program.pid, number)


def wait_until(
    condition: Callable[[], bool],
    *,
    seconds: float,
    what: str,
    every: float = 0.05,
    check: Callable[[], None] = lambda: None,
) -> None:
    """`condition` was true within `seconds`; raises NeverHappenedError, or what `check` raises, otherwise."""
    deadline = time.monotonic() + seconds
    while not condition():
        check()
        if time.monotonic() > deadline:
            raise NeverHappenedError(f"{what}: not within {seconds:g} s")
        time.sleep(every)
