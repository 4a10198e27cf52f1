"""Finds the modules that define tasks: the entry points of installed packages, and a setting."""

import importlib
import os
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Final

from jobs.errors import ConfigurationError

ENTRY_POINT_GROUP: Final = "penstock.tasks"


def task_modules(named: Sequence[str]) -> list[str]:
    """Return the modules to import, in order: those of installed packages, then those of the setting."""
    installed = sorted(entry.value for entry in entry_points(group=ENTRY_POINT_GROUP))
    return list(dict.fromkeys([*installed, *named]))


def load(named: Sequence[str]) -> list[str]:
    """Import every task module and return their names.

    Modules of the setting are also looked for in the current folder. Raises `ConfigurationError` that
    names the module and the reason: a task that is silently missing would be found out by its first job.
    """
    modules = task_modules(named)
    here = os.getcwd()  # noqa: PTH109 - sys.path holds strings
    if named and here not in sys.path:
        sys.path.append(here)
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:
            raise ConfigurationError(
                f"The task module {module} cannot be imported: {type(error).__name__}: {error}. "
                "Check PENSTOCK_TASK_MODULES and the folder that the process runs in."
            ) from error
    return modules
