"""Editing schedules: put, pause, resume, remove, and what code declares; with what an edit leaves on record."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from jobs.calendar.refusal import InvalidTiming
from jobs.database import transaction
from jobs.errors import NotFound, PreconditionFailed, ReadOnly
from jobs.planning import editing, search, store
from jobs.planning import history as history_rows
from jobs.planning.decisions import next_due_at
from jobs.planning.editing import ANYTHING, Declared, Editor, Expected, Make
from jobs.planning.model import LARGEST_LIMIT, Schedule
from jobs.planning.words import CatchUp, Overlap, Source, Why
from tests.integration.jobs import scenes
from tests.integration.jobs.timetable import (
    NAME,
    TENANT,
    change,
    decided,
    definition,
    due,
    fire,
    fire_waiting,
    get,
    history,
    let_pass,
    missed,
    pause,
    put,
    remove,
    resume,
    undecide,
)

LATER = datetime(2100, 1, 1, tzinfo=UTC)


def write(engine: Engine, expected: Expected = ANYTHING, editor: Editor = editing.ANYBODY, **changes: Any) -> Schedule:
    with transaction(engine) as connection:
        stored, _ = editing.put(connection, NAME, lambda *_: definition(**changes), editor, expected=expected)
    return stored


def test_what_was_put_is_what_is_stored(engine: Engine) -> None:
    wishes = {
        "cron": "0 3 * * MON-FRI",
        "zone": "Europe/Berlin",
        "on_gap": "skip",
        "on_fold": "both",
        "jitter_seconds": 30.0,
        "payload": '{"a": [1, {"b": null}]}',
        "instant_as": "at",
        "priority": 9,
        "expires_after_seconds": 60.0,
        "unique_key": "key",
        "tags": ("a", "b"),
        "retry": '{"max_retries": 1}',
        "time_limit_seconds": 5.0,
        "soft_time_limit_seconds": 4.0,
        "catch_up": CatchUp.ALL,
        "catch_up_window_seconds": 600.0,
        "catch_up_limit": 7,
        "missed_after_seconds": 5.0,
        "overlap": Overlap.WAIT,
        "start_at": scenes.database_now(engine),
        "end_at": scenes.database_now(engine) + timedelta(days=400),
    }

    stored = put(engine, **wishes)

    assert get(engine) == stored
    assert stored.definition == definition(**wishes)
    assert (stored.version, stored.source, stored.paused_at) == (1, Source.API, None)


def test_the_same_again_changes_nothing(engine: Engine) -> None:
    first = put(engine, every_seconds=60, payload='{"a": 1, "b": 2}')

    assert put(engine, every_seconds=60, payload='{ "b":2,"a":1 }') == first


def test_an_edit_gives_it_another_tag_and_goes_on_from_where_it_was(engine: Engine) -> None:
    first = due(engine)

    edited = edit(engine, priority=9)

    assert (edited.version, edited.tag != first.tag) == (2, True)
    assert edited.decided_until == first.decided_until
    fire(engine)
    assert decided(engine) == [("fired", "on_time")]


def edit(engine: Engine, **changes: Any) -> Schedule:
    with transaction(engine) as connection:
        make: Make = lambda found, _: replace(found.definition, **changes)  # type: ignore[union-attr]  # noqa: E731 - it is there
        return editing.put(connection, NAME, make, editing.ANYBODY)[0]


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


def test_a_client_that_knows_another_version_is_told(engine: Engine) -> None:
    first = write(engine, Expected(absent=True))

    with pytest.raises(PreconditionFailed) as caught:
        write(engine, Expected(absent=True), priority=9)
    assert caught.value.tag == first.tag
    with pytest.raises(PreconditionFailed):
        write(engine, Expected(frozenset({"something else"})), priority=9)
    second = write(engine, Expected(frozenset({"something else", first.tag})), priority=9)
    third = write(engine, Expected(frozenset({"*"})), priority=8)

    assert (second.version, third.version) == (2, 3)


def test_a_client_that_knows_a_deleted_one_is_told(engine: Engine) -> None:
    first = put(engine)
    remove(engine)
    with pytest.raises(PreconditionFailed):
        write(engine, Expected(frozenset({first.tag})))

    second = put(engine)

    assert second.tag != first.tag


def test_a_pause_is_told_as_skipped_and_not_made_up_for(engine: Engine) -> None:
    due(engine)
    paused = pause(engine)
    let_pass(engine, 3 * 3600)
    assert fire(engine).told == []

    resumed = resume(engine)

    assert (paused.paused_at is None, resumed.paused_at) == (False, None)
    assert [(row["reason"], row["count"]) for row in history(engine)] == [("paused", 4)]
    fire(engine)
    assert scenes.stored(engine) == 0
    let_pass(engine, 3600)
    fire(engine)
    assert scenes.stored(engine) == 1


def test_a_clock_that_was_set_back_brings_nothing_twice(engine: Engine) -> None:
    due(engine)
    fire(engine)
    decided_until = scenes.database_now(engine) + timedelta(hours=2)
    change(engine, "UPDATE schedules SET decided_until = :at", at=decided_until)  # an hour ago it was three hours later

    pause(engine)
    resumed = resume(engine)
    edited = edit(engine, every_seconds=60.0)

    assert resumed.decided_until == edited.decided_until == decided_until


def test_pausing_twice_and_resuming_twice_change_nothing(engine: Engine) -> None:
    put(engine)

    assert pause(engine) == pause(engine)
    assert resume(engine) == resume(engine)
    assert get(engine).version == 3


def test_an_edit_during_a_pause_leaves_it_paused(engine: Engine) -> None:
    missed(engine, 2)
    pause(engine)

    edited = edit(engine, every_seconds=60.0)

    assert edited.paused_at is not None
    assert [row["reason"] for row in history(engine)] == ["paused"]


@pytest.mark.parametrize("act", [pause, resume, remove])
def test_what_is_not_there_cannot_be_acted_on(engine: Engine, act: Callable[[Engine], object]) -> None:
    with pytest.raises(NotFound):
        act(engine)


def test_a_deleted_schedule_fires_no_more_and_its_name_is_free(engine: Engine) -> None:
    due(engine)
    remove(engine)

    assert fire(engine).told == []
    again = put(engine)
    assert (again.deleted_at, again.created_at) == (None, again.decided_until)
    assert fire(engine).told == []


def test_a_deleted_schedule_is_found_by_none_but_its_history(engine: Engine) -> None:
    due(engine)
    fire(engine)
    (fired,) = history(engine)
    remove(engine)

    with engine.connect() as connection:
        with pytest.raises(NotFound):
            store.find(connection, NAME, tenant=TENANT)
        assert search.list_schedules(connection, search.Filter())[0] == []
        assert store.until_next_due(connection) is None
        (row,) = search.list_occurrences(connection, NAME, search.Span()).rows

    assert row["job_id"] == fired["job_id"]


def test_a_name_that_is_used_again_keeps_the_history_and_begins_anew(engine: Engine) -> None:
    due(engine, overlap=Overlap.WAIT)
    fire(engine)
    pause(engine)
    before = get(engine)
    remove(engine)

    again = write(engine, Expected(absent=True), priority=9)

    assert again == get(engine)
    assert (again.paused_at, again.open_jobs, again.kept, again.source) == (None, (), (), Source.API)
    assert again.version > before.version
    assert decided(engine) == [("fired", "on_time")]


def test_a_delete_says_what_it_left_and_what_waited(engine: Engine) -> None:
    due(engine, overlap=Overlap.WAIT)
    fire(engine)
    let_pass(engine, 3600)
    fire(engine)
    let_pass(engine, 3600)

    remove(engine)

    assert decided(engine) == [("fired", "on_time"), ("skipped", "deleted"), ("skipped", "deleted")]
    assert fire_waiting(engine).told == []


def test_a_deleted_schedule_is_pruned_after_its_history(engine: Engine) -> None:
    due(engine)
    fire(engine)
    put(engine, "lives")
    remove(engine)
    day = timedelta(days=1)

    def prune(keep: timedelta) -> tuple[int, int]:
        with transaction(engine) as connection:
            return store.prune(connection, keep=keep, limit=10), history_rows.prune(connection, keep=keep, limit=10)

    assert prune(day) == (0, 0)
    assert prune(-day) == (0, 1), "it has a history still"
    assert prune(-day) == (1, 0)
    assert get(engine, "lives").deleted_at is None


def declare(engine: Engine, *names: str, **changes: Any) -> Declared:
    wanted = {name: (lambda *_: definition(**changes), f"beat_schedule[{name!r}]") for name in names}
    with transaction(engine) as connection:
        return editing.declare(connection, wanted)


def test_what_code_declares_is_there_and_rests_while_it_does_not(engine: Engine) -> None:
    assert declare(engine, "a", "b") == Declared(("a", "b"), (), ())
    assert declare(engine, "a", "b") == Declared((), (), ())
    assert declare(engine, "b", priority=9) == Declared(("b",), ("a",), ())
    assert declare(engine, "b", priority=9) == Declared((), (), ())

    assert (get(engine, "b").source, get(engine, "b").origin) == (Source.CODE, "beat_schedule['b']")
    assert (get(engine, "a").pause_reason, get(engine, "b").pause_reason) == (Why.UNDECLARED, None)


def test_what_code_declares_again_goes_on_with_its_history(engine: Engine) -> None:
    declare(engine, NAME, every_seconds=3600.0, anchor_at=LATER)
    undecide(engine, 3600)
    fire(engine)
    fired = get(engine)
    declare(engine)
    let_pass(engine, 7200)
    assert fire(engine).told == []

    assert declare(engine, NAME, every_seconds=3600.0) == Declared((NAME,), (), ())

    again = get(engine)
    assert (again.id, again.paused_at) == (fired.id, None)
    assert [(row["decision"], row["reason"], row["count"]) for row in history(engine)] == [
        ("fired", "caught_up", 1),
        ("skipped", "undeclared", 2),
    ]


def test_what_code_declares_no_more_can_be_deleted_by_hand_and_comes_back_with_the_code(engine: Engine) -> None:
    declare(engine, NAME)
    with pytest.raises(ReadOnly):
        remove(engine)
    declare(engine)
    with pytest.raises(ReadOnly):
        resume(engine)

    remove(engine)

    with pytest.raises(NotFound):
        get(engine)
    assert declare(engine, NAME) == Declared((NAME,), (), ())
    assert get(engine).pause_reason is None


def test_what_the_api_keeps_is_not_taken_over_by_code(engine: Engine) -> None:
    put(engine, "a")

    assert declare(engine, "a", "b", priority=9) == Declared(("b",), (), ("a",))
    assert declare(engine) == Declared((), ("b",), ())
    assert (get(engine, "a").source, get(engine, "a").definition.priority) == (Source.API, 5)


def test_what_code_declares_is_edited_there_alone(engine: Engine) -> None:
    declare(engine, NAME)

    for act in (put, pause, resume, remove):
        with pytest.raises(ReadOnly, match=r"beat_schedule\['nightly'\]"):
            act(engine)  # type: ignore[operator]  # each takes an engine alone


def test_beginning_to_mind_overlaps_does_not_move_the_instants(engine: Engine) -> None:
    before = due(engine)

    after = edit(engine, overlap=Overlap.SKIP)

    assert (after.decided_until, after.definition.anchor_at) == (before.decided_until, before.definition.anchor_at)
