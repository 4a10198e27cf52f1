"""A turnstile: so many requests are begun at each turn of the event loop, the others wait for the next.

A loop that begins all that came, however many, comes back to the connections late: whoever is to be refused waits as
long as those who are served. So a crowd is let in by and by, and each turn is short.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

A_TURN: Final = 20
"""Requests that are begun at one turn of the event loop, and as many that go on when their jobs are durable."""
_SHARE: Final = 0.1
"""The weight of the newest turn among those that were seen."""


class Turnstile:
    """Lets requests through in the order in which they came; for one event loop."""

    def __init__(self, places: int = A_TURN, clock: Callable[[], float] = time.monotonic) -> None:
        """Let `places` through at each turn."""
        self._places = places
        self._clock = clock
        self._passed = 0
        self._turned_at = 0.0
        self._seconds = 0.0
        self._crowd: deque[asyncio.Future[None]] = deque()

    def wait(self) -> float:
        """Return the seconds that a newcomer would wait; 0 where nobody does."""
        return len(self._crowd) / self._places * self._seconds

    async def enter(self) -> None:
        """Return when it is the caller's turn: at once as long as few come at a time."""
        if not self._passed:
            self._turned_at = self._clock()
            asyncio.get_running_loop().call_soon(self._turn)
        if self._passed < self._places and not self._crowd:
            self._passed += 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._crowd.append(place)
        await place

    def _turn(self) -> None:
        """Let the next ones through, and come back as long as anybody does."""
        now = self._clock()
        self._seconds += _SHARE * (now - self._turned_at - self._seconds)
        self._turned_at = now
        self._passed = 0
        while self._crowd and self._passed < self._places:
            place = self._crowd.popleft()
            if not place.done():  # its client may have left
                place.set_result(None)
                self._passed += 1
        if self._passed:
            asyncio.get_running_loop().call_soon(self._turn)
