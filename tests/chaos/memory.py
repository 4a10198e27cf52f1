"""A bound on the memory of a process and its children: a cgroup where one can be made, an address space otherwise."""

import os
import resource
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

HEADROOM_BYTES: Final = 512 << 20
"""More than a worker with busy children takes together."""
_ADDRESS_SPACE_BYTES: Final = 2 << 30
"""More than any of its processes maps."""
V1: Final = Path("/sys/fs/cgroup/memory")
V2: Final = Path("/sys/fs/cgroup")


class MemoryBound(Protocol):
    """Holds processes to a limit."""

    kills: bool
    """Whether the kernel kills who goes beyond it; otherwise the process gets a MemoryError."""
    beyond_megabytes: int
    """What no process can take."""

    def adopt(self, pid: int) -> None:
        """Bound the process, and what it will fork."""

    def kill_count(self) -> int:
        """Return how many processes the kernel has killed for it so far."""

    def close(self) -> None:
        """Remove what was made."""


class Cgroup:
    """A control group of version 1 or 2 with a limit of memory."""

    kills = True
    beyond_megabytes = HEADROOM_BYTES * 3 // 2 >> 20

    def __init__(self, folder: Path, limit_file: str, kills_file: str) -> None:
        """Make `folder`. Raises `OSError` where that is not allowed."""
        self._folder = folder
        self._kills_file = kills_file
        folder.mkdir()
        try:
            (folder / limit_file).write_text(str(HEADROOM_BYTES))
            with suppress(OSError):  # a system without swap has no such file
                (folder / "memory.swap.max").write_text("0")
        except OSError:
            folder.rmdir()
            raise

    def adopt(self, pid: int) -> None:
        """Put the process, and what it will fork, in the group."""
        with suppress(ProcessLookupError):
            (self._folder / "cgroup.procs").write_text(str(pid))

    def kill_count(self) -> int:
        """Return how many processes the kernel has killed for it so far."""
        told = (self._folder / self._kills_file).read_text()
        return next((int(line.split()[1]) for line in told.splitlines() if line.startswith("oom_kill ")), 0)

    def close(self) -> None:
        """Remove the group; its processes must have ended."""
        with suppress(OSError):
            self._folder.rmdir()


class AddressSpace:
    """RLIMIT_AS, for machines on which no control group can be made."""

    kills = False
    beyond_megabytes = _ADDRESS_SPACE_BYTES * 3 // 2 >> 20

    def adopt(self, pid: int) -> None:
        """Bound what the process, and what it will fork, can map."""
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_AS, (_ADDRESS_SPACE_BYTES, _ADDRESS_SPACE_BYTES))

    def kill_count(self) -> int:
        """Return 0: a process gets a MemoryError instead."""
        return 0

    def close(self) -> None:
        """Nothing was made."""


def bound(name: str) -> MemoryBound:
    """Return a new bound of this name, by a cgroup if this machine allows one."""
    for folder, *files in (
        (_own_group("memory", V1), "memory.limit_in_bytes", "memory.oom_control"),
        (_own_group("", V2), "memory.max", "memory.events"),
    ):
        if folder is None:
            continue
        try:
            return Cgroup(folder / f"penstock-{name}-{os.getpid()}", *files)
        except OSError:
            continue
    return AddressSpace()


def _own_group(controller: str, mounted: Path) -> Path | None:
    """Return the folder of the group that we are in ourselves (proc(5), cgroups(7))."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except FileNotFoundError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(",") and mounted.is_dir():
            return mounted / path.lstrip("/")
    return None
