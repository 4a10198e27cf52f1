"""A job is submitted: the answer says what the tables hold."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.integration.jobs import scenes
from tests.services.api import Person

LATER = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)


def test_an_accepted_job_is_described_and_pointed_to(person: Person) -> None:
    answer = person.submit("demo.echo", payload={"message": "hello"})
    body = answer.json()

    assert answer.status_code == 202
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["location"] == f"/api/v1/jobs/{body['id']}"
    assert "idempotency-replayed" not in answer.headers
    assert body.keys() == {"id", "task", "queue", "priority", "state", "run_at", "created_at", "links"}
    assert (body["task"], body["queue"], body["priority"], body["state"]) == ("demo.echo", "default", 5, "queued")
    assert body["run_at"] == body["created_at"]
    assert uuid.UUID(body["id"]).version == 7
    assert person.http.get(body["links"]["self"]).json()["id"] == body["id"]


def test_an_accepted_job_is_in_the_tables_with_its_first_event_when_202_is_read(person: Person) -> None:
    job_id = person.accepted("demo.echo", payload={"message": "hello"})
    row = scenes.row(person.engine, job_id)

    assert (row["tenant"], row["submitter"]) == (person.tenant, person.key_id)
    assert row["payload"] == {"message": "hello"}
    assert row["rung_at"] == row["created_at"]
    scenes.assert_sound(person.engine, job_id)


@pytest.mark.parametrize(
    ("wish", "column", "stored"),
    [
        ({"priority": 0}, "priority", 0),
        ({"priority": 9}, "priority", 9),
        ({"queue": "critical"}, "queue", "critical"),
        ({"tags": ["a", "b c", 'quote"', "{}", "ü"]}, "tags", ["a", "b c", 'quote"', "{}", "ü"]),
        ({"unique_key": "invoice 7"}, "unique_key", "invoice 7"),
        ({"expires_at": LATER.isoformat()}, "expires_at", LATER),
        ({"run_at": LATER.isoformat()}, "run_at", LATER),
        ({"run_at": LATER.isoformat()}, "state", "scheduled"),
        ({"run_at": "1999-12-31T00:00:00Z"}, "state", "queued"),
        ({"time_limit": {"soft_seconds": 1.5, "hard_seconds": 3}}, "soft_time_limit_seconds", 1.5),
        ({"time_limit": {"soft_seconds": 1.5, "hard_seconds": 3}}, "time_limit_seconds", 3),
        ({"time_limit": {"hard_seconds": 3}}, "soft_time_limit_seconds", None),
        ({"retry": {"max_retries": 0, "jitter": False}}, "retry", {"max_retries": 0, "jitter": False}),
        ({"retry": {"backoff_seconds": 0.5, "backoff_max_seconds": 9}}, "retry",
         {"backoff_seconds": 0.5, "backoff_max_seconds": 9}),
        ({"retry": {}}, "retry", None),
        ({"retry": None, "queue": None, "priority": None}, "retry", None),
    ],
)  # fmt: skip
def test_each_option_is_stored_and_shown(person: Person, wish: dict[str, Any], column: str, stored: Any) -> None:
    job_id = person.accepted(**wish)
    shown = person.get(f"/jobs/{job_id}").json()

    assert scenes.row(person.engine, job_id)[column] == stored
    if column == "retry" and stored:
        assert {name: value for name, value in shown["retry"].items() if value is not None} == stored
    elif isinstance(stored, datetime):
        assert datetime.fromisoformat(shown[column]) == stored
    else:
        assert shown[column] == stored


def test_a_delay_counts_from_the_databases_clock(person: Person) -> None:
    row = scenes.row(person.engine, person.accepted(delay_seconds=90.5))

    assert row["state"] == "scheduled"
    assert row["run_at"] - row["created_at"] == timedelta(seconds=90.5)


def test_a_delay_of_zero_is_no_delay(person: Person) -> None:
    assert scenes.row(person.engine, person.accepted(delay_seconds=0))["state"] == "queued"


def test_what_is_not_said_comes_from_the_task(person: Person) -> None:
    row = scenes.row(person.engine, person.accepted("demo.noop"))

    assert (row["queue"], row["priority"], row["payload"], row["tags"]) == ("default", 5, {}, [])
    for column in ("retry", "time_limit_seconds", "soft_time_limit_seconds", "unique_key", "expires_at", "replay_of"):
        assert row[column] is None


def test_a_payload_comes_back_as_it_was_given(person: Person) -> None:
    message = (
        'quote " backslash \\ slash / newline \n tab \t \u2028 \U0001f600 \\u0000 {"a": [1, 2.5, null]} NaN Infinity'
    )
    job_id = person.accepted("demo.echo", payload={"message": message})

    assert person.get(f"/jobs/{job_id}").json()["payload"] == {"message": message}


def test_the_last_of_several_equal_names_counts(person: Person) -> None:
    answer = person.send(b'{"task": "demo.fail", "task": "demo.echo", "payload": {"message": "a", "message": "b"}}')

    assert answer.status_code == 202
    assert person.get(f"/jobs/{answer.json()['id']}").json()["payload"] == {"message": "b"}


def test_a_charset_beside_the_content_type_is_fine(person: Person) -> None:
    body = '{"task": "demo.echo", "payload": {"message": "ü"}}'.encode()
    answer = person.send(body, content_type="Application/JSON; charset=utf-8")

    assert answer.status_code == 202


def test_a_unique_key_holds_off_a_second_job_until_the_first_has_finished(person: Person) -> None:
    first = person.accepted(unique_key="one")

    refused = person.submit(unique_key="one")
    assert refused.status_code == 409
    assert refused.json()["type"] == "/problems/unique-key-taken"
    assert refused.json()["existing_job_id"] == str(first)
    assert "index" not in refused.json()

    assert person.post(f"/jobs/{first}/cancel").status_code == 202
    assert person.submit(unique_key="one").status_code == 202


def test_a_unique_key_binds_one_tenant_only(person: Person, api: Any) -> None:
    person.accepted(unique_key="one")

    assert api.person().submit(unique_key="one").status_code == 202
