"""Which new jobs are rung at once: as many as the window of their kind has room for, whoever else fills it."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg import Cursor
from sqlalchemy import Engine, event, text
from structlog.testing import capture_logs

from jobs.model import Kind, NewJob
from jobs.window import BELIEVED_FOR, DOUBT_AFTER, LOOK_EVERY, RECOUNT_AFTER, Backlog, Window, ready_kinds
from tests.clock import Clock
from tests.factories import new_job
from tests.integration.jobs import scenes
from tests.integration.jobs.chores import unrung
from tests.services.databases import connect_to

USUAL: Kind = ("default", 4)
URGENT: Kind = ("default", 9)


@pytest.fixture
def nowhere(database_url: str) -> Iterator[Engine]:
    """An engine whose server refuses it."""
    opened = connect_to(database_url.replace("penstock:", "nobody:"))
    yield opened
    opened.dispose()


def at_once(work: Callable[[], None]) -> None:
    work()


def rung(engine: Engine, count: int, **changes: object) -> None:
    scenes.accepted(engine, *(new_job(**{"priority": 4} | changes) for _ in range(count)))


def test_an_empty_window_takes_what_fits_and_no_more(engine: Engine, clock: Clock) -> None:
    window = Window(engine, 10, clock=clock)

    assert window.quiet({USUAL: 6}) == frozenset()
    assert window.quiet({USUAL: 4}) == frozenset()
    assert window.quiet({USUAL: 1}) == {USUAL}


def test_what_others_have_rung_counts(engine: Engine, clock: Clock) -> None:
    rung(engine, 8)

    window = Window(engine, 10, clock=clock)

    assert window.quiet({USUAL: 3}) == {USUAL}
    assert window.quiet({USUAL: 2}) == frozenset()


def test_each_queue_and_each_priority_has_a_window_of_its_own(engine: Engine, clock: Clock) -> None:
    rung(engine, 10)

    window = Window(engine, 10, clock=clock)

    assert window.quiet({USUAL: 1, URGENT: 10, ("bulk", 4): 10}) == {USUAL}


def test_a_count_that_takes_its_time_holds_nobody_up_who_needs_none(engine: Engine) -> None:
    window = Window(engine, 10)
    window.quiet({USUAL: 1})

    with engine.connect() as connection, ThreadPoolExecutor(2) as pool:
        connection.execute(text("LOCK TABLE jobs"))
        counting = pool.submit(window.quiet, {("bulk", 4): 1})
        scenes.wait_for_lock(engine)
        known = pool.submit(window.quiet, {USUAL: 1})
        answer = wait([known], 5).done
        connection.rollback()

        assert answer == {known}
        assert (known.result(), counting.result()) == (frozenset(), frozenset())


def test_room_that_workers_made_is_seen_a_moment_later(engine: Engine, clock: Clock) -> None:
    window = Window(engine, 10, clock=clock)
    window.quiet({USUAL: 10})

    clock.now += RECOUNT_AFTER / 2
    assert window.quiet({USUAL: 1}) == {USUAL}

    clock.now += RECOUNT_AFTER
    assert window.quiet({USUAL: 1}) == frozenset()


def test_a_window_that_others_fill_as_well_is_recounted(engine: Engine, clock: Clock) -> None:
    window = Window(engine, 100, clock=clock)
    window.quiet({USUAL: 10})
    rung(engine, 100)

    clock.now += DOUBT_AFTER

    assert window.quiet({USUAL: 1}) == {USUAL}


def test_nothing_is_asked_while_little_is_rung(engine: Engine, clock: Clock) -> None:
    window = Window(engine, 100, clock=clock)
    window.quiet({USUAL: 9})
    rung(engine, 100)

    clock.now += 100 * DOUBT_AFTER

    assert window.quiet({USUAL: 1}) == frozenset()


def test_a_new_job_gets_in_line_behind_those_that_wait(engine: Engine, clock: Clock) -> None:
    rung(engine, 6)
    unrung(engine, priority=4)

    window = Window(engine, 10, clock=clock)

    assert window.quiet({USUAL: 1, URGENT: 1}) == {USUAL}


def test_a_window_that_upkeep_leaves_empty_is_filled_all_the_same(engine: Engine, clock: Clock) -> None:
    rung(engine, 3)
    unrung(engine, priority=4)

    window = Window(engine, 10, clock=clock)

    assert window.quiet({USUAL: 2}) == frozenset()
    assert window.quiet({USUAL: 1}) == {USUAL}


def test_nothing_is_rung_while_the_broker_is_away(engine: Engine, clock: Clock) -> None:
    away = [True]
    window = Window(engine, 10, is_away=lambda: away[0], clock=clock)
    assert window.quiet({USUAL: 1}) == {USUAL}

    away[0] = False

    assert window.quiet({USUAL: 10}) == frozenset()


def test_a_window_that_cannot_be_counted_is_left_to_upkeep(nowhere: Engine, clock: Clock) -> None:
    window = Window(nowhere, 10, clock=clock)

    assert window.quiet({USUAL: 1, URGENT: 1}) == {USUAL, URGENT}


def test_only_jobs_that_are_ready_at_once_fill_a_window() -> None:
    later = {"delay": timedelta(hours=1)}, {"run_at": datetime(2999, 1, 1, tzinfo=UTC)}
    jobs: list[NewJob] = [new_job(**changes) for changes in ({}, {}, {"priority": 9}, *later)]

    assert ready_kinds(jobs) == {("default", jobs[0].priority): 2, URGENT: 1}


@pytest.fixture
def door(engine: Engine) -> Iterator[Engine]:
    """An engine of its own for the backlog's database."""
    opened = connect_to(engine.url.render_as_string(hide_password=False))
    yield opened
    opened.dispose()


@contextmanager
def timing_out(engine: Engine) -> Iterator[None]:
    """Have PostgreSQL end each statement of `engine` as one that takes too long, for the block."""

    def hurry(_connection: object, cursor: Cursor[Any], statement: str, parameters: Any, *_rest: object) -> Any:
        cursor.execute("SET statement_timeout = 1")
        return f"WITH slow AS MATERIALIZED (SELECT pg_sleep(5)) SELECT * FROM slow, ({statement}) AS asked", parameters

    event.listen(engine, "before_cursor_execute", hurry, retval=True)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", hurry)
        engine.dispose()


def test_a_backlog_is_full_at_its_limit_until_a_look_finds_room(engine: Engine, clock: Clock) -> None:
    backlog = Backlog(engine, 2, run=at_once, clock=clock)
    unrung(engine)
    backlog.look()
    assert not backlog.is_full

    unrung(engine)
    backlog.look()
    assert not backlog.is_full, "it was looked at a moment ago"

    clock.now += LOOK_EVERY
    backlog.look()
    assert backlog.is_full

    clock.now += LOOK_EVERY
    assert backlog.is_full
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM jobs"))
    backlog.look()
    assert not backlog.is_full


def test_a_full_backlog_that_nobody_asks_after_is_forgotten(engine: Engine, clock: Clock) -> None:
    backlog = Backlog(engine, 1, run=at_once, clock=clock)
    unrung(engine)
    backlog.look()
    assert backlog.is_full

    clock.now += 2 * LOOK_EVERY

    assert not backlog.is_full


def test_a_full_backlog_stays_full_while_it_is_counted_again(engine: Engine, clock: Clock) -> None:
    begun: list[Callable[[], None]] = []
    backlog = Backlog(engine, 1, run=begun.append, clock=clock)
    unrung(engine)
    backlog.look()
    begun.pop()()
    clock.now += 3 * LOOK_EVERY

    backlog.look()
    clock.now += LOOK_EVERY

    assert backlog.is_full
    begun.pop()()
    assert backlog.is_full


@pytest.mark.parametrize("was_full", [False, True])
def test_the_last_answer_stands_for_a_while_when_counting_takes_too_long(
    door: Engine, engine: Engine, clock: Clock, was_full: bool
) -> None:
    backlog = Backlog(door, 1, run=at_once, clock=clock)
    if was_full:
        unrung(engine)
    backlog.look()
    answers = []

    with timing_out(door), capture_logs() as told:
        clock.now += LOOK_EVERY
        for _ in range(int(BELIEVED_FOR / LOOK_EVERY)):
            backlog.look()
            answers.append(backlog.is_full)
            clock.now += LOOK_EVERY

        assert set(answers) == {was_full}
        assert backlog.is_full, "nobody knows any more"
        backlog.look()

    said = [(line["log_level"], line["reason"], line["taken_for"], line["is_last_known"]) for line in told]
    known = "full" if was_full else "not full"
    assert said[0] == ("warning", "OperationalError", known, True)
    assert said[-1] == ("error", "OperationalError", "full", False)

    with engine.begin() as connection:
        connection.execute(text("DELETE FROM jobs"))
    clock.now += LOOK_EVERY
    backlog.look()
    assert not backlog.is_full, "it was counted"


def test_a_count_that_never_ends_keeps_the_door_neither_open_nor_shut(engine: Engine, clock: Clock) -> None:
    begun: list[Callable[[], None]] = []
    backlog = Backlog(engine, 1, run=begun.append, clock=clock)
    backlog.look()
    assert not backlog.is_full

    clock.now += BELIEVED_FOR
    assert backlog.is_full

    backlog.look()
    _never_ended, another = begun
    another()
    assert not backlog.is_full


def test_a_backlog_that_cannot_be_counted_is_counted_as_soon_as_that_is_possible(nowhere: Engine, clock: Clock) -> None:
    backlog = Backlog(nowhere, 1, run=at_once, clock=clock)
    backlog.look()
    assert not backlog.is_full, "no count has found it full"

    clock.now += BELIEVED_FOR
    backlog.look()

    assert backlog.is_full


def test_a_thread_that_cannot_be_had_is_asked_for_again(engine: Engine, clock: Clock) -> None:
    refusals = [RuntimeError("can't start new thread")]

    def run(work: Callable[[], None]) -> None:
        if refusals:
            raise refusals.pop()
        work()

    backlog = Backlog(engine, 1, run=run, clock=clock)
    unrung(engine)
    backlog.look()

    clock.now += LOOK_EVERY
    backlog.look()

    assert backlog.is_full
