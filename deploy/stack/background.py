"""A stack in the background: started in a session of its own, found again by its lock, ended by its pid."""

import os
import signal
import subprocess
import sys
import time
from urllib.parse import urlsplit

from deploy.stack.announce import complain, say, welcome
from deploy.stack.errors import StackError
from deploy.stack.home import ROOT, Home
from deploy.stack.leftovers import started_at
from deploy.stack.ports import is_free

POLL_SECONDS = 0.05
START_SECONDS = 180.0
STOP_SECONDS = 15.0
FLOWER_SECONDS = 10.0
TAIL_LINES = 30


def start_detached(home: Home) -> int:
    """Return 0 when a stack serves in the background, whoever started it; 1 when it did not start, with its words."""
    if home.holder() is None:
        return _start(home)
    say(f"A stack runs here already (supervisor's pid {home.holder()}).")
    if facts := home.read_stack():
        say(welcome(facts))
    return 0


def _start(home: Home) -> int:
    log = home.log("supervisor")
    log.parent.mkdir(parents=True, exist_ok=True)
    home.stack_file.unlink(missing_ok=True)
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600), "wb") as output:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "deploy.stack", "behind"],  # its output is a log, which is no place for a key
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=ROOT,
            env={**os.environ, "PENSTOCK_HOME": str(home.folder)},
            start_new_session=True,
        )
    deadline = time.monotonic() + START_SECONDS
    while supervisor.poll() is None and time.monotonic() < deadline:
        if (facts := home.read_stack()) and supervisor.pid in facts["pids"]["supervisor"]:
            _wait_for_flower(facts["flower_url"])
            say(welcome(facts))
            say("\nIt runs in the background; `make stop` ends it.")
            return 0
        time.sleep(POLL_SECONDS)  # another process's state, which tells nobody when it changes
    complain("\n".join(log.read_text(errors="replace").splitlines()[-TAIL_LINES:]))
    return 1


def _wait_for_flower(url: str) -> None:
    """Return when Flower listens: a script goes on at once with what it was told. It is no reason to fail."""
    port = urlsplit(url).port or 0
    deadline = time.monotonic() + FLOWER_SECONDS
    while is_free(port) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)  # another process's state, which tells nobody when it changes


def stop(home: Home) -> int:
    """Return 0 when no stack runs in `home` any more. Raises `StackError` when it does not stop.

    The supervisor is who holds the lock: its pid is never taken from a file that may be stale.
    """
    pid = home.holder()
    if pid is None:
        say("No stack runs here.")
        return 0
    began = started_at(pid)
    try:
        os.kill(pid, signal.SIGTERM)
    except PermissionError:
        raise StackError(f"the stack belongs to another user (supervisor's pid {pid})") from None
    deadline = time.monotonic() + STOP_SECONDS
    while home.holder() == pid or (began is not None and started_at(pid) == began):  # it lets go just before it ends
        if time.monotonic() > deadline:
            raise StackError(f"the supervisor (pid {pid}) has not stopped within {STOP_SECONDS:g} s")
        time.sleep(POLL_SECONDS)  # another process's state, which tells nobody when it changes
    say("Penstock has stopped.")
    return 0
