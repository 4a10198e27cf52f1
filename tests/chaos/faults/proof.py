"""Whether a blow was seen to hit: a fault that nobody saw is reported as missed, and counts for nothing."""

import time
from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

import psutil

from jobs.state import Outcome
from tests.chaos.memory import MemoryBound
from tests.chaos.tables import Away, Tables
from tests.chaos.witness import Witness

GONE_SECONDS: Final = 5.0
"""By which a process that was killed must be gone."""
LOOK_EVERY: Final = 0.02
OUT_OF_MEMORY: Final = MemoryError.__name__


def was_killed(pid: int) -> bool:
    """Kill the process, and tell whether it was there and is gone."""
    try:
        process = psutil.Process(pid)
        process.kill()
    except psutil.NoSuchProcess:
        return False
    deadline = time.monotonic() + GONE_SECONDS
    while not is_gone(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_EVERY)
    return True


def is_gone(process: psutil.Process) -> bool:
    """Tell whether the process runs no more, be it that nobody has asked for its end yet."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def is_stopped(pid: int) -> bool:
    """Tell whether the process is held still."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return False


class OutOfMemory:
    """Looks whether the first attempt at a job was ended for its memory, by whichever worker ran it."""

    def __init__(self, memory: Iterable[MemoryBound], tables: Tables, witness: Witness) -> None:
        """Remember how often the kernel has killed so far."""
        self._memory = list(memory)
        self._tables = tables
        self._witness = witness
        self._before = self._kills()

    def _kills(self) -> int:
        return sum(one.kill_count() for one in self._memory)

    def is_seen(self, ids: Sequence[UUID]) -> bool:
        """Tell whether a kill and a lost attempt are on record, or, where nothing kills, a MemoryError."""
        if not all(one.kills for one in self._memory):
            return any(self._witness.how(job_id) == OUT_OF_MEMORY for job_id in ids)
        try:
            return self._kills() > self._before and Outcome.LOST in self._tables.first_outcomes(ids)
        except Away:
            return False
