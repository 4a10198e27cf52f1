"""Notices that a worker is deaf: connected, with a free slot, and starting nothing while jobs wait for it.

A connection can look well and bring nothing more: a consumer that the broker has forgotten, a poll that is
no longer made, a network that passes one direction only. Or it brings messages, and never one that speaks of a job
that waits. Nothing in the connection tells; the rows do.
"""

import random
import time
from collections.abc import Callable
from typing import Final

MOST_DOUBLINGS: Final = 3
"""How often the patience is doubled while new connections do not help."""


class Deaf(ConnectionError):
    """Ends a connection that brings nothing which could be started."""


class Ears:
    """When a job was started last, and whether that was too long ago. The keeper starts, the heartbeat looks."""

    def __init__(
        self,
        seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Be called deaf after `seconds` of silence beside jobs that wait as long."""
        self.seconds = seconds
        self._clock = clock
        self._jitter = jitter
        self._quiet_since = clock()
        self._waiting_since: float | None = None
        self._next_look_at = clock()
        self._deaf_since: float | None = None
        self._restarts = 0

    def claimed(self) -> None:
        """Note that a message led to an attempt; one that comes in and leads to none says nothing."""
        self._quiet_since = self._clock()
        self._restarts = 0

    def excused(self) -> None:
        """Note that nothing needs to be started now: no slot is free, or the connection is new."""
        self._quiet_since = self._clock()

    def wants_look(self) -> bool:
        """Tell whether it has been quiet for so long that somebody should see if jobs wait."""
        now = self._clock()
        return now >= self._next_look_at and now - self._quiet_since >= self.seconds / 2

    def put_off(self) -> None:
        """Have the next look come a while from now, whatever becomes of the one that is about to be made."""
        self._next_look_at = self._clock() + self.seconds * self._jitter(1 / 8, 1 / 4)

    def looked(self, *, jobs_wait: bool) -> None:
        """Note what was seen. Jobs that wait at one look may just have come back; at two in a row, they wait."""
        now, quiet_since = self._clock(), self._quiet_since
        self.put_off()
        if not jobs_wait:
            self._waiting_since = None
        elif self._waiting_since is None or self._waiting_since < quiet_since:
            self._waiting_since = now
        elif now - quiet_since >= self.seconds * 2 ** min(self._restarts, MOST_DOUBLINGS):
            self._deaf_since = quiet_since

    @property
    def are_deaf(self) -> bool:
        """Whether nothing was started while jobs waited, up to now."""
        return self._deaf_since == self._quiet_since

    def restarted(self) -> None:
        """Note that the connection is about to be made anew."""
        self._restarts += 1
        self.excused()
