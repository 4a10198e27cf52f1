"""Processes that a killed supervisor may have left behind.

On Linux the kernel ends them (`Child`'s leash); elsewhere, and while they still drain, this finds them by the pids
that were noted, and by the instant each started, so that a reused pid is never harmed.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

LINUX = Path("/proc/self/stat")
POLL_SECONDS = 0.02


def started_at(pid: int) -> str | None:
    """Return when process `pid` started, in the system's own words, or None when there is no such process."""
    if LINUX.exists():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] == "Z" else fields[19]  # proc(5): state, and starttime in ticks since boot
    asked = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return asked.stdout.strip() or None


def noted(pids: Iterable[int | None]) -> dict[int, str]:
    """Return the processes among `pids` that run, each with its start."""
    starts = {pid: started_at(pid) for pid in pids if pid is not None}
    return {pid: start for pid, start in starts.items() if start is not None}


def end_leftovers(processes: Mapping[int, str], seconds: float) -> list[int]:
    """End the noted processes that still run, and their groups; return which. SIGINT first: PostgreSQL's fast stop."""
    left = [pid for pid, start in processes.items() if started_at(pid) == start]
    for pid in left:
        _send(pid, signal.SIGINT)
        _send(pid, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while any(started_at(pid) == processes[pid] for pid in left) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)  # another process's state, which tells nobody when it changes
    for pid in left:
        if started_at(pid) == processes[pid]:
            _send(pid, signal.SIGKILL)
    return left


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
