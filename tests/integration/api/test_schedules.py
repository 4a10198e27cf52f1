"""Schedules over HTTP: writing, pausing, deleting and listing them, with what their tags are good for."""

from datetime import datetime
from typing import Any

import pytest

from tests.integration.api.nightly import EVERYTHING, NIGHTLY, PATH, of_code, patch, put
from tests.integration.api.problems import problem
from tests.services.api import Person

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
