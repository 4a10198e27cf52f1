"""When a queue was paused for certain, by the word of whoever paused it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from tests.chaos.ledger import Call, Operation, Status

Paused = tuple[datetime, datetime]
"""From the answer that it is, to the first try at having it go on."""
FOREVER: Final = datetime.max.replace(tzinfo=UTC)
STRAY: Final = timedelta(seconds=60)
"""For how long a try that was not answered may still be on its way."""


def pauses(operations: Iterable[Operation]) -> Mapping[str, Sequence[Paused]]:
    """Return when each queue was paused for certain, in order.

    A pause is left out in which a resume may have struck of which nobody learned what became of it.
    """
    calls: dict[str, list[Operation]] = defaultdict(list)
    for one in operations:
        if one.queue is not None and one.call in {Call.PAUSE, Call.RESUME}:
            calls[one.queue].append(one)
    return {queue: _certain(sorted(made, key=lambda one: one.sent_at)) for queue, made in calls.items()}


def _certain(made: Sequence[Operation]) -> list[Paused]:
    found: list[Paused] = []
    resumes = [one for one in made if one.call is Call.RESUME]
    for one in made:
        if one.call is not Call.PAUSE or one.status is not Status.ACKNOWLEDGED or one.answered_at is None:
            continue
        since = one.answered_at
        if found and since < found[-1][1]:
            continue  # it was paused already
        strays = [r for r in resumes if r.status is Status.UNKNOWN and since - STRAY < r.sent_at < since]
        if not strays:
            found.append((since, next((r.sent_at for r in resumes if r.sent_at >= since), FOREVER)))
    return found
