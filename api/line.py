"""A line before a few places: requests that need a connection, each for a while."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from anyio import CapacityLimiter

from api.crowd import Crowd
from api.problems import Overloaded
from jobs.errors import DatabaseUnavailable, Unavailable

_SHARE: Final = 0.1
"""The weight of the newest turn among those that were seen."""
_GUESS: Final = 0.002
"""Seconds for a unit of work, before any was seen."""


class Line:
    """Lets as many work at a time as there are connections for them, and knows how long a newcomer would wait."""

    def __init__(
        self,
        places: int,
        *,
        patience: float,
        longest_wait: float = float("inf"),
        clock: Callable[[], float] = time.monotonic,
        timeouts: Any = None,
    ) -> None:
        """Have `places`; nobody waits longer than `patience`, and no newcomer should who expects `longest_wait`.

        `timeouts`, a counter of Prometheus, counts those whose patience was not enough.
        """
        self.threads = CapacityLimiter(places)
        self._places = places
        self._patience = patience
        self._longest_wait = longest_wait
        self._clock = clock
        self._timeouts = timeouts
        self._turns = asyncio.Semaphore(places)
        self._ahead = 0.0
        self._price = _GUESS
        self._moved_at = clock()

    def wait(self, coming: int = 0) -> float:
        """Return the seconds that a newcomer would wait for a place, with `coming` others on their way to the line.

        Where none was given up for long, it is expected to take as long again.
        """
        if not self._turns.locked():
            coming -= self._places
            return max(0, coming) * self._price / self._places
        return max((self._ahead + coming) * self._price / self._places, self._clock() - self._moved_at)

    def verdict(self, crowd: Crowd) -> type[Unavailable] | None:
        """Say why nobody should come in now; None: come in."""
        return Overloaded if max(crowd.lag + crowd.turn, self.wait(crowd.coming)) > self._longest_wait else None

    @asynccontextmanager
    async def turn(self, weight: float = 1.0) -> AsyncIterator[None]:
        """Hold a place for the block; `weight` says how much is to be done. Raises `DatabaseUnavailable`."""
        self._ahead += weight
        try:
            async with asyncio.timeout(self._patience):
                await self._turns.acquire()
        except TimeoutError:
            if self._timeouts is not None:
                self._timeouts.inc()
            raise DatabaseUnavailable("No connection was free in time; nothing was stored.") from None
        finally:
            self._ahead -= weight
        began = self._moved_at = self._clock()
        try:
            yield
        finally:
            self._moved_at = self._clock()
            self._price += _SHARE * ((self._moved_at - began) / weight - self._price)
            self._turns.release()
