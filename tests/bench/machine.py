"""Where and with what a run was made: figures without it mean nothing."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from tests.bench.processes import ROOT

PACKAGES = ("celery", "kombu", "sqlalchemy", "psycopg", "fastapi", "uvicorn", "uvloop", "httptools", "redis")


def machine() -> dict[str, str | int]:
    """The processor, memory, kernel and load of this machine."""
    one, five, _ = os.getloadavg()
    pages, page_bytes = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory": f"{pages * page_bytes / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load before": f"{one:.2f} (1 min), {five:.2f} (5 min)",
    }


def versions() -> dict[str, str]:
    """Python's version and those of the packages that do the work on either side."""
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES}


def commit() -> str:
    """The commit of the working tree, with `+` when something differs from it; `unknown` outside of git."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head}{'+' if changed else ''}"


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True, timeout=20
    ).stdout.strip()


def _cpu() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
