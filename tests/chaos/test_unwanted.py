"""What a run holds functions to that nobody wants any more: they stop as soon as their worker can have heard of it."""

from datetime import timedelta
from typing import Any

import pytest

from jobs.state import Event, Outcome
from tests.chaos.faults.scene import Strike
from tests.chaos.report import Report
from tests.chaos.schedule import Fault, Kind
from tests.chaos.tales import LEASE_SECONDS, Tale, judged
from tests.chaos.unwanted import cancel_seconds, fence_seconds, terms

BOUND = fence_seconds(LEASE_SECONDS)


def agreed(*strikes: Strike) -> dict[str, Any]:
    """Return the terms of a run under these faults."""
    made = terms(LEASE_SECONDS, strikes)
    return {name: getattr(made, name) for name in ("cancel_seconds", "fence_seconds", "cut_off")}


def strike(told: Tale, kind: Kind, target: str, far: str | None, *, at: float, seconds: float) -> Strike:
    """Return a fault that begins so many seconds after the beginning of the job's first attempt."""
    began = told.attempts[0].started_at + timedelta(seconds=at)
    return Strike(Fault(1, at, kind, target, far, seconds, 0.5), at=began, ended_at=began + timedelta(seconds=seconds))


def fenced(alive: float) -> Tale:
    """Return a job that is rescued one lease after its start, and whose function lives for so long beyond that."""
    told = Tale().start().run(began=0.0, ended=None, how=None, alive=1 + LEASE_SECONDS + alive)
    told.lose().start().succeed()
    told.attempts[0] = told.attempts[0]._replace(worker="worker-1.chaos")
    return told


def ran_on(report: Report) -> bool:
    assert set(report.broken) <= {"stops-when-fenced", "stops-when-cancelled"}
    return not report.is_clean


def test_a_worker_hears_well_before_the_next_lease_would_be_over() -> None:
    assert fence_seconds(6) < 10 < fence_seconds(30) < 20
    assert cancel_seconds(6) < 13


@pytest.mark.parametrize(("alive", "is_caught"), [(BOUND - 2, False), (BOUND + 2, True)])
def test_a_function_that_runs_on_after_its_worker_can_have_heard_is_caught(alive: float, *, is_caught: bool) -> None:
    report = judged(fenced(alive), **agreed())

    assert ran_on(report) is is_caught
    assert report.counts.outlived == 1
    assert alive - 1 <= report.counts.outlived_longest <= alive + 1


@pytest.mark.parametrize(
    ("kind", "target", "far", "is_caught"),
    [
        (Kind.SILENCE, "worker-1", "postgres", False),
        (Kind.KILL_POSTGRES, "postgres", None, False),
        (Kind.SILENCE, "worker-2", "postgres", True),
        (Kind.SILENCE, "worker-1", "broker", True),
        (Kind.PAUSE_WORKER, "worker-1", None, True),
    ],
)
def test_time_in_which_its_worker_was_cut_off_from_postgresql_does_not_count(
    kind: Kind, target: str, far: str | None, *, is_caught: bool
) -> None:
    told = fenced(BOUND + 6)

    report = judged(told, **agreed(strike(told, kind, target, far, at=LEASE_SECONDS + 4, seconds=8)))

    assert ran_on(report) is is_caught


@pytest.mark.parametrize(("beyond", "is_caught"), [(-2, False), (2, True)])
def test_a_function_that_runs_on_after_its_cancel_is_caught(beyond: float, *, is_caught: bool) -> None:
    told = Tale().start().run(began=0.0, ended=None, how=None, alive=1 + cancel_seconds(LEASE_SECONDS) + beyond)
    told.tell("cancel_requested").wait(120).end(Event.CANCEL, Outcome.CANCELLED)

    assert ran_on(judged(told, **agreed())) is is_caught
