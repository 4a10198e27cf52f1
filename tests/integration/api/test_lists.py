"""Finding jobs: filters, pages, and cursors that belong to one list."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobs.state import JobState, Reason
from tests import factories
from tests.integration.api.problems import fields, problem
from tests.integration.jobs import scenes
from tests.services.api import Api, Person


def ids(person: Person, path: str = "/jobs", **narrowed: Any) -> list[str]:
    """Return the ids that a list shows."""
    answer = person.get(path, params=narrowed)
    assert answer.status_code == 200, answer.text
    page = answer.json()
    return [one["id"] for one in page.get("jobs", page.get("dead_letters"))]


def letter(person: Person, reason: Reason = Reason.EXHAUSTED, **wishes: Any) -> str:
    """Return a dead letter of this person."""
    job_id = person.accepted(**wishes)
    (attempt,) = scenes.start(person.engine, job_id)
    scenes.end(person.engine, attempt, factories.failure(reason))
    return str(job_id)


def test_a_list_shows_the_newest_first_and_nothing_that_is_large(person: Person) -> None:
    made = [str(person.accepted()) for _ in range(5)]
    page = person.get("/jobs").json()

    assert [one["id"] for one in page["jobs"]] == made[::-1]
    assert page["next_cursor"] is None
    assert not {"payload", "result", "error"} & page["jobs"][0].keys()


def test_nobody_elses_jobs_are_listed(person: Person, api: Api) -> None:
    api.person().accepted()

    assert ids(person) == []


def test_a_list_is_narrowed_by_each_filter(person: Person) -> None:
    wanted = person.accepted(
        "demo.echo", payload={"message": "x"}, queue="bulk", tags=["red", "blue"], delay_seconds=99
    )
    person.accepted()
    wanted_alone = [str(wanted)]

    assert ids(person, state="scheduled") == wanted_alone
    assert ids(person, queue="bulk") == wanted_alone
    assert ids(person, task="demo.echo") == wanted_alone
    assert ids(person, tag="blue") == wanted_alone
    assert ids(person, state="scheduled", queue="bulk", task="demo.echo", tag="red") == wanted_alone
    assert ids(person, state="scheduled", queue="default") == []
    assert ids(person, tag="re") == []


def test_a_list_is_narrowed_by_time(person: Person) -> None:
    early, late = person.accepted(), person.accepted()
    between = scenes.row(person.engine, early)["created_at"]

    assert ids(person, created_after=between.isoformat()) == [str(late)]
    assert ids(person, created_before=(between + timedelta(microseconds=1)).isoformat()) == [str(early)]
    assert ids(person, created_after=datetime(2999, 1, 1, tzinfo=UTC).isoformat()) == []


@pytest.mark.parametrize("state", JobState)
def test_every_state_can_be_asked_for(person: Person, state: JobState) -> None:
    assert ids(person, state=state) == []


def test_pages_follow_each_other_without_gap_or_overlap(person: Person) -> None:
    made = [str(person.accepted(tags=["x"])) for _ in range(7)]
    seen, cursor, pages = [], None, 0
    while True:
        page = person.get("/jobs", params={"tag": "x", "limit": 3} | ({"cursor": cursor} if cursor else {})).json()
        seen += [one["id"] for one in page["jobs"]]
        pages += 1
        person.accepted(tags=["x"])  # what comes meanwhile is newer, and moves nothing
        cursor = page["next_cursor"]
        if cursor is None:
            break

    assert seen == made[::-1]
    assert pages == 3


def test_a_page_that_is_just_full_is_the_last(person: Person) -> None:
    for _ in range(3):
        person.accepted()

    assert person.get("/jobs", params={"limit": 3}).json()["next_cursor"] is None


def test_a_cursor_belongs_to_its_list(person: Person, api: Api) -> None:
    for _ in range(2):
        letter(person)
    cursor = person.get("/jobs", params={"limit": 1, "state": "failed"}).json()["next_cursor"]

    for path, narrowed in (("/jobs", {"state": "queued"}), ("/jobs", {}), ("/dead-letters", {})):
        problem(person.get(path, params={"cursor": cursor, **narrowed}), 400, "invalid-cursor")
    problem(api.person().get("/jobs", params={"cursor": cursor, "state": "failed"}), 400, "invalid-cursor")
    assert len(ids(person, cursor=cursor, state="failed")) == 1


@pytest.mark.parametrize(
    "cursor", ["x", "", "é", "%00", "A" * 200, base64.urlsafe_b64encode(b"0" * 16 + b"{" * 32).decode(), "=" * 8]
)
def test_a_cursor_that_nobody_made_is_refused(person: Person, cursor: str) -> None:
    for path in ("/jobs", "/dead-letters"):
        problem(person.get(path, params={"cursor": cursor}), 400, "invalid-cursor")


@pytest.mark.parametrize(
    ("narrowed", "wrong"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "201"}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"limit": "1e400"}, "limit"),
        ({"state": "done"}, "state"),
        ({"task": "a\0"}, "task"),
        ({"queue": "\0"}, "queue"),
        ({"queue": "x" * 201}, "queue"),
        ({"tag": "\0"}, "tag"),
        ({"created_after": "yesterday"}, "created_after"),
        ({"created_after": "2026-01-01T00:00:00"}, "created_after"),
        ({"created_after": "0001-01-01T00:00:00+14:00"}, "created_after"),
        ({"created_before": "1700000000"}, "created_before"),
        ({"created_before": "9999-12-31T23:59:59-12:00"}, "created_before"),
        ({"cursor": "x" * 201}, "cursor"),
    ],
)
def test_a_filter_that_makes_no_sense_is_named(person: Person, narrowed: dict[str, str], wrong: str) -> None:
    assert fields(problem(person.get("/jobs", params=narrowed), 422, "invalid-request")) == [wrong]


def test_dead_letters_are_listed_with_reason_and_error(person: Person) -> None:
    first = letter(person)
    second = letter(person, Reason.PERMANENT, task="demo.echo", payload={"message": "x"})
    person.accepted()
    found = person.get("/dead-letters").json()["dead_letters"]

    assert [one["id"] for one in found] == [second, first]
    assert (found[0]["reason"], found[0]["error"]) == ("permanent", factories.BROKEN.as_json())
    assert ids(person, "/dead-letters", reason="exhausted") == [first]
    assert ids(person, "/dead-letters", task="demo.echo") == [second]
    assert ids(person, "/dead-letters", task="demo.echo", reason="exhausted") == []


def test_dead_letters_come_in_pages(person: Person) -> None:
    made = [letter(person) for _ in range(3)]
    first = person.get("/dead-letters", params={"limit": 2}).json()

    assert [one["id"] for one in first["dead_letters"]] == [made[2], made[1]]
    assert ids(person, "/dead-letters", cursor=first["next_cursor"]) == [made[0]]


def test_a_filter_of_dead_letters_that_makes_no_sense_is_named(person: Person) -> None:
    for narrowed, wrong in (({"reason": "bored"}, "reason"), ({"task": "\0"}, "task"), ({"limit": "0"}, "limit")):
        assert fields(problem(person.get("/dead-letters", params=narrowed), 422, "invalid-request")) == [wrong]
