"""How fast a worker works, by its own count."""

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Final

SPAN: Final = 60.0
"""Seconds over which a rate is told."""


class Rates:
    """How many attempts of each queue end in a second, over the last minute. One thread counts, another looks."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin to count now."""
        self._clock = clock
        self._ended: Counter[str] = Counter()
        self._past: deque[tuple[float, Mapping[str, int]]] = deque([(clock(), {})])

    def ended(self, queue: str) -> None:
        """Count one more."""
        self._ended[queue] += 1

    def look(self) -> dict[str, float]:
        """Return the attempts a second of each queue of which any ended; called every few seconds."""
        now, counts = self._clock(), dict(self._ended)
        self._past.append((now, counts))
        while len(self._past) > 2 and self._past[1][0] <= now - SPAN:  # noqa: PLR2004 - a span has two ends
            self._past.popleft()
        then, before = self._past[0]
        if now <= then:
            return {}
        rates = {queue: (count - before.get(queue, 0)) / (now - then) for queue, count in counts.items()}
        return {queue: round(rate, 3) for queue, rate in rates.items() if rate}
