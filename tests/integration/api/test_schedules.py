"""Schedules over HTTP: writing, changing, pausing and deleting them, with what their tags are good for."""

import json
from datetime import datetime
from typing import Any

import httpx
import pytest

from jobs.database import transaction
from jobs.planning import editing
from jobs.planning.model import Definition
from tests.integration.api.problems import fields, problem
from tests.services.api import Person

PATH = "/api/v1/schedules/nightly"
NIGHTLY: dict[str, Any] = {"cron": "0 3 * * *", "zone": "Europe/Berlin", "task": "demo.noop"}
EVERYTHING: dict[str, Any] = {
    "cron": "*/5 8-18 * * MON-FRI",
    "zone": "America/New_York",
    "on_gap": "skip",
    "on_fold": "both",
    "jitter_seconds": 30,
    "missed_after_seconds": 300,
    "start_at": "2026-01-01T00:00:00Z",
    "end_at": "2036-01-01T00:00:00Z",
    "task": "demo.echo",
    "payload": {"message": "hello"},
    "queue": "bulk",
    "priority": 9,
    "expires_after_seconds": 600,
    "unique_key": "report",
    "tags": ["a", "b"],
    "retry": {"max_retries": 7},
    "time_limit": {"soft_seconds": 5, "hard_seconds": 9},
    "catch_up": {"mode": "all", "window_seconds": 3600, "limit": 12},
    "overlap": "wait",
}


def put(person: Person, body: dict[str, Any] | None = None, path: str = PATH, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return person.http.put(path, json=NIGHTLY if body is None else body, headers=named)


def patch(person: Person, body: Any, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return person.http.patch(PATH, json=body, headers=named)


def of_code(person: Person, name: str = "nightly") -> None:
    """Have code declare a schedule for this person."""
    declared = Definition(cron="0 3 * * *", task="demo.noop", queue="default")
    with transaction(person.engine) as connection:
        origin = f"beat_schedule[{name!r}]"
        editing.declare(connection, {name: (lambda *_: declared, origin)}, tenant=person.tenant)


# Writing


def test_a_new_schedule_is_201_with_its_address_and_tag(person: Person) -> None:
    answer = put(person)

    body = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == PATH
    assert answer.headers["etag"] == person.http.get(PATH).headers["etag"]
    assert (body["name"], body["source"], body["cron"], body["zone"]) == (
        "nightly", "api", "0 3 * * *", "Europe/Berlin",
    )  # fmt: skip
    assert (body["queue"], body["priority"], body["catch_up"]["mode"], body["overlap"]) == (
        "default", 5, "latest", "allow",
    )  # fmt: skip
    assert datetime.fromisoformat(body["next_at"]) > datetime.fromisoformat(body["created_at"])
    assert body["submitter"] == person.key_id
    assert body["paused_at"] is None


def test_the_clock_rules_in_force_are_in_the_answer(person: Person) -> None:
    default, other = put(person).json()["clock_rules"], put(person, EVERYTHING).json()["clock_rules"]

    assert default["zone"] == "Europe/Berlin"
    assert default["gap"] == (
        "A wall-clock time that does not exist runs once, at the first valid instant after the gap."
    )
    assert default["fold"] == "A wall-clock time that happens twice runs once, the first time."
    assert other["gap"] == "A wall-clock time that does not exist is skipped."
    assert other["fold"] == "A wall-clock time that happens twice runs both times."


def test_what_was_written_is_read(person: Person) -> None:
    put(person, EVERYTHING)

    body = person.http.get(PATH).json()

    for name, value in EVERYTHING.items():
        shown = body[name]
        if name == "retry":
            shown = {key: one for key, one in shown.items() if one is not None}
        assert shown == value or datetime.fromisoformat(shown) == datetime.fromisoformat(value), name


@pytest.mark.parametrize(
    "timing",
    [
        {"every_seconds": 90},
        {"every_seconds": 90, "anchor_at": "2026-01-01T00:00:30Z"},
        {"at": "2050-03-01T02:30"},
        {"at": "2050-03-01T02:30:00+01:00"},
        {"cron": "@daily"},
        {"cron": "*/10 * * * * *"},
        {"cron": "0 0 L * *"},
        {"cron": "0 9 * * MON#1"},
    ],
)
def test_every_kind_of_timing_is_taken(person: Person, timing: dict[str, Any]) -> None:
    body = put(person, {"task": "demo.noop"} | timing).json()

    assert body["next_at"] is not None
    assert put(person, {"task": "demo.noop"} | timing).json() == body


def test_the_same_again_changes_nothing(person: Person) -> None:
    first = put(person, EVERYTHING)

    again = put(person, EVERYTHING)

    assert (again.status_code, again.headers["etag"], again.json()) == (200, first.headers["etag"], first.json())


def test_spaces_in_a_cron_say_nothing(person: Person) -> None:
    first = put(person, NIGHTLY | {"cron": "  30  2 * *\t* "})

    assert first.json()["cron"] == "30 2 * * *"
    assert put(person, NIGHTLY | {"cron": "30 2 * * *"}).headers["etag"] == first.headers["etag"]


def test_what_is_known_already_is_not_sent_again(person: Person) -> None:
    tag = put(person).headers["etag"]

    for known in (tag, f'"other", W/{tag}', "*"):
        unchanged = person.http.get(PATH, headers={"If-None-Match": known})
        assert (unchanged.status_code, unchanged.content, unchanged.headers["etag"]) == (304, b"", tag)
    assert person.http.get(PATH, headers={"If-None-Match": '"other"'}).status_code == 200

    patch(person, {"priority": 9})
    changed = person.http.get(PATH, headers={"If-None-Match": tag})
    assert (changed.status_code, changed.json()["etag"]) == (200, changed.headers["etag"].strip('"'))


def test_another_definition_replaces_the_whole(person: Person) -> None:
    first = put(person, EVERYTHING)

    second = put(person)

    assert second.status_code == 200
    assert second.headers["etag"] != first.headers["etag"]
    assert (second.json()["tags"], second.json()["unique_key"], second.json()["payload"]) == ([], None, {})


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


@pytest.mark.parametrize(
    ("had", "change"),
    [("every_seconds", {"cron": "@daily"}), ("cron", {"every_seconds": 60}), ("cron", {"at": "2050-01-01T00:00"})],
)
def test_a_change_to_another_kind_of_timing_says_what_must_go(person: Person, had: str, change: dict[str, Any]) -> None:
    put(person, {"task": "demo.noop", had: {"every_seconds": 60, "cron": "@hourly"}[had]})

    (error,) = problem(patch(person, change), 422, "invalid-timing")["errors"]

    assert error["field"] == next(iter(change))
    assert f'"{had}": null' in error["message"]
    assert patch(person, change | {had: None}).status_code == 200


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


# Tags


def test_a_schedule_is_made_only_where_there_is_none(person: Person) -> None:
    assert put(person, if_none_match="*").status_code == 201

    body = problem(put(person, EVERYTHING, if_none_match="*"), 412, "precondition-failed")

    assert body["etag"] == person.http.get(PATH).headers["etag"]
    assert person.http.get(PATH).json()["cron"] == NIGHTLY["cron"]


def test_of_two_who_read_the_same_the_second_to_write_is_told(person: Person) -> None:
    tag = put(person).headers["etag"]

    assert put(person, EVERYTHING, if_match=tag).status_code == 200

    problem(put(person, if_match=tag), 412, "precondition-failed")
    for method, path in (("PATCH", PATH), ("POST", f"{PATH}/pause"), ("POST", f"{PATH}/resume"), ("DELETE", PATH)):
        content: dict[str, Any] = {"json": {}} if method == "PATCH" else {}
        problem(person.http.request(method, path, headers={"If-Match": tag}, **content), 412, "precondition-failed")


def test_any_tag_and_one_of_several_will_do(person: Person) -> None:
    tag = put(person).headers["etag"]

    assert put(person, EVERYTHING, if_match=f'"0-1", {tag}').status_code == 200
    assert put(person, if_match="*").status_code == 200


def test_what_is_not_there_matches_nothing(person: Person) -> None:
    problem(put(person, if_match="*"), 412, "precondition-failed")


def test_a_condition_that_makes_no_sense_is_refused(person: Person) -> None:
    problem(put(person, if_none_match='"0-1"'), 422, "invalid-request")


# Patches


def test_a_patch_changes_what_it_names(person: Person) -> None:
    before = put(person, EVERYTHING).json()

    after = patch(person, {"priority": 1, "catch_up": {"limit": 3}, "tags": ["c"]}).json()

    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"priority", "catch_up", "tags", "updated_at", "etag"}
    assert after["catch_up"] == {"mode": "all", "window_seconds": 3600, "limit": 3}


def test_null_takes_a_field_back_to_its_default(person: Person) -> None:
    put(person, EVERYTHING)

    after = patch(person, {"unique_key": None, "retry": None, "overlap": None, "payload": {"message": "new"}}).json()

    assert (after["unique_key"], after["retry"], after["overlap"]) == (None, None, "allow")
    assert after["payload"] == {"message": "new"}


def test_one_kind_of_timing_gives_way_to_another(person: Person) -> None:
    put(person, {"task": "demo.noop", "every_seconds": 60})

    after = patch(person, {"every_seconds": None, "cron": "@daily"}).json()

    assert (after["cron"], after["every_seconds"], after["anchor_at"]) == ("@daily", None, None)
    problem(patch(person, {"every_seconds": 60}), 422, "invalid-timing")


def test_a_patch_may_be_announced_as_such(person: Person) -> None:
    put(person)

    answer = person.http.patch(
        PATH, content=json.dumps({"priority": 1}), headers={"content-type": "application/merge-patch+json"}
    )

    assert answer.json()["priority"] == 1


@pytest.mark.parametrize(
    ("content", "status", "slug"),
    [
        (b"[1]", 422, "invalid-request"),
        (b"nonsense", 400, "malformed-body"),
        (b'{"priority": NaN}', 400, "malformed-body"),
        (b'{"name": "x"}', 422, "invalid-request"),
        (b'{"cron": "\xff"}', 400, "malformed-body"),
    ],
)
def test_what_is_no_patch_is_refused(person: Person, content: bytes, status: int, slug: str) -> None:
    put(person)

    answer = person.http.patch(PATH, content=content, headers={"content-type": "application/json"})

    problem(answer, status, slug)


def test_a_patch_makes_nothing(person: Person) -> None:
    problem(patch(person, NIGHTLY), 404, "not-found")


# Pausing and deleting


def test_a_pause_lasts_until_it_is_resumed(person: Person) -> None:
    put(person)

    paused = person.http.post(f"{PATH}/pause").json()
    again = person.http.post(f"{PATH}/pause").json()
    put(person, EVERYTHING)
    still = person.http.get(PATH).json()
    resumed = person.http.post(f"{PATH}/resume").json()

    assert paused["paused_at"] == again["paused_at"] == still["paused_at"] is not None
    assert resumed["paused_at"] is None


def test_a_deleted_schedule_is_gone(person: Person) -> None:
    put(person)

    answer = person.http.delete(PATH)

    assert (answer.status_code, answer.content) == (204, b"")
    problem(person.http.get(PATH), 404, "not-found")
    problem(person.http.delete(PATH), 404, "not-found")


# What code declares


def test_what_code_declares_is_shown_and_edited_there_alone(person: Person) -> None:
    of_code(person)

    shown = person.http.get(PATH).json()
    assert (shown["source"], shown["origin"]) == ("code", "beat_schedule['nightly']")
    for method, path, content in (
        ("PUT", PATH, NIGHTLY), ("PATCH", PATH, {}), ("DELETE", PATH, None),
        ("POST", f"{PATH}/pause", None), ("POST", f"{PATH}/resume", None),
    ):  # fmt: skip
        body = problem(person.http.request(method, path, json=content), 409, "read-only")
        assert "beat_schedule['nightly']" in body["detail"]
    assert person.http.get(PATH).json() == shown


def test_what_code_declares_can_be_triggered_and_backfilled(person: Person) -> None:
    of_code(person)

    assert person.http.post(f"{PATH}/trigger").json()["decision"] == "fired"
    span = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
    assert person.http.post(f"{PATH}/backfill", json=span).status_code == 200


# Lists


def test_schedules_are_listed_by_name_page_by_page(person: Person) -> None:
    for name in "cab":
        put(person, path=f"/api/v1/schedules/{name}")

    first = person.get("/schedules", params={"limit": 2}).json()
    second = person.get("/schedules", params={"limit": 2, "cursor": first["next_cursor"]}).json()

    assert [one["name"] for one in first["schedules"]] == ["a", "b"]
    assert ([one["name"] for one in second["schedules"]], second["next_cursor"]) == (["c"], None)


def test_a_list_is_narrowed(person: Person) -> None:
    put(person)
    of_code(person, "declared")
    put(person, EVERYTHING, path="/api/v1/schedules/other")
    person.http.post("/api/v1/schedules/other/pause")

    def names(**wanted: str) -> list[str]:
        return [one["name"] for one in person.get("/schedules", params=wanted).json()["schedules"]]

    assert names() == ["declared", "nightly", "other"]
    assert names(source="code") == ["declared"]
    assert names(task="demo.echo") == names(paused="true") == ["other"]


def test_a_cursor_of_another_list_is_refused(person: Person) -> None:
    for name in "ab":
        put(person, path=f"/api/v1/schedules/{name}")
    cursor = person.get("/schedules", params={"limit": 1}).json()["next_cursor"]

    problem(person.get("/schedules", params={"cursor": cursor, "source": "api"}), 400, "invalid-cursor")
    problem(person.get("/schedules/a/occurrences", params={"cursor": cursor}), 400, "invalid-cursor")
