"""Builds with a planted bug: a patch, what its header says of it, and how it gets into a copy of the code.

A hunk is found by its own lines and not by their numbers, so that code which moves does not matter and code which
changes does: a hunk that is not there exactly once stops the build.
"""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

_HEADER: Final = re.compile(r"^(?P<name>Breaks|Plot): (?P<value>.+)$", re.MULTILINE)
_FILE: Final = "--- a/"


class DoesNotApply(AssertionError):
    """The code that the patch breaks has changed: make the patch anew, or this bug is no longer tried."""


@dataclass(frozen=True)
class Planted:
    """A bug, and what its patch says of it."""

    patch: Path
    plot: str
    """Module and function of the history that brings it out."""
    breaks: frozenset[str]
    """The invariants that it breaks there."""

    @classmethod
    def read(cls, patch: Path) -> Self:
        """Return the bug that `patch` plants."""
        found = {match["name"]: match["value"] for match in _HEADER.finditer(patch.read_text())}
        return cls(patch, found["Plot"], frozenset(found["Breaks"].split(", ")))

    @property
    def packages(self) -> set[str]:
        """The packages that it changes."""
        return {hunk.path.partition("/")[0] for hunk in _hunks(self.patch.read_text())}

    @property
    def scene(self) -> tuple[str, str]:
        """The plot's module and name."""
        module, _, name = self.plot.partition(":")
        return f"tests.chaos.{module}", name


@dataclass
class _Hunk:
    path: str
    old: str = ""
    new: str = ""


def _hunks(patch: str) -> Iterator[_Hunk]:
    path, hunk = "", None
    for line in patch.splitlines(keepends=True):
        if line.startswith((_FILE, "@@")):
            if hunk:
                yield hunk
            path = line.removeprefix(_FILE).strip() if line.startswith(_FILE) else path
            hunk = _Hunk(path) if line.startswith("@@") else None
        elif hunk and not line.startswith("+++"):
            hunk.old += line[1:] if line[0] in " -" else ""
            hunk.new += line[1:] if line[0] in " +" else ""
    if hunk:
        yield hunk


def build(bug: Planted, source: Path, folder: Path) -> Path:
    """Return `folder` with a copy of the packages of `source` that the patch changes, and the bug in them.

    Raises `DoesNotApply`.
    """
    hunks = list(_hunks(bug.patch.read_text()))
    for package in bug.packages:
        shutil.copytree(source / package, folder / package)
    for hunk in hunks:
        code = (folder / hunk.path).read_text()
        times = code.count(hunk.old)
        if times != 1:
            raise DoesNotApply(f"{bug.patch.name} no longer applies: {hunk.path} has {times} times\n{hunk.old}")
        (folder / hunk.path).write_text(code.replace(hunk.old, hunk.new))
    return folder
