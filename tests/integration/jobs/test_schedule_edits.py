"""Editing schedules: put, pause, resume and remove; with what an edit leaves on record."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from jobs.database import transaction
from jobs.errors import NotFound, PreconditionFailed
from jobs.planning import editing, search, store
from jobs.planning import history as history_rows
from jobs.planning.editing import ANYTHING, Editor, Expected
from jobs.planning.model import Schedule
from jobs.planning.words import CatchUp, Overlap, Source
from tests.integration.jobs import scenes
from tests.integration.jobs.timetable import (
    NAME,
    TENANT,
    change,
    decided,
    definition,
    due,
    edit,
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
)


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
