"""How long a submission will wait for its commit, learnt from the commits before it.

A commit has a fixed price (the round trips, the disk) and one for each submission in it. Which is which decides:
twice as many submissions take hardly longer on a slow disk, and twice as long on a slow processor.
"""

import time
from collections.abc import Callable
from typing import Final

_SHARE: Final = 0.1
"""The weight of the newest commit among those that were seen: what counts are the last twenty or so."""
_GUESS: Final = (0.004, 0.0003)
"""Seconds of a commit, and of each submission in it, before any was seen."""
_DOUBT: Final = 20.0
"""As long as the sizes of the groups differ by less than about the root of this, the price of one is guessed."""


class Pace:
    """Learns the price of a commit from one thread, and tells the wait to any other."""

    def __init__(self, largest: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Expect groups of at most `largest`."""
        self._largest = largest
        self._clock = clock
        self._price = _GUESS
        self._under_way: tuple[float, int] | None = None
        self._size, self._seconds = 1.0, sum(_GUESS)
        self._spread = self._trend = 0.0

    def begin(self, count: int) -> None:
        """A commit of `count` submissions begins."""
        self._under_way = (self._clock(), count)

    def end(self) -> None:
        """The commit is done, and whatever had to be done before the next one can begin."""
        if self._under_way is not None:
            began, count = self._under_way
            self._learn(count, self._clock() - began)
        self._under_way = None

    def fail(self) -> None:
        """The commit came to nothing, and says nothing of the next one."""
        self._under_way = None

    def wait(self, ahead: int) -> float:
        """Return the seconds that a submission should wait with `ahead` others before it, besides its own."""
        groups, rest = divmod(ahead, self._largest)
        fixed, each = self._price
        wait = groups * (fixed + each * self._largest) + each * rest
        if self._under_way is not None:
            began, count = self._under_way
            wait += max(0.0, fixed + each * count - (self._clock() - began))
        return wait

    def overdue(self) -> float:
        """Return the seconds by which the commit under way takes longer than it should.

        It is expected to take as long again: we cannot know what it waits for.
        """
        if self._under_way is None:
            return 0.0
        began, count = self._under_way
        fixed, each = self._price
        return max(0.0, self._clock() - began - fixed - each * count)

    def _learn(self, count: int, seconds: float) -> None:
        """Fit a line through the last commits; later ones weigh more (exponentially weighted least squares)."""
        more, longer = count - self._size, seconds - self._seconds
        self._size += _SHARE * more
        self._seconds += _SHARE * longer
        self._spread = (1 - _SHARE) * (self._spread + _SHARE * more * more)
        self._trend = (1 - _SHARE) * (self._trend + _SHARE * more * longer)
        each = (self._trend + _DOUBT * _GUESS[1]) / (self._spread + _DOUBT)
        each = min(max(each, 0.0), self._seconds / self._size)
        self._price = (self._seconds - each * self._size, each)
