"""Logs that do not grow without end."""

import shutil
from pathlib import Path

LIMIT_BYTES = 16 * 1024 * 1024


def bound(folder: Path, limit_bytes: int = LIMIT_BYTES) -> None:
    """Turn over each log of `folder` that is larger than `limit_bytes`: copied to `<name>.1`, then emptied.

    The writers keep their open files: they append, so their next line is the first of the emptied file.
    """
    for log in folder.glob("*.log"):
        if log.stat().st_size > limit_bytes:
            shutil.copyfile(log, log.with_suffix(".log.1"))
            with log.open("r+b") as file:
                file.truncate(0)
