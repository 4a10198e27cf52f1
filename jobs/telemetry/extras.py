"""Parts that need an extra to be installed: imported when somebody wants them, and by nobody else."""

import importlib
from typing import Any

import structlog

log = structlog.get_logger()


def load(module: str, *, needs: str, extra: str) -> Any:
    """Return the module, imported now; None, with a warning, where the package `needs` is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != needs:
            raise
        log.warning("extra_not_installed", extra=f"penstock[{extra}]", missing=error.name)
        return None
