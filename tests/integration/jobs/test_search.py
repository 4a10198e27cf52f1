"""Every read that people make."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine, func

from jobs import search
from jobs.errors import InvalidCursor, NotFound
from jobs.model import JobId, new_job_id
from jobs.search import Filter, Page
from jobs.state import JobState, Reason
from tests.factories import failure, new_job, retry, success
from tests.integration.jobs import scenes


def page(engine: Engine, wanted: Filter | None = None, *, limit: int = 50, cursor: str | None = None) -> Page:
    with engine.connect() as connection:
        return search.list_jobs(connection, wanted or Filter(), limit=limit, cursor=cursor)


def listed(engine: Engine, **wanted: object) -> list[JobId]:
    return [row["id"] for row in page(engine, Filter(**wanted)).rows]  # type: ignore[arg-type]  # by name, from the test


def letters(engine: Engine, **wanted: object) -> list[JobId]:
    with engine.connect() as connection:
        return [row["id"] for row in search.dead_letters(connection, **wanted).rows]  # type: ignore[arg-type]  # as above


# One job


def test_a_job_is_shown_whole(engine: Engine) -> None:
    job_id = scenes.ended(engine, success('{"sum": 3}'), payload='{"a": 1}', tags=("x",), retry='{"max_retries": 7}')
    with engine.connect() as connection:
        shown = search.job(connection, job_id)

    stored = scenes.row(engine, job_id)
    assert {column.name for column in search.DETAIL} == set(shown)
    assert all(shown[name] == stored[name] for name in shown)
    assert (shown["payload"], shown["result"], shown["retry"]) == ({"a": 1}, {"sum": 3}, {"max_retries": 7})


def test_a_job_that_is_not_there_or_not_yours_is_not_found(engine: Engine) -> None:
    theirs = scenes.queued(engine, tenant="theirs")
    with engine.connect() as connection:
        for job_id in (theirs, new_job_id()):
            for read in (search.job, search.attempts_of, search.events_of, search.logs_of):
                with pytest.raises(NotFound):
                    read(connection, job_id)


def test_versions_tell_of_every_change_and_leave_out_the_unknown(engine: Engine) -> None:
    attempt, waiting = scenes.running(engine), scenes.queued(engine)
    ids = [attempt.job_id, waiting, new_job_id()]
    with engine.connect() as connection:
        before = search.versions(connection, ids)
    scenes.end(engine, attempt, success())
    with engine.connect() as connection:
        after = search.versions(connection, ids)

    assert before == {attempt.job_id: (2, JobState.RUNNING), waiting: (1, JobState.QUEUED)}
    assert after == {attempt.job_id: (3, JobState.SUCCEEDED), waiting: (1, JobState.QUEUED)}


def test_attempts_and_events_come_in_their_order(engine: Engine) -> None:
    attempt = scenes.running(engine)
    scenes.end(engine, attempt, retry())
    with engine.connect() as connection:
        tried = search.attempts_of(connection, attempt.job_id)
        happened = search.events_of(connection, attempt.job_id)
        later = search.events_of(connection, attempt.job_id, after=1, limit=1)

    assert [(one["number"], one["outcome"], one["error"]["type"]) for one in tried] == [(1, "errored", "ValueError")]
    assert [(one["seq"], one["name"]) for one in happened] == [(1, "accept"), (2, "start"), (3, "retry")]
    assert [(one["seq"], one["state"], one["facts"]) for one in later] == [(2, "running", {"worker": "worker-1"})]


# Lists


def test_the_newest_comes_first(engine: Engine) -> None:
    made = [scenes.queued(engine) for _ in range(4)]

    assert listed(engine) == made[::-1]


def test_each_filter_narrows_the_list(engine: Engine) -> None:
    queued = scenes.queued(engine, queue="critical", task="a.b", tags=("x", "y"))
    done = scenes.ended(engine, success(), queue="mail", task="a.b", tags=("y",))
    failed = scenes.ended(engine, failure(), queue="mail", task="c.d")

    assert listed(engine, state=JobState.QUEUED) == [queued]
    assert listed(engine, state=JobState.FAILED) == [failed]
    assert listed(engine, queue="mail") == [failed, done]
    assert listed(engine, task="a.b") == [done, queued]
    assert listed(engine, tag="x") == [queued]
    assert listed(engine, tag="y") == [done, queued]
    assert listed(engine, tag="X") == []
    assert listed(engine, tag="") == []
    assert listed(engine, queue="mail", task="a.b", state=JobState.SUCCEEDED, tag="y") == [done]
    assert listed(engine, queue="critical", task="c.d") == []


def test_a_list_is_cut_by_the_time_of_acceptance(engine: Engine) -> None:
    made = [scenes.queued(engine) for _ in range(4)]
    at: list[datetime] = [scenes.row(engine, job_id)["created_at"] for job_id in made]

    assert listed(engine, created_after=at[1]) == [made[3], made[2]]
    assert listed(engine, created_before=at[2]) == [made[1], made[0]]
    assert listed(engine, created_after=at[0], created_before=at[3]) == [made[2], made[1]]
    assert listed(engine, created_after=at[3]) == []


def test_a_list_believes_the_databases_clock_where_the_makers_is_off(engine: Engine) -> None:
    job_id = scenes.queued(engine)
    accepted_at: datetime = scenes.row(engine, job_id)["created_at"]
    for off in (timedelta(minutes=-50), timedelta(minutes=50)):
        scenes.change(engine, job_id, created_at=accepted_at + off)

        assert listed(engine, created_after=accepted_at + off - timedelta(seconds=1)) == [job_id]
        assert listed(engine, created_before=accepted_at + off + timedelta(seconds=1)) == [job_id]


def test_nobody_sees_another_tenants_jobs(engine: Engine) -> None:
    scenes.queued(engine, tenant="theirs")
    scenes.ended(engine, failure(), tenant="theirs")

    assert listed(engine) == []
    assert letters(engine) == []
    assert len(letters(engine, tenant="theirs")) == 1


def test_a_summary_leaves_out_what_can_be_large(engine: Engine) -> None:
    scenes.queued(engine)
    (row,) = page(engine).rows

    assert not {"payload", "result", "error", "progress"} & set(row)
    assert {column.name for column in search.SUMMARY} == set(row)


def test_a_walk_by_cursor_sees_each_job_once_while_others_come(engine: Engine) -> None:
    first = [receipt.id for receipt in scenes.accepted(engine, *(new_job() for _ in range(23)))]
    seen: list[JobId] = []
    cursor = None

    while True:
        shown = page(engine, limit=5, cursor=cursor)
        seen += [row["id"] for row in shown.rows]
        scenes.queued(engine)
        cursor = shown.next_cursor
        if cursor is None:
            break

    assert seen == first[::-1]


def test_a_walk_survives_the_end_of_the_job_at_its_cursor(engine: Engine) -> None:
    attempts = [scenes.running(engine) for _ in range(4)]
    running = Filter(state=JobState.RUNNING)
    first = page(engine, running, limit=2)
    scenes.end(engine, attempts[2], success())
    rest = page(engine, running, limit=2, cursor=first.next_cursor)

    assert [row["id"] for row in first.rows] == [attempts[3].job_id, attempts[2].job_id]
    assert [row["id"] for row in rest.rows] == [attempts[1].job_id, attempts[0].job_id]
    assert rest.next_cursor is None


@pytest.mark.parametrize(("count", "more"), [(4, False), (5, False), (6, True)])
def test_a_page_knows_whether_there_are_more(engine: Engine, count: int, *, more: bool) -> None:
    for _ in range(count):
        scenes.queued(engine)

    shown = page(engine, limit=5)

    assert len(shown.rows) == min(count, 5)
    assert (shown.next_cursor is not None) == more


def test_a_cursor_serves_the_list_that_made_it_alone(engine: Engine) -> None:
    for _ in range(3):
        scenes.ended(engine, failure())
    cursor = page(engine, limit=1).next_cursor

    with pytest.raises(InvalidCursor):
        page(engine, Filter(state=JobState.FAILED), cursor=cursor)
    with pytest.raises(InvalidCursor):
        letters(engine, cursor=cursor)
    with engine.connect() as connection, pytest.raises(InvalidCursor):
        search.list_jobs(connection, Filter(), tenant="theirs", cursor=cursor)


# Dead letters


def test_dead_letters_are_the_failed_jobs_that_nobody_has_closed(engine: Engine) -> None:
    closed, first, second = (scenes.ended(engine, failure()) for _ in range(3))
    scenes.change(engine, closed, closed_at=func.now())
    scenes.ended(engine, success())
    scenes.queued(engine)

    assert letters(engine) == [second, first]


def test_dead_letters_are_narrowed_by_task_and_reason(engine: Engine) -> None:
    crashed = scenes.ended(engine, failure(Reason.CRASHED), task="a.b")
    permanent = scenes.ended(engine, failure(Reason.PERMANENT), task="a.b")
    other = scenes.ended(engine, failure(Reason.CRASHED), task="c.d")

    assert letters(engine, task="a.b") == [permanent, crashed]
    assert letters(engine, reason=Reason.CRASHED) == [other, crashed]
    assert letters(engine, task="a.b", reason=Reason.CRASHED) == [crashed]


def test_a_dead_letter_shows_its_error(engine: Engine) -> None:
    scenes.ended(engine, failure())
    with engine.connect() as connection:
        (row,) = search.dead_letters(connection).rows

    assert (row["reason"], row["error"]["message"]) == ("exhausted", "it broke")


def test_dead_letters_are_walked_by_cursor(engine: Engine) -> None:
    made = [scenes.ended(engine, failure()) for _ in range(5)]
    seen: list[JobId] = []
    cursor = None
    with engine.connect() as connection:
        for _ in range(3):
            shown = search.dead_letters(connection, limit=2, cursor=cursor)
            seen += [row["id"] for row in shown.rows]
            cursor = shown.next_cursor

    assert seen == made[::-1]
    assert cursor is None
