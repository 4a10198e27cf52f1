"""What is true of the process that tells: its release, and what it and its children use of the machine.

The names are those of prometheus_client's own collector. Here they are about the main process and its children
together: whichever process of several is asked, the answer is the same, and CPU time never goes back, because the
kernel adds the time of a child that has died to its parent's. Where there is no /proc, only the release is told.
"""

import os
import platform
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from jobs.release import release_version
from jobs.telemetry.contract import PREFIX, row

_PROC: Final = Path("/proc")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = resource.getpagesize()


class _Stat(NamedTuple):
    """Fields of /proc/<pid>/stat (proc_pid_stat(5)), in its units."""

    own_ticks: int
    buried_ticks: int
    """Of children that have died and were waited for."""
    started_ticks: int
    """After the machine."""
    virtual_bytes: int
    resident_pages: int


def _stat(pid: int) -> _Stat:
    # The second field is the program's name in parentheses, which may hold blanks and parentheses.
    fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    user, system, buried_user, buried_system = map(int, fields[11:15])
    return _Stat(user + system, buried_user + buried_system, int(fields[19]), int(fields[20]), int(fields[21]))


def children(pid: int) -> set[int]:
    """Return the pids of the children of `pid`, whichever of its threads made them."""
    found: set[int] = set()
    for task in (_PROC / str(pid) / "task").iterdir():
        try:
            found.update(map(int, (task / "children").read_text().split()))
        except OSError:  # the thread has ended
            continue
    return found


class Family(Collector):
    """The main process and its children."""

    def __init__(self, main: int) -> None:
        """Look at `main` at each scrape."""
        self._main = main
        self._has_proc = (_PROC / "self" / "stat").exists()
        self._booted = self._boot_time() if self._has_proc else 0.0

    @staticmethod
    def _boot_time() -> float:
        lines = (_PROC / "stat").read_text().splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith("btime ")))

    def collect(self) -> Iterator[Metric]:
        """Return what they use together, and how many they are."""
        if not self._has_proc:
            return
        try:
            main, young = _stat(self._main), self._children()
        except OSError:  # it has ended, and so will we
            return
        every = [main, *young.values()]
        ticks = main.buried_ticks + sum(one.own_ticks for one in every)
        resident = sum(one.resident_pages for one in every) * _PAGE
        started = self._booted + main.started_ticks / _TICKS
        files = sum(map(_open_files, [self._main, *young]))
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        cpu = "Total user and system CPU time spent in seconds."
        yield CounterMetricFamily("process_cpu_seconds", cpu, value=ticks / _TICKS)
        for name, meaning, value in (
            ("resident_memory_bytes", "Resident memory size in bytes.", resident),
            ("virtual_memory_bytes", "Virtual memory size in bytes.", sum(one.virtual_bytes for one in every)),
            ("start_time_seconds", "Start time of the process since unix epoch in seconds.", started),
            ("open_fds", "Number of open file descriptors.", files),
            ("max_fds", "Maximum number of open file descriptors.", limit),
        ):
            yield GaugeMetricFamily(f"process_{name}", meaning, value=value)
        yield GaugeMetricFamily(PREFIX + "processes", row("processes").meaning, value=len(every))

    def _children(self) -> dict[int, _Stat]:
        found = {}
        for pid in children(self._main):
            try:
                found[pid] = _stat(pid)
            except OSError:  # it has ended just now
                continue
        return found


def _open_files(pid: int) -> int:
    try:
        return len(list((_PROC / str(pid) / "fd").iterdir()))
    except OSError:  # it has ended, or is another user's
        return 0


class Build(Collector):
    """The release, as labels of a series that is always 1."""

    def collect(self) -> Iterator[Metric]:
        """Return the one series."""
        told = row("build_info")
        family = GaugeMetricFamily(PREFIX + told.name, told.meaning, labels=told.labels)
        family.add_metric((release_version(), platform.python_version()), 1)
        yield family


def tell_facts(registry: CollectorRegistry, *, main: int | None = None) -> None:
    """Have `registry` tell what is true of this service.

    `main` is the parent, where several processes answer in turn: of their garbage collectors nothing is told then.
    """
    registry.register(Build())
    registry.register(Family(main or os.getpid()))
    PlatformCollector(registry=registry)
    if main is None:
        GCCollector(registry=registry)
