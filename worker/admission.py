"""Which doorbell is answered next, and how many at once.

A job is started when a slot is free. Jobs of tasks that have been quick lately are also started ahead, a
few for each slot, so that a slot never waits for the database between two of them.
"""

import heapq
import itertools
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from jobs.model import JobId
from tasks.messages import Ring

AHEAD: Final = 15
"""Quick jobs that may be started ahead for each slot."""
QUICK_SECONDS: Final = 0.02
"""A task whose runs lately took less on average is quick."""
_UNKNOWN: Final = 1.0
_WEIGHT: Final = 0.2
"""Of the latest run in the moving average."""


@dataclass(eq=False, slots=True)
class Doorbell:
    """A message as it came in, to be acknowledged when all that it names is dealt with."""

    acknowledge: Callable[[], None]
    requeue: Callable[[], None]
    open_count: int


class Waiting(NamedTuple):
    """A job that a doorbell speaks of; sorts the most urgent first, then the earliest."""

    urgency: int
    order: int
    job_id: JobId
    task: str
    doorbell: Doorbell


class Admission:
    """The doorbells that wait for a slot. Its caller holds the lock."""

    def __init__(self, slots: int) -> None:
        """Admit for `slots` attempts at a time."""
        self.slots = slots
        self._heap: list[Waiting] = []
        self._order = itertools.count()
        self._seconds: defaultdict[str, float] = defaultdict(lambda: _UNKNOWN)

    def __len__(self) -> int:
        """Return how many jobs wait."""
        return len(self._heap)

    def push(self, ring: Ring, doorbell: Doorbell) -> None:
        """Have the jobs of `ring` wait."""
        for job_id in ring.jobs:
            heapq.heappush(self._heap, Waiting(-ring.priority, next(self._order), job_id, ring.task, doorbell))

    def put_back(self, waiting: list[Waiting]) -> None:
        """Have jobs wait again that could not be started."""
        for one in waiting:
            heapq.heappush(self._heap, one)

    def learn(self, task: str, seconds: float) -> None:
        """Remember how long a run took."""
        self._seconds[task] += _WEIGHT * (seconds - self._seconds[task])

    def may_take(self, busy: int, *, stuck: bool) -> bool:
        """Tell whether the first in line may be started; `stuck`: some slot has not moved for a while."""
        if not self._heap:
            return False
        if busy < self.slots:
            return True
        quick = self._seconds[self._heap[0].task] <= QUICK_SECONDS
        return quick and not stuck and busy < self.slots * (1 + AHEAD)

    def take(self, busy: int, most: int, *, stuck: bool) -> list[Waiting]:
        """Return those that may be started now, `most` at the most."""
        taken: list[Waiting] = []
        while len(taken) < most and self.may_take(busy + len(taken), stuck=stuck):
            taken.append(heapq.heappop(self._heap))
        return taken

    def clear(self) -> list[Doorbell]:
        """Forget who waits and return their doorbells."""
        doorbells = list(dict.fromkeys(waiting.doorbell for waiting in self._heap))
        self._heap.clear()
        return doorbells
