"""Who began when, and had stood in which line: in memory, for in a long run this is asked of very many jobs."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple
from uuid import UUID


class Entry(NamedTuple):
    """One job, and its first start."""

    id: UUID
    queue: str
    priority: int
    created_at: datetime
    started_at: datetime | None


class Lines:
    """The jobs of each queue and priority, in the order of their first starts."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        """Take all jobs; they come in the order in which they began."""
        self._places: dict[UUID, tuple[str, int, float]] = {}
        self._started: dict[tuple[str, int], list[float]] = defaultdict(list)
        self._created: dict[tuple[str, int], list[float]] = defaultdict(list)
        for job_id, queue, priority, created_at, started_at in entries:
            created = created_at.timestamp()
            self._places[job_id] = (queue, priority, created)
            if started_at is not None:
                self._started[queue, priority].append(started_at.timestamp())
                self._created[queue, priority].append(created)

    def passed_by(self, job_id: UUID, since: datetime, until: datetime) -> int:
        """Return how many later jobs of its queue, no more urgent than this one, began in that time."""
        queue, priority, created = self._places[job_id]
        first, last = since.timestamp(), until.timestamp()
        count = 0
        for line, started in self._started.items():
            if line[0] == queue and line[1] <= priority:
                began = slice(bisect_left(started, first), bisect_right(started, last))
                count += sum(one > created for one in self._created[line][began])
        return count
