"""How long a fault was felt: from its blow until the jobs that it could hold up had gone on.

A job has gone on with its first event after the blow that shows work: its next start, or the end of its attempt or of
itself. Asked for are the jobs in flight in what was struck, and all that could have run at that moment and did not yet:
a doorbell may have been on its way there. A request has gone on when its client had its answer.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.chaos.faults.scene import Strike
from tests.chaos.tables import Tables

WENT_ON: Final = ("start", "succeed", "fail", "retry", "cancel", "expire", "redrive")


@dataclass
class Felt:
    """What one fault did to whom."""

    strike: Strike
    seconds: list[float] = field(default_factory=list)
    """One for each job and request that went on."""
    stuck: int = 0
    """How many never did."""

    @property
    def recovery(self) -> float | None:
        """Seconds until the last of them went on; None: there was nobody, or somebody never did."""
        return max(self.seconds) if self.seconds and not self.stuck else None


def felt(strike: Strike, tables: Tables) -> Felt:
    """Return how long the fault was felt, as the table of events and the clients tell."""
    found = Felt(strike)
    if strike.at is None:
        return found
    seen = [*strike.touched, *strike.waiting]
    went_on = tables.progress(seen, WENT_ON)
    found.seconds = [max(0.0, (at - strike.at).total_seconds()) for at in went_on.values()]
    found.stuck = len(seen) - len(went_on)
    for flight in strike.flights:
        if flight.answered_at is None:
            found.stuck += 1
        else:
            found.seconds.append(max(0.0, (flight.answered_at - strike.at).total_seconds()))
    return found


@dataclass(frozen=True, slots=True)
class Summary:
    """All faults of one kind."""

    kind: str
    count: int
    touched: int
    """Jobs in flight in what was struck."""
    waiting: int
    """Other jobs that could have run then, and did not yet."""
    longest: float
    """Seconds that the longest of these faults lasted."""
    p50: float | None
    p99: float | None
    max: float | None
    """Seconds until a job or request went on."""
    stuck: int


def summarise(kind: str, all_felt: Sequence[Felt]) -> Summary:
    """Return the figures of the faults of one kind."""
    seconds = sorted(one for felt_ in all_felt for one in felt_.seconds)
    return Summary(
        kind=kind,
        count=len(all_felt),
        touched=sum(felt_.strike.exposed for felt_ in all_felt),
        waiting=sum(len(felt_.strike.waiting) for felt_ in all_felt),
        longest=max((felt_.strike.lasted for felt_ in all_felt), default=0.0),
        p50=percentile(seconds, 0.5),
        p99=percentile(seconds, 0.99),
        max=seconds[-1] if seconds else None,
        stuck=sum(felt_.stuck for felt_ in all_felt),
    )


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least `share` of them do not exceed; None: there are none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None
