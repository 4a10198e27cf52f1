"""What a fault has to work with, and what is kept of the moment in which it strikes."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from tests.chaos.client import Flight
from tests.chaos.load import Load
from tests.chaos.parts import Part
from tests.chaos.plant import Plant
from tests.chaos.schedule import Fault
from tests.chaos.tables import Away, Due, Tables
from tests.chaos.witness import Witness

LOOK_SECONDS: Final = 1.0
"""How long a fault waits for PostgreSQL to say what it will strike."""

MEET_SECONDS: Final = 2.0
"""How long a fault waits for something to be in flight where it strikes."""

Touches = Callable[[Due], bool]


@dataclass(eq=False)
class Strike:
    """A fault that was made, and what it met."""

    fault: Fault
    at: datetime | None = None
    """None: it has not struck."""
    ended_at: datetime | None = None
    how: str | None = None
    """Which variant it was."""
    failed: str | None = None
    """Why it could not be made, or not as it was meant."""
    broken: bool = False
    """Whether the run itself is at fault for that."""
    wrong: str | None = None
    """What the system did about it that it must never do."""
    unmet: bool = False
    """Nothing came by that it could strike, or nobody saw it hit."""
    touched: Sequence[Due] = ()
    """Jobs in flight in what was struck."""
    waiting: Sequence[Due] = ()
    """All other jobs that could have run at that moment, and did not yet."""
    flights: Sequence[Flight] = field(default_factory=list)
    """Requests in flight in what was struck."""
    connections: int = 0
    """Of a link: those that were seen to be struck."""
    held_bytes: int = 0
    """Of a link: what was sent over them, and held back or lost."""
    blind: bool = False
    """PostgreSQL was away: nobody knows what was in flight."""

    def miss(self, why: str) -> None:
        """Note that the blow was not seen to hit."""
        self.failed, self.unmet = why, True

    @property
    def trouble(self) -> str | None:
        """Why the run is not good, as far as this fault tells; None: it may be."""
        told = self.wrong or (self.failed if self.broken else None)
        return f"{self.fault.kind} {self.fault.where} at {self.fault.at:g} s: {told}" if told else None

    @property
    def struck(self) -> bool:
        """Whether it was made, and met something."""
        return self.at is not None and not self.unmet and not self.broken

    @property
    def exposed(self) -> int:
        """How many jobs were in flight in what was struck."""
        return len(self.touched) + sum(flight.jobs for flight in self.flights)

    @property
    def lasted(self) -> float:
        """For how many seconds."""
        return (self.ended_at - self.at).total_seconds() if self.at and self.ended_at else 0.0


@dataclass
class Scene:
    """The run that faults are made in."""

    plant: Plant
    load: Load
    tables: Tables
    witness: Witness
    over: threading.Event
    """Set when the time for faults is over: each ends what it began."""

    def part(self, fault: Fault) -> Part:
        """Return the process that the fault strikes."""
        return self.plant.parts[fault.target]

    def wait(self, seconds: float) -> None:
        """Let a fault last."""
        self.over.wait(seconds)

    def strike(
        self,
        strike: Strike,
        touches: Touches,
        flights: Callable[[], Sequence[Flight]] = tuple,
        how: str | None = None,
        meet_seconds: float = MEET_SECONDS,
    ) -> None:
        """Note what is in flight, at the last moment before the blow; wait a little for something to be."""
        strike.how = how
        deadline = time.monotonic() + meet_seconds
        while True:
            strike.flights = flights()
            try:
                snapshot = self.tables.snapshot(seconds=LOOK_SECONDS)
            except Away:
                strike.blind = True
                strike.at = datetime.now(UTC)
                return
            strike.touched = [due for due in snapshot.due if touches(due)]
            strike.waiting = [due for due in snapshot.due if not touches(due) and not running(due)]
            strike.at = snapshot.at
            if strike.exposed or time.monotonic() > deadline or self.over.is_set():
                return
            self.over.wait(0.005)


def run_by(name: str) -> Touches:
    """Return what tells the jobs that the worker `name` runs."""
    return lambda due: due.worker is not None and due.worker.startswith(f"{name}.")


def left_to_upkeep(due: Due) -> bool:
    """Tell the jobs that wait for a beat."""
    return due.overdue


def rung(due: Due) -> bool:
    """Tell the jobs whose doorbell should be in the broker."""
    return due.state == "queued" and due.rung


def running(due: Due) -> bool:
    """Tell the jobs that run."""
    return due.state == "running"


def nothing(_due: Due) -> bool:
    """Tell no job."""
    return False
