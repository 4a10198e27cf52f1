"""Schedules that cannot be kept are refused over HTTP, in words that say what is wrong."""

from typing import Any

import pytest

from tests.integration.api.nightly import NIGHTLY, PATH, patch, put
from tests.integration.api.problems import fields, problem
from tests.services.api import Person

REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "a minute out of range": ({"cron": "61 * * * *"}, "invalid-timing", "cron.minute"),
    "too few fields": ({"cron": "* * *"}, "invalid-timing", "cron"),
    "the 30th of February": ({"cron": "0 0 30 2 *"}, "invalid-timing", "cron.day_of_month"),
    "an unknown zone": ({"zone": "Europe/Berlim"}, "invalid-timing", "zone"),
    "the end before the start": (
        {"start_at": "2030-01-02T00:00:00Z", "end_at": "2030-01-01T00:00:00Z"}, "invalid-timing", "end_at",
    ),
    "an end in the past": ({"end_at": "2001-01-01T00:00:00Z"}, "invalid-timing", "end_at"),
    "a date in the past": ({"cron": None, "at": "2001-01-01T00:00:00Z"}, "invalid-timing", "at"),
    "a date that is none": ({"cron": None, "at": "2030-02-30T00:00:00Z"}, "invalid-request", "at"),
    "an interval under a second": ({"cron": None, "every_seconds": 0.5}, "invalid-request", "every_seconds"),
    "two timings": ({"every_seconds": 60}, "invalid-timing", "every_seconds"),
    "no timing": ({"cron": None}, "invalid-timing", "cron"),
    "an anchor for a cron": ({"anchor_at": "2030-01-01T00:00:00Z"}, "invalid-timing", "anchor_at"),
    "an unknown gap rule": ({"on_gap": "jump"}, "invalid-request", "on_gap"),
    "too much jitter": ({"jitter_seconds": 86_401}, "invalid-request", "jitter_seconds"),
    "jitter beyond the interval": (
        {"cron": None, "every_seconds": 60, "jitter_seconds": 61}, "invalid-timing", "jitter_seconds",
    ),
    "an unknown task": ({"task": "demo.nobody"}, "unknown-task", "task"),
    "an unknown queue": ({"queue": "nowhere"}, "unknown-queue", "queue"),
    "a payload that does not fit": ({"payload": {"x": 1}}, "invalid-payload", "payload.x"),
    "a missing argument": ({"task": "demo.echo"}, "invalid-payload", "payload.message"),
    "an instant that the task does not take": ({"instant_as": "when"}, "invalid-payload", "instant_as"),
    "a start beyond the calendar": ({"start_at": "8999-01-01T00:00:00Z"}, "invalid-timing", "start_at"),
    "a date beyond the calendar": ({"cron": None, "at": "5000-01-01T00:00:00Z"}, "invalid-timing", "at"),
    "an instant in place of an argument": (
        {"task": "demo.echo", "payload": {"message": "x"}, "instant_as": "message"}, "invalid-payload", "instant_as",
    ),
    "an unknown overlap": ({"overlap": "fight"}, "invalid-request", "overlap"),
    "an unknown catch-up": ({"catch_up": {"mode": "some"}}, "invalid-request", "catch_up.mode"),
    "missed at once": ({"missed_after_seconds": 0}, "invalid-request", "missed_after_seconds"),
    "too much catch-up": ({"catch_up": {"limit": 1001}}, "invalid-request", "catch_up.limit"),
    "a field that there is not": ({"paused": True}, "invalid-request", "paused"),
    "a number in quotes": ({"priority": "5"}, "invalid-request", "priority"),
    "an expiry in no time": ({"expires_after_seconds": 1e-7}, "invalid-request", "expires_after_seconds"),
    "limits in the wrong order": (
        {"time_limit": {"soft_seconds": 9, "hard_seconds": 5}}, "invalid-request", "time_limit",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "slug", "field"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_kept_is_refused_by_field_and_nothing_is_stored(
    person: Person, change: dict[str, Any], slug: str, field: str
) -> None:
    wanted = {name: value for name, value in (NIGHTLY | change).items() if value is not None}

    body = problem(put(person, wanted), 422, slug)

    assert fields(body) == [field]
    problem(person.http.get(PATH), 404, "not-found")


@pytest.mark.parametrize("at", ["tomorrow", "2030-01-31", "2030-01-31 08:00", "1031-01-31T08:00", "2030-13-01T08:00"])
def test_a_date_that_cannot_be_read_is_told_in_words_with_an_example(person: Person, at: str) -> None:
    body = problem(put(person, {"task": "demo.noop", "at": at}), 422, "invalid-request")

    (error,) = body["errors"]
    assert error["field"] == "at"
    assert "2030-01-31T08:00" in error["message"]
    assert "\\d" not in error["message"]


@pytest.mark.parametrize(
    "wrong",
    [{"time_limit": {"soft_seconds": 9, "hard_seconds": 5}}, {"at": "tomorrow"}, {"start_at": "2030-01-01T00:00:00"}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_fault_is_told_without_the_name_of_a_class(person: Person, wrong: dict[str, Any]) -> None:
    body = problem(put(person, {"task": "demo.noop"} | wrong), 422, "invalid-request")

    for error in body["errors"]:
        assert "error," not in error["message"]


@pytest.mark.parametrize(
    "window",
    [
        {"end_at": "2020-01-01T00:00:00Z"},
        {"start_at": "2030-01-02T00:00:00Z", "end_at": "2030-01-01T00:00:00Z"},
        {"start_at": "2090-01-01T00:00:01Z", "end_at": "2090-01-01T00:00:02Z"},
    ],
    ids=["in the past", "backwards", "without an instant"],
)
def test_an_edit_that_leaves_no_instant_is_refused(person: Person, window: dict[str, Any]) -> None:
    before = put(person, NIGHTLY).json()

    for answer in (put(person, NIGHTLY | window), person.http.patch(PATH, json=window)):
        assert fields(problem(answer, 422, "invalid-timing")) == ["end_at"]

    assert person.http.get(PATH).json() == before


def test_a_date_is_refused_with_a_sentence_that_is_true(person: Person) -> None:
    def message(at: str) -> str:
        (error,) = problem(put(person, {"task": "demo.noop", "at": at}), 422, "invalid-timing")["errors"]
        return str(error["message"])

    assert message("5000-01-01T00:00:00Z") == "lies beyond the year 2999, where the calendar ends"
    assert message("2001-01-01T00:00:00Z").startswith("lies in the past")


def test_an_instant_of_an_unknown_name_is_told_by_that_name_alone(person: Person) -> None:
    body = problem(
        put(person, NIGHTLY | {"task": "demo.echo", "payload": {"message": "x"}, "instant_as": "nope"}),
        422,
        "invalid-payload",
    )

    assert [one["message"] for one in body["errors"]] == ["names no argument of demo.echo"]


def test_a_bad_change_leaves_it_as_it_was(person: Person) -> None:
    before = put(person).json()

    problem(put(person, NIGHTLY | {"cron": "never"}), 422, "invalid-timing")
    problem(patch(person, {"zone": "Mars/Olympus"}), 422, "invalid-timing")

    assert person.http.get(PATH).json() == before


@pytest.mark.parametrize("name", ["a b", "-a", "a" * 101, "ä", "a%2fb"])
def test_a_name_that_no_address_can_hold_is_refused(person: Person, name: str) -> None:
    answer = put(person, path=f"/api/v1/schedules/{name}")

    assert answer.status_code in {404, 422}
    assert person.get("/schedules").json()["schedules"] == []
