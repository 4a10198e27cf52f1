"""How late the event loop is: what a request waits before anybody looks at it."""

import asyncio
import time
from typing import Final

TICK: Final = 0.01
"""Seconds between two looks at the clock."""


class Lag:
    """Watches one event loop, as long as it has something to do; to be asked from that loop."""

    def __init__(self) -> None:
        """Watch nothing yet."""
        self._due: float | None = None
        self._late = 0.0
        self.busy = 0

    def __enter__(self) -> None:
        """Watch while the block lasts, and other blocks like it."""
        self.busy += 1
        if self._due is None:
            self._wind(time.monotonic())

    def __exit__(self, *_: object) -> None:
        """Stop with the last block, at the next tick."""
        self.busy -= 1

    def seconds(self) -> float:
        """Return how late the last tick was, or how late the next one already is."""
        if self._due is None:
            return 0.0
        return max(self._late, time.monotonic() - self._due)

    def _wind(self, now: float) -> None:
        self._due = now + TICK
        asyncio.get_running_loop().call_later(TICK, self._tick)

    def _tick(self) -> None:
        assert self._due is not None  # noqa: S101 - it was set with this call
        now = time.monotonic()
        self._late = max(0.0, now - self._due)
        if self.busy:
            self._wind(now)
        else:
            self._due, self._late = None, 0.0
