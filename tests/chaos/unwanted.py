"""For how long a function may run that nobody wants any more, and when its worker could not hear of that."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

from tests.chaos.faults.scene import Strike
from tests.chaos.history import CutOff, Terms
from tests.chaos.plant import GRACE_SECONDS
from tests.chaos.schedule import POSTGRES, WORKERS, Kind
from worker.heartbeat import LOOK_EVERY

SLACK_SECONDS: Final = 5.0
"""For a machine with much else to do."""
_POSTGRES_AWAY: Final = frozenset({Kind.KILL_POSTGRES, Kind.RESTART_POSTGRES_FAST, Kind.RESTART_POSTGRES_IMMEDIATE})


def fence_seconds(lease_seconds: float) -> float:
    """Return for how long a function may run on after its attempt was given up, its worker in reach of PostgreSQL.

    One look of the heartbeat, which may first find its connection dead or silent: it waits a third of a lease for an
    answer. The function is interrupted at once, and killed at the next look.
    """
    return LOOK_EVERY + lease_seconds / 3 + LOOK_EVERY + SLACK_SECONDS


def cancel_seconds(lease_seconds: float) -> float:
    """Return the same for a function whose cancel was asked for: it has a grace before each step."""
    return fence_seconds(lease_seconds) + LOOK_EVERY + 2 * GRACE_SECONDS


def terms(lease_seconds: float, strikes: Iterable[Strike]) -> Terms:
    """Return what a drained run under these faults is held to."""
    return Terms(
        drained=True,
        lease_seconds=lease_seconds,
        cancel_seconds=cancel_seconds(lease_seconds),
        fence_seconds=fence_seconds(lease_seconds),
        cut_off=tuple(_cut_off(strikes)),
    )


def _cut_off(strikes: Iterable[Strike]) -> Iterator[CutOff]:
    for strike in strikes:
        fault = strike.fault
        since, until = strike.at, strike.ended_at or datetime.now(UTC)
        if since is None:
            continue
        if fault.kind in _POSTGRES_AWAY:
            yield CutOff("", since, until)
        if fault.far == POSTGRES and fault.target in WORKERS:
            yield CutOff(f"{fault.target}.", since, until)
