"""Patches of schedules over HTTP: what they change, what they leave, what is none."""

import json
from typing import Any

import pytest

from tests.integration.api.nightly import EVERYTHING, NIGHTLY, PATH, patch, put
from tests.integration.api.problems import problem
from tests.services.api import Person


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
