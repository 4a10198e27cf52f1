"""Whether beat can do its work: told by the rounds themselves, as each ends."""

import math
import time
from collections.abc import Callable
from typing import Final

STALE_AFTER: Final = 30.0
"""Seconds without a good word of something after which it counts as away."""


class Readiness:
    """What beat needs, each by its name, and when it was last well."""

    def __init__(self, *, stale_after: float = STALE_AFTER, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is well before somebody has said so."""
        self._stale_after = stale_after
        self._clock = clock
        self._well_at = dict.fromkeys(("postgresql", "broker", "upkeep", "firing"), -math.inf)
        self._is_accepting = True

    def well(self, *names: str) -> None:
        """Note that PostgreSQL or the broker answered, or that a round ended in which nothing failed."""
        self._well_at |= dict.fromkeys(names, self._clock())

    def lost(self, name: str) -> None:
        """Note that it does not answer."""
        self._well_at[name] = -math.inf

    def leave(self) -> None:
        """Be not ready from now on: the process is about to stop. Takes no lock: it is called by a signal's handler."""
        self._is_accepting = False

    def look(self) -> dict[str, bool]:
        """Return what is well now."""
        now = self._clock()
        well = {name: now - at < self._stale_after for name, at in self._well_at.items()}
        return well | {"accepting": self._is_accepting}
