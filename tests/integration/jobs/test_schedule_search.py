"""Lists of schedules and of occurrences, page by page."""

from datetime import timedelta

import pytest
from sqlalchemy import Engine

from jobs.database import reading
from jobs.errors import InvalidCursor, NotFound
from jobs.planning.search import Filter, Span, list_occurrences, list_schedules
from jobs.planning.words import CatchUp, Decision, Source
from tests.integration.jobs.timetable import NAME, TENANT, fire, missed, pause, put, trigger

NAMES = [f"s{number}" for number in range(7)]


def names(engine: Engine, *, limit: int = 50, **wanted: object) -> list[str]:
    """Return the names of all pages."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        with reading(engine) as connection:
            page, cursor = list_schedules(connection, Filter(**wanted), limit=limit, cursor=cursor)  # type: ignore[arg-type]  # each test gives what fits
        found += [one.name for one in page]
        assert len(page) <= limit
        if cursor is None:
            return found


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50])
def test_schedules_are_listed_by_name_page_by_page(engine: Engine, limit: int) -> None:
    for name in reversed(NAMES):
        put(engine, name)

    assert names(engine, limit=limit) == NAMES


def test_a_list_is_narrowed(engine: Engine) -> None:
    put(engine, "a", task="demo.echo")
    put(engine, "b")
    put(engine, "c")
    pause(engine, "c")

    assert names(engine, task="demo.echo") == ["a"]
    assert names(engine, paused=True) == ["c"]
    assert names(engine, paused=False) == ["a", "b"]
    assert names(engine, source=Source.CODE) == []


def test_a_cursor_belongs_to_its_list(engine: Engine) -> None:
    put(engine, "a")
    put(engine, "b")
    with reading(engine) as connection:
        _, cursor = list_schedules(connection, Filter(), limit=1)

        with pytest.raises(InvalidCursor):
            list_schedules(connection, Filter(paused=False), cursor=cursor)
        with pytest.raises(InvalidCursor):
            list_schedules(connection, Filter(), tenant="another", cursor=cursor)


@pytest.mark.parametrize("limit", [1, 2, 50])
def test_occurrences_are_listed_the_latest_first(engine: Engine, limit: int) -> None:
    missed(engine, 4, catch_up=CatchUp.ALL)
    fire(engine)
    newest = trigger(engine)["id"]

    found, cursor = [], None
    while True:
        with reading(engine) as connection:
            page = list_occurrences(connection, NAME, Span(), limit=limit, cursor=cursor)
        found += page.rows
        cursor = page.next_cursor
        if cursor is None:
            break

    assert len(found) == 5
    assert found[0]["id"] == newest
    assert [row["instant"] for row in found] == sorted((row["instant"] for row in found), reverse=True)


def test_occurrences_are_narrowed(engine: Engine) -> None:
    last = missed(engine, 4).definition.anchor_at
    assert last is not None
    fire(engine)
    hour = timedelta(hours=1)

    def reasons(**wanted: object) -> list[str]:
        with reading(engine) as connection:
            return [row["reason"] for row in list_occurrences(connection, NAME, Span(**wanted)).rows]  # type: ignore[arg-type]  # as above

    assert reasons(decision=Decision.FIRED) == ["caught_up"]
    assert reasons(first=last) == ["caught_up"]
    assert reasons(last=last - hour) == ["superseded"]
    assert reasons(first=last - 2 * hour, last=last - 2 * hour) == ["superseded"], "which is about three instants"


def test_the_history_of_a_stranger_is_not_there(engine: Engine) -> None:
    put(engine)

    with reading(engine) as connection, pytest.raises(NotFound):
        list_occurrences(connection, NAME, Span(), tenant=f"not {TENANT}")
