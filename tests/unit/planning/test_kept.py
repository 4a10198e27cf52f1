"""What edits leave to be decided: however they come between the looks, each instant is decided once."""

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from jobs.calendar.instants import next_instants
from jobs.calendar.timing import Rule
from jobs.planning.decisions import look, next_look_at
from jobs.planning.kept import also_of, sort_out
from jobs.planning.model import Occurrence, Schedule
from jobs.planning.words import CatchUp, Why
from tests.unit.planning.test_decisions import MISSED_AFTER, NOON, schedule

TIMINGS: list[dict[str, Any]] = [
    {"cron": "*/10 * * * * *"},
    {"cron": "*/20 * * * * *"},
    {"cron": "5,25,40 * * * * *"},
    {"cron": "* * * * *"},
    {"every_seconds": 7.0, "anchor_at": NOON},
]
EDITS = st.sampled_from(TIMINGS)


def edited(before: Schedule, timing: dict[str, Any], now: datetime) -> tuple[Schedule, list[Occurrence]]:
    definition = replace(before.definition, **{"cron": None, "every_seconds": None, "anchor_at": None} | timing)
    kept, left = sort_out(before, now, also_of(definition.rule), Why.EDITED)
    return replace(before, definition=definition, decided_until=now, kept=tuple(kept)), left


@given(
    steps=st.lists(st.tuples(st.floats(0.001, 150), EDITS | st.none()), max_size=25),
    catch_up=st.sampled_from(CatchUp),
    jitter=st.sampled_from([0, 8, 300]),
)
def test_however_edits_and_looks_take_turns_each_instant_is_decided_once(
    steps: list[tuple[float, dict[str, Any] | None]], catch_up: CatchUp, jitter: float
) -> None:
    current = schedule(NOON, cron="*/10 * * * * *", catch_up=catch_up, jitter_seconds=jitter)
    now, fired, skipped = NOON, Counter[datetime](), 0
    in_force: list[tuple[Rule, datetime, datetime]] = []
    since = NOON
    for pause, timing in steps:
        now += timedelta(seconds=pause)
        if timing is not None:
            in_force.append((current.definition.rule, since, now))
            current, left = edited(current, timing, now)
            since = now
        else:
            due = look(current, now, MISSED_AFTER)
            fired.update(one.at for one in due.wanted)
            left = list(due.skipped)
            current = replace(current, decided_until=due.decided_until, kept=due.kept)
            assert due.next_at == next_look_at(current)
        skipped += sum(one.count or 0 for one in left)

    in_force.append((current.definition.rule, since, current.decided_until))
    expected = [one.at for rule, after, until in in_force for one in next_instants(rule, after, until=until)]
    assert all(count == 1 for count in fired.values())
    assert set(fired) <= set(expected)
    assert fired.total() + skipped + len(current.kept) == len(expected)
