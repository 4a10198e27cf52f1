"""What upkeep should have moved by now is told by state, and by nobody else's measure than PostgreSQL's clock."""

from datetime import timedelta

from sqlalchemy import Engine, func

from jobs import upkeep
from jobs.database import transaction
from jobs.overdue import Overdue, overdue
from jobs.state import JobState
from tests.factories import retry
from tests.integration.jobs import scenes

LONG_AGO = func.now() - timedelta(minutes=5)


def look(engine: Engine) -> dict[JobState, Overdue]:
    with transaction(engine) as connection:
        return overdue(connection)


def test_nothing_is_overdue_of_what_waits_or_runs_in_time(engine: Engine) -> None:
    scenes.queued(engine)
    scenes.scheduled(engine)
    scenes.running(engine)
    scenes.ended(engine, retry(seconds=60))

    assert set(look(engine).values()) == {Overdue(0, 0.0)}


def test_what_is_due_and_what_lost_its_lease_is_overdue_until_upkeep_has_moved_it(engine: Engine) -> None:
    scenes.change(engine, scenes.scheduled(engine), run_at=LONG_AGO)
    scenes.change(engine, scenes.ended(engine, retry(seconds=60)), run_at=LONG_AGO)
    scenes.change(engine, scenes.running(engine).job_id, lease_expires_at=LONG_AGO)

    late = look(engine)

    assert {state: one.jobs for state, one in late.items()} == {
        JobState.SCHEDULED: 1,
        JobState.RETRYING: 1,
        JobState.RUNNING: 1,
    }
    assert all(300 <= one.seconds < 900 for one in late.values())
    with transaction(engine) as connection:
        upkeep.release_due(connection)
        upkeep.rescue_lost(connection)
    assert set(look(engine).values()) == {Overdue(0, 0.0)}
