"""What an edit of its timing, or of all but its timing, does to the instants of a schedule."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from jobs.calendar.refusal import InvalidTiming
from jobs.errors import NotFound
from jobs.planning.decisions import next_due_at
from jobs.planning.model import LARGEST_LIMIT
from jobs.planning.words import CatchUp, Overlap
from tests.integration.jobs import scenes
from tests.integration.jobs.timetable import (
    LATER,
    change,
    decided,
    due,
    edit,
    fire,
    get,
    history,
    let_pass,
    missed,
    pause,
    put,
    resume,
)


def test_an_interval_keeps_its_beat_when_its_schedule_is_put_again(engine: Engine) -> None:
    first = put(engine, every_seconds=60)
    let_pass(engine, 7)

    again = put(engine, every_seconds=60)
    slower = put(engine, every_seconds=120)

    assert again.definition.anchor_at == slower.definition.anchor_at == get(engine).definition.anchor_at
    assert again.definition.anchor_at != first.definition.anchor_at


def test_an_interval_begins_at_its_start(engine: Engine) -> None:
    start = scenes.database_now(engine) + timedelta(hours=5)

    stored = put(engine, every_seconds=60, start_at=start)

    assert stored.definition.anchor_at == stored.next_at == start


def test_another_timing_begins_now_and_says_what_it_left(engine: Engine) -> None:
    missed(engine, 3)

    edited = edit(engine, every_seconds=7201.0, anchor_at=scenes.database_now(engine))

    assert [(row["reason"], row["count"]) for row in history(engine)] == [("edited", 3)]
    assert edited.decided_until == edited.updated_at
    fire(engine)
    assert scenes.stored(engine) == 0


def test_another_timing_keeps_what_it_has_in_common_with_the_old_for_a_beat_that_lags(engine: Engine) -> None:
    lagging = missed(engine, 3, seconds_ago=20, every=10)
    last = lagging.definition.anchor_at
    assert last is not None

    edited = edit(engine, every_seconds=5.0, anchor_at=last - timedelta(seconds=15))  # between them there are others
    fire(engine)

    assert edited.next_at is not None
    instants = [(row["instant"], row["decision"]) for row in history(engine) if row["instant"] <= last]
    assert instants == [(last - timedelta(seconds=left), "fired") for left in (20, 10, 0)]
    assert get(engine).kept == ()


def test_of_what_was_kept_each_is_made_up_for_as_the_schedule_says(engine: Engine) -> None:
    missed(engine, 3)

    edit(engine, every_seconds=7200.0)
    fire(engine)

    assert [(row["decision"], row["reason"], row["count"]) for row in history(engine)] == [
        ("skipped", "superseded", 1),
        ("skipped", "edited", 1),
        ("fired", "caught_up", 1),
    ]


def test_what_two_edits_leave_is_what_all_timings_have(engine: Engine) -> None:
    missed(engine, 5, seconds_ago=1, every=4)

    edit(engine, every_seconds=8.0)
    edit(engine, every_seconds=16.0)
    fire(engine)

    reasons = [(row["decision"], row["reason"]) for row in history(engine)][:5]
    assert reasons == [("fired", "late"), *[("skipped", "edited")] * 3, ("fired", "on_time")]


WHOLE: dict[str, Any] = {"end_at": LATER, "zone": "Europe/Berlin", "on_gap": "skip", "on_fold": "both"}


@pytest.mark.parametrize("name", WHOLE)
def test_an_edit_that_leaves_the_instants_where_they_are_drops_none_that_waits_for_its_jitter(
    engine: Engine, name: str
) -> None:
    due(engine, jitter_seconds=3600.0, seconds_ago=1)
    waiting = get(engine)
    run = next_due_at(waiting.id, waiting.definition.rule, waiting.decided_until)

    edited = edit(engine, **{name: WHOLE[name]})

    assert edited.next_at == run
    assert fire(engine).told == []
    assert get(engine).next_at == run
    let_be_due(engine)
    fire(engine)
    assert decided(engine) == [("fired", "on_time")]


def let_be_due(engine: Engine) -> None:
    """Take the jitter away, so that what waits for it is due."""
    change(engine, "UPDATE schedules SET jitter_seconds = 0, next_at = now()")


def test_a_pause_that_ends_before_a_run_drops_it_not(engine: Engine) -> None:
    due(engine, jitter_seconds=3600.0, seconds_ago=1)

    pause(engine)
    edit(engine, end_at=LATER)
    resume(engine)

    assert decided(engine) == []
    let_be_due(engine)
    fire(engine)
    assert decided(engine) == [("fired", "on_time")]


@pytest.mark.parametrize(
    "changes",
    [{"priority": 9}, {"payload": '{"a": 1}'}, {"overlap": Overlap.SKIP}, {"catch_up_limit": 7}, {"tags": ("a",)},
     {"jitter_seconds": 0.5}],
    ids=str,
)  # fmt: skip
def test_an_edit_that_is_not_about_the_timing_drops_nothing(engine: Engine, changes: dict[str, Any]) -> None:
    lagging = missed(engine, 3, seconds_ago=5, every=10)

    edited = edit(engine, **changes)

    assert (edited.decided_until, edited.kept) == (lagging.decided_until, ())
    assert decided(engine) == []
    assert edited.next_at is not None
    assert edited.next_at < edited.updated_at


def test_of_very_many_only_the_newest_are_kept(engine: Engine) -> None:
    missed(engine, LARGEST_LIMIT + 500, seconds_ago=0.5, every=1, catch_up=CatchUp.ALL, catch_up_limit=LARGEST_LIMIT)

    edited = edit(engine, zone="Europe/Berlin")

    assert len(edited.kept) == LARGEST_LIMIT
    assert {row["reason"] for row in history(engine)} == {"edited"}
    while fire(engine).is_full:
        pass
    assert get(engine).kept == ()
    assert scenes.stored(engine) >= LARGEST_LIMIT


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"cron": "61 * * * *"}, "cron.minute"),
        ({"cron": "0 0 30 2 *"}, "cron.day_of_month"),
        ({"zone": "Mars/Olympus"}, "zone"),
        ({"every_seconds": 0.5}, "every_seconds"),
        ({"once": "2001-01-01T00:00Z"}, "at"),
    ],
)
def test_nothing_is_stored_of_a_timing_that_cannot_be_kept(engine: Engine, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidTiming) as caught:
        put(engine, **changes)

    assert caught.value.field == field
    with pytest.raises(NotFound):
        get(engine)


def test_a_start_that_never_comes_before_the_end_is_refused(engine: Engine) -> None:
    now = scenes.database_now(engine)

    with pytest.raises(InvalidTiming):
        put(engine, start_at=now, end_at=now - timedelta(days=1))
    with pytest.raises(InvalidTiming) as caught:
        put(engine, end_at=now - timedelta(days=1))

    assert caught.value.field == "end_at"


def test_an_edit_that_leaves_no_instant_is_refused_like_a_new_schedule(engine: Engine) -> None:
    before = put(engine)
    now = scenes.database_now(engine)
    windows: list[dict[str, Any]] = [
        {"end_at": now - timedelta(days=1)},
        {"start_at": now + timedelta(seconds=1, days=1), "end_at": now + timedelta(seconds=2, days=1)},
    ]
    windows[1] |= {"cron": "0 0 29 2 *"}

    for window in windows:
        for write_it in (edit, put):
            with pytest.raises(InvalidTiming) as caught:
                write_it(engine, **window)
            assert caught.value.field == "end_at"

    assert get(engine) == before
    assert decided(engine) == []


def test_what_is_over_can_be_edited_but_for_its_timing(engine: Engine) -> None:
    put(engine, every_seconds=1, end_at=scenes.database_now(engine) + timedelta(days=1))
    change(engine, "UPDATE schedules SET end_at = now() - interval '1 day'")

    assert edit(engine, priority=9).definition.priority == 9
    with pytest.raises(InvalidTiming):
        edit(engine, every_seconds=2)


def test_an_interval_counts_from_the_start_that_it_is_given(engine: Engine) -> None:
    put(engine, every_seconds=60)
    start = scenes.database_now(engine) + timedelta(seconds=17)

    first = put(engine, every_seconds=60, start_at=start)

    assert first.definition.anchor_at == start
    assert put(engine, every_seconds=60, start_at=start) == first
    assert put(engine, every_seconds=60).definition.anchor_at == start, "without a start it keeps its beat"


def test_beginning_to_mind_overlaps_does_not_move_the_instants(engine: Engine) -> None:
    before = due(engine)

    after = edit(engine, overlap=Overlap.SKIP)

    assert (after.decided_until, after.definition.anchor_at) == (before.decided_until, before.definition.anchor_at)
