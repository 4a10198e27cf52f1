"""The local stack as a person runs it, driven from outside: its terminal, its folder, its processes, its HTTP."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

from deploy.stack.home import ROOT
from deploy.stack.ports import free_port
from tests.services import plain

T = TypeVar("T")
START_SECONDS = 90.0
STOP_SECONDS = 20.0
JOB_SECONDS = 30.0
POLL_SECONDS = 0.02
OURS = ("PENSTOCK_", "FLOWER_")
CHOICES = ("DATABASE_URL", "BROKER_URL", "BROKER", "WORKERS")
FINAL = {"succeeded", "failed", "cancelled", "expired"}


def eventually(ask: Callable[[], T], seconds: float, what: str) -> T:
    """Return the first true answer of `ask`; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(POLL_SECONDS)
    return answer


class Stack:
    """One home, and whatever runs in it."""

    def __init__(self, home: Path, **choices: str) -> None:
        """Start nothing; `choices` are environment variables."""
        self.home = home
        inherited = {name: value for name, value in os.environ.items() if not self._is_ours(name)}
        # A port of its own: with the default, another test's stack could take it while this one's API is dead.
        # And none that the kernel lends to outgoing connections.
        own = {"PENSTOCK_HOME": str(home), "PENSTOCK_API_PORT": str(free_port(random.randrange(20_000, 30_000)))}
        self.environment = {**inherited, **own, **choices}
        self.terminal = home.with_name(f"{home.name}.terminal")
        self.supervisor: subprocess.Popen[bytes] | None = None

    @staticmethod
    def _is_ours(name: str) -> bool:
        return name in CHOICES or name.startswith(OURS)

    # Its commands

    def up(self) -> "Stack":
        """Run `up` and return when it says that it serves."""
        self.begin()
        eventually(self._serves_or_died, START_SECONDS, f"the stack serves; it said: {self.said()}")
        return self

    def begin(self) -> None:
        """Run `up` and return at once. A supervisor from before must have ended, or be about to."""
        if self.supervisor:
            self.supervisor.wait(STOP_SECONDS)
        with self.terminal.open("wb") as terminal:
            self.supervisor = subprocess.Popen(
                [sys.executable, "-m", "deploy.stack", "up"],
                env=self.environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=terminal,
                stderr=terminal,
                start_new_session=True,
            )

    def command(self, name: str) -> "subprocess.CompletedProcess[str]":
        """Run another command of `deploy.stack` to its end."""
        return subprocess.run(
            [sys.executable, "-m", "deploy.stack", name],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=START_SECONDS,
        )

    def _serves_or_died(self) -> bool:
        assert self.supervisor is not None
        assert self.supervisor.poll() is None, f"the supervisor ended: {self.said()}"
        return "curl" in self.said() and self.supervisor.pid in self.pids("supervisor")

    def said(self) -> str:
        """What stands in the terminal."""
        return self.terminal.read_text(errors="replace") if self.terminal.exists() else ""

    def interrupt(self) -> float:
        """Press Ctrl-C; returns how many seconds the supervisor then took to end."""
        assert self.supervisor is not None
        began = time.monotonic()
        self.supervisor.send_signal(signal.SIGINT)
        self.supervisor.wait(STOP_SECONDS)
        return time.monotonic() - began

    def end(self) -> None:
        """Stop what runs and remove every trace."""
        runs = self.supervisor is not None and self.supervisor.poll() is None
        if runs or (self.home / "stack.json").exists():
            self.command("stop")
        if self.supervisor:
            self.supervisor.wait(STOP_SECONDS)
        if not self.home.exists():
            return
        cleaned = self.command("clean")
        assert cleaned.returncode == 0, cleaned.stderr

    # Its facts

    @property
    def facts(self) -> dict[str, Any]:
        """What stack.json says now."""
        facts: dict[str, Any] = json.loads((self.home / "stack.json").read_text())
        return facts

    def pids(self, role: str) -> list[int]:
        """The pids of a role now."""
        pids: list[int] = self.facts["pids"].get(role, [])
        return pids

    def processes(self) -> list[psutil.Process]:
        """The supervisor and every process below it."""
        pid = self.supervisor.pid if self.supervisor else self.pids("supervisor")[0]
        supervisor = psutil.Process(pid)
        return [supervisor, *supervisor.children(recursive=True)]

    # Its HTTP

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        """Ask the API with the stack's key."""
        facts = self.facts
        return plain.request(
            method,
            f"{facts['api_url']}{path}",
            json=body,
            headers={"Authorization": f"Bearer {facts['api_key']}"},
            timeout=10.0,
        )

    def submit(self, task: str, **payload: Any) -> str:
        """Submit a job and return its id."""
        answer = self.call("POST", "/api/v1/jobs", {"task": task, "payload": payload})
        assert answer.status_code == 202, answer.text
        job_id: str = answer.json()["id"]
        return job_id

    def job(self, job_id: str) -> dict[str, Any]:
        """Read one job."""
        answer = self.call("GET", f"/api/v1/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        job: dict[str, Any] = answer.json()
        return job

    def finished(self, job_id: str, seconds: float = JOB_SECONDS) -> dict[str, Any]:
        """Return the job once it is in a final state."""

        def final() -> dict[str, Any] | None:
            job = self.job(job_id)
            return job if job["state"] in FINAL else None

        job = eventually(final, seconds, f"job {job_id} is final")
        assert job is not None
        return job


def gone(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Return which of `processes` still live after at most `seconds`; who only waits to be collected is dead."""
    deadline = time.monotonic() + seconds
    while (alive := [process for process in processes if lives(process)]) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return alive


def lives(process: psutil.Process) -> bool:
    """Say whether this very process, not a later one of the same pid, runs."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
