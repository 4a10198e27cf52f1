"""How long a fault was felt: from its blow until the jobs that it could hold up had gone on.

A job has gone on with its first event after the blow that shows work: its next start, or the end of its attempt or of
itself. Asked for are the jobs in flight in what was struck, and all that could have run at that moment and did not yet:
a doorbell may have been on its way there. A request has gone on when its client had its answer.

Each kind has a bound. Who went on later than that after the end of the fault, or never did, is told by name.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from jobs.state import JobState
from tests.chaos.faults.scene import Strike
from tests.chaos.lines import Lines
from tests.chaos.schedule import Kind
from tests.chaos.tables import Due, Tables

WENT_ON: Final = ("start", "succeed", "fail", "retry", "cancel", "expire", "redrive")


RECOVERY_SECONDS: Final = 30.0
"""After a fault and a lease, by which a job must have gone on, whatever other faults do meanwhile."""
_MORE: Final[Mapping[Kind, float]] = {
    Kind.KILL_BROKER: 15.0,
    Kind.RESTART_BROKER: 15.0,
    Kind.ALARM_BROKER: 15.0,
    Kind.SILENCE: 15.0,
}
"""Where connections must first be found dead or made anew, and what was rung may have to be rung again."""
LINE_SECONDS: Final = 30.0
"""What stood in a line may wait so much longer."""
TURNS: Final = 10.0
"""Jobs a second that run even on a machine with much else to do: what stood in a line may wait for those before it."""
AFTER_A_PAUSE: Final = 2.0
"""Times that its queue was paused, by which a job may go on later: meanwhile a line grew, of who was more urgent."""
PASSED_BY: Final = 100
"""Later jobs of the same queue, no more urgent, that may begin before one that stood in a line and is late.

On a machine that cannot keep up the least urgent wait until the load is over; who was forgotten is passed by by all."""


PausedSeconds = Callable[[str, datetime, datetime], float]
"""For how long a queue was paused between two instants."""


def never_paused(_queue: str, _since: datetime, _until: datetime) -> float:
    """Return 0: nobody paused anything."""
    return 0.0


def bound(kind: Kind, lease_seconds: float) -> float:
    """Return within how many seconds after such a fault every job that ran, and every request, has gone on."""
    return lease_seconds + RECOVERY_SECONDS + _MORE.get(kind, 0.0)


@dataclass
class Felt:
    """What one fault did to whom."""

    strike: Strike
    seconds: list[float] = field(default_factory=list)
    """One for each job and request that went on."""
    stuck: int = 0
    """How many never did."""
    bound: float = 0.0
    """Seconds after its end by which all must have."""
    late: list[str] = field(default_factory=list)
    """Who did later, or never."""

    @property
    def recovery(self) -> float | None:
        """Seconds until the last of them went on; None: there was nobody, or somebody never did."""
        return max(self.seconds) if self.seconds and not self.stuck else None


class Waited(NamedTuple):
    """Who was held up."""

    who: str
    seconds: float | None
    """After how many it went on; None: never."""
    turn: float = 0.0
    """Seconds more that it may wait for its turn."""
    in_line: UUID | None = None
    """The job, when it stood in a line."""


def felt(
    strike: Strike, tables: Tables, lines: Lines, lease_seconds: float, paused_seconds: PausedSeconds = never_paused
) -> Felt:
    """Return how long the fault was felt, as the table of events and the clients tell."""
    found = Felt(strike, bound=bound(strike.fault.kind, lease_seconds))
    if strike.at is None:
        return found
    seen = [*strike.touched, *strike.waiting]
    went_on = tables.progress(seen, WENT_ON)
    waited = _waited(strike, strike.at, seen, went_on, paused_seconds)
    found.seconds = [one.seconds for one in waited if one.seconds is not None]
    found.stuck = len(waited) - len(found.seconds)
    found.late = list(_late(strike, strike.at, waited, strike.lasted + found.bound, lines))
    return found


def _late(strike: Strike, at: datetime, waited: Sequence[Waited], bound: float, lines: Lines) -> Iterator[str]:
    fault = strike.fault
    for one in waited:
        most = bound + one.turn
        if one.seconds is not None and (one.seconds <= most or _waits_its_turn(one, at, most, lines)):
            continue
        when = "never" if one.seconds is None else f"after {one.seconds:.1f} s"
        yield f"{fault.kind} {fault.where} at {fault.at:g} s: {one.who} went on {when}, and had {most:.1f} s"


def _waits_its_turn(one: Waited, at: datetime, most: float, lines: Lines) -> bool:
    """Tell whether the job went on late only because others were more urgent, or there first."""
    if one.in_line is None or one.seconds is None:
        return False
    since, until = at + timedelta(seconds=most), at + timedelta(seconds=one.seconds)
    return lines.passed_by(one.in_line, since, until) <= PASSED_BY


def _waited(
    strike: Strike,
    at: datetime,
    seen: Sequence[Due],
    went_on: Mapping[UUID, datetime],
    paused_seconds: PausedSeconds,
) -> list[Waited]:
    line = LINE_SECONDS + sum(due.state != JobState.RUNNING for due in seen) / TURNS
    waited = []
    for due in seen:
        seconds = _since(at, went_on.get(due.id))
        paused = AFTER_A_PAUSE * paused_seconds(due.queue, at, went_on.get(due.id, at))
        if due.state == JobState.RUNNING:
            waited.append(Waited(f"job {due.id}", seconds, paused))
        else:
            waited.append(Waited(f"job {due.id}", seconds, line + paused, due.id))
    requests = strike.flights
    return waited + [
        Waited(f"a request for {one.jobs} jobs to {one.api}", _since(at, one.answered_at)) for one in requests
    ]


def _since(at: datetime, instant: datetime | None) -> float | None:
    return None if instant is None else max(0.0, (instant - at).total_seconds())


@dataclass(frozen=True, slots=True)
class Summary:
    """All faults of one kind."""

    kind: str
    count: int
    touched: int
    """Jobs in flight in what was struck."""
    connections: int
    """Of links: those that were seen to be cut, or to have something held back."""
    waiting: int
    """Other jobs that could have run then, and did not yet."""
    longest: float
    """Seconds that the longest of these faults lasted."""
    p50: float | None
    p99: float | None
    max: float | None
    """Seconds until a job or request went on."""
    bound: float
    """By which it must have, counted from the end of the fault."""
    stuck: int
    late: int
    """How many went on later than that, or never."""


def summarise(kind: str, all_felt: Sequence[Felt]) -> Summary:
    """Return the figures of the faults of one kind."""
    seconds = sorted(one for felt_ in all_felt for one in felt_.seconds)
    return Summary(
        kind=kind,
        count=len(all_felt),
        touched=sum(felt_.strike.exposed for felt_ in all_felt),
        connections=sum(felt_.strike.connections for felt_ in all_felt),
        waiting=sum(len(felt_.strike.waiting) for felt_ in all_felt),
        longest=max((felt_.strike.lasted for felt_ in all_felt), default=0.0),
        p50=percentile(seconds, 0.5),
        p99=percentile(seconds, 0.99),
        max=seconds[-1] if seconds else None,
        bound=max((felt_.bound for felt_ in all_felt), default=0.0),
        stuck=sum(felt_.stuck for felt_ in all_felt),
        late=sum(len(felt_.late) for felt_ in all_felt),
    )


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least `share` of them do not exceed; None: there are none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None
