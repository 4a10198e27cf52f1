"""A beat that fires what waits is stopped between its look at the tables and its locks; meanwhile the world moves on.

What it saw is true no longer when the locks are its own: it must look again, or an instant gets two jobs.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, Final

import pytest
from sqlalchemy import Connection, Engine, event, select, text

from jobs.planning import firing
from jobs.planning.words import Overlap
from jobs.tables import occurrences
from tests.factories import success
from tests.integration.jobs import scenes
from tests.integration.jobs.timetable import (
    backfill,
    decided,
    due,
    fire,
    fire_waiting,
    get,
    jobs_of,
    let_pass,
    pause,
    remove,
)

GATE: Final = 0x67617465
"""The advisory lock at which the beat stops."""
LOOK: Final = "WHERE decision = 'waiting' AND"
Meanwhile = Callable[[Engine], object]


def an_instant_waits(engine: Engine) -> None:
    """Have an instant wait for a job that has finished by now."""
    due(engine, overlap=Overlap.WAIT)
    fire(engine)
    let_pass(engine, 3600)
    fire(engine)
    (attempt,) = scenes.start(engine, *jobs_of(engine))
    scenes.end(engine, attempt, success())
    assert decided(engine) == [("fired", "on_time"), ("waiting", "overlap")]


def fire_waiting_while(engine: Engine, meanwhile: Meanwhile) -> None:
    """Fire what waits; `meanwhile` happens after the snapshot of its look is taken, and before it has locked a row."""
    with engine.connect() as gate, engine.connect() as beat, ThreadPoolExecutor(1) as pool:
        gate.execute(text("SELECT pg_advisory_lock(:gate)"), {"gate": GATE})
        event.listen(beat, "before_cursor_execute", _stop_at_the_gate, retval=True)
        fired = pool.submit(_fire_and_commit, beat)
        scenes.wait_for_lock(engine)
        meanwhile(engine)
        gate.execute(text("SELECT pg_advisory_unlock(:gate)"), {"gate": GATE})
        fired.result(30)


def _stop_at_the_gate(
    _connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool
) -> tuple[str, Any]:
    # Once for the statement, when it runs: by then it has its snapshot.
    return statement.replace(LOOK, f"{LOOK} (SELECT pg_advisory_xact_lock_shared({GATE})) IS NOT NULL AND"), parameters


def _fire_and_commit(beat: Connection) -> None:
    firing.fire_waiting(beat)
    beat.commit()


def test_the_gate_stands_where_the_beat_looks() -> None:
    assert LOOK in str(firing.waiting_schedules())


def another_beat_fires_it_and_the_job_is_done(engine: Engine) -> None:
    fire_waiting(engine)
    (attempt,) = scenes.start(engine, jobs_of(engine)[-1])
    scenes.end(engine, attempt, success())


@pytest.mark.parametrize("meanwhile", [fire_waiting, another_beat_fires_it_and_the_job_is_done])
def test_what_another_beat_has_fired_meanwhile_is_not_fired_again(engine: Engine, meanwhile: Meanwhile) -> None:
    an_instant_waits(engine)

    fire_waiting_while(engine, meanwhile)

    assert decided(engine) == [("fired", "on_time"), ("fired", "waited")]
    assert scenes.stored(engine) == 2


def test_what_waits_goes_on_waiting_for_a_job_that_was_made_meanwhile(engine: Engine) -> None:
    an_instant_waits(engine)
    first = get(engine).definition.anchor_at
    assert first is not None
    earlier = first - timedelta(hours=3)

    fire_waiting_while(engine, lambda engine: backfill(engine, earlier, earlier))

    assert decided(engine) == [("fired", "backfilled"), ("fired", "on_time"), ("waiting", "overlap")]
    (attempt,) = scenes.start(engine, jobs_of(engine)[0])
    scenes.end(engine, attempt, success())
    fire_waiting(engine)
    assert decided(engine)[-1] == ("fired", "waited")


@pytest.mark.parametrize(("meanwhile", "left"), [(pause, "waiting"), (remove, "skipped")], ids=["pause", "delete"])
def test_an_end_that_was_acknowledged_meanwhile_holds(engine: Engine, meanwhile: Meanwhile, left: str) -> None:
    an_instant_waits(engine)

    fire_waiting_while(engine, meanwhile)

    with engine.connect() as connection:
        decisions = connection.scalars(select(occurrences.c.decision).order_by(occurrences.c.instant)).all()
    assert decisions == ["fired", left]
    assert scenes.stored(engine) == 1
