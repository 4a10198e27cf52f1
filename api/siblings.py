"""Processes that share a port, and the folder in which they keep their metrics for each other.

Imports nothing of prometheus_client: that reads the folder from the environment when it is first imported.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

SHARED: Final = "penstock-metrics-"
"""Begins the name of the folder; the pid of the processes' parent follows."""


def shared_folder() -> str:
    """Return a new folder, and remove those of parents that were killed."""
    for left in Path(tempfile.gettempdir()).glob(f"{SHARED}*-*"):
        pid = left.name.removeprefix(SHARED).partition("-")[0]
        if pid.isdigit() and not is_there(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    return tempfile.mkdtemp(prefix=f"{SHARED}{os.getpid()}-")


def is_there(pid: int) -> bool:
    """Tell whether there is a process of this number, whoever's it is."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
