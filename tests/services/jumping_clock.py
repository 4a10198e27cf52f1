"""A clock of processes that jumps to order, as that of a machine does when somebody sets it."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.services.fixtures import unavailable

SOURCE: Final = Path(__file__).with_suffix(".c")


class JumpingClock:
    """What processes that were started with `environment` take for the time of day; PostgreSQL keeps its own."""

    def __init__(self, home: Path) -> None:
        """Show the true time at first. Where there is no C compiler on Linux, the test cannot be made."""
        compiler = shutil.which("cc")
        if compiler is None:
            unavailable("a C compiler, to shift the clock of a process")
        self._shift = home / "shift"
        self._library = home / "jumping_clock.so"
        self.jump(0)
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", self._library, SOURCE], check=True)

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process must be started with."""
        return {"LD_PRELOAD": str(self._library), "JUMPING_CLOCK": str(self._shift)}

    def jump(self, seconds: int) -> None:
        """Be so far ahead of the true time from now on; behind it, when negative."""
        part = self._shift.with_suffix(".new")
        part.write_text(str(seconds))
        part.replace(self._shift)
