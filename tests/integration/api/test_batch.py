"""A batch: many jobs in one transaction, all or nothing."""

import json
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from tests.integration.api.problems import fields, problem
from tests.integration.jobs import scenes
from tests.services.api import Person

NOOP = {"task": "demo.noop"}


def batch(person: Person, jobs: Sequence[Any], **headers: str) -> httpx.Response:
    """Send a batch of these."""
    return person.send(json.dumps({"jobs": jobs}).encode(), "/api/v1/jobs/batch", **headers)


def test_a_thousand_jobs_are_stored_by_one_transaction(person: Person) -> None:
    answer = batch(person, [{"task": "demo.echo", "payload": {"message": str(n)}} for n in range(1000)])
    ids = answer.json()["ids"]

    assert answer.status_code == 202
    assert len(set(ids)) == person.stored() == 1000
    assert scenes.row(person.engine, ids[0])["payload"] == {"message": "0"}
    assert scenes.row(person.engine, ids[999])["payload"] == {"message": "999"}
    with person.engine.connect() as connection:
        writers = connection.scalars(
            text("SELECT DISTINCT xmin::text FROM jobs WHERE tenant = :t"), {"t": person.tenant}
        )
        assert len(writers.all()) == 1


def test_ids_are_in_the_order_of_the_request_and_sort_by_it(person: Person) -> None:
    ids = batch(person, [{**NOOP, "tags": [str(n)]} for n in range(50)]).json()["ids"]

    assert ids == sorted(ids)
    assert [scenes.row(person.engine, one)["tags"] for one in ids] == [[str(n)] for n in range(50)]


def test_a_batch_may_mix_tasks_queues_and_dates(person: Person) -> None:
    mixed = [NOOP, {**NOOP, "queue": "bulk"}, {**NOOP, "delay_seconds": 60}, {**NOOP, "priority": 9, "unique_key": "u"}]
    rows = [scenes.row(person.engine, one) for one in batch(person, mixed).json()["ids"]]

    assert [row["queue"] for row in rows] == ["default", "bulk", "default", "default"]
    assert [row["state"] for row in rows] == ["queued", "queued", "scheduled", "queued"]
    assert rows[3]["priority"] == 9


@pytest.mark.parametrize("count", [1001, 10_001])
def test_too_many_jobs_are_refused(person: Person, count: int) -> None:
    assert fields(problem(batch(person, [NOOP] * count), 422, "invalid-request")) == ["jobs"]
    assert person.stored() == 0


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        (b'{"jobs": []}', "jobs"), (b"{}", "jobs"), (b'{"jobs": {}}', "jobs"), (b"[]", "body"),
        (b'{"jobs": [{"task": "demo.noop"}], "atomic": false}', "atomic"),
    ],
)  # fmt: skip
def test_what_is_no_batch_is_refused(person: Person, body: bytes, wrong: str) -> None:
    answer = problem(person.send(body, "/api/v1/jobs/batch"), 422, "invalid-request")

    assert fields(answer) == [wrong]
    assert "index" not in answer


@pytest.mark.parametrize(
    ("bad", "slug", "wrong"),
    [
        ({"task": "demo.noop", "priority": 11}, "invalid-request", "jobs.7.priority"),
        ("demo.noop", "invalid-request", "jobs.7"),
        ({"task": "demo.nope"}, "unknown-task", "task"),
        ({"task": "demo.noop", "queue": "nope"}, "unknown-queue", "queue"),
        ({"task": "demo.echo"}, "invalid-payload", "payload.message"),
        ({"task": "demo.echo", "payload": {"message": "\0"}}, "invalid-payload", "payload"),
        ({"task": "demo.noop", "expires_at": "2020-01-01T00:00:00Z"}, "invalid-job", "expires_at"),
    ],
)
def test_the_item_that_is_refused_is_named_and_none_is_stored(person: Person, bad: Any, slug: str, wrong: str) -> None:
    body = problem(batch(person, [NOOP] * 7 + [bad] + [NOOP] * 3, idempotency_key="k"), 422, slug)

    assert body["index"] == 7
    assert fields(body) == [wrong]
    assert (person.stored(), person.keys_stored()) == (0, 0)


def test_a_unique_key_that_is_taken_refuses_the_batch(person: Person) -> None:
    holder = person.accepted(unique_key="one")

    body = problem(
        batch(person, [NOOP, {**NOOP, "unique_key": "one"}, NOOP], idempotency_key="k"), 409, "unique-key-taken"
    )

    assert body["index"] == 1
    assert body["existing_job_id"] == str(holder)
    assert (person.stored(), person.keys_stored()) == (1, 0)


def test_a_unique_key_that_comes_twice_in_a_batch_refuses_it(person: Person) -> None:
    body = problem(
        batch(person, [{**NOOP, "unique_key": "one"}, NOOP, {**NOOP, "unique_key": "one"}]), 409, "unique-key-taken"
    )

    assert body["index"] == 2
    assert person.stored() == 0


def test_millions_of_wrong_items_cost_no_more_than_one(person: Person) -> None:
    body = problem(
        person.send(b'{"jobs": [' + b"0," * 2_000_000 + b"0]}", "/api/v1/jobs/batch"), 422, "invalid-request"
    )

    assert body["index"] == 0
    assert len(body["errors"]) == 1


def test_a_batch_may_be_larger_than_a_single_job(person: Person) -> None:
    large = [{"task": "demo.echo", "payload": {"message": "x" * 100_000}}] * 10

    assert batch(person, large).status_code == 202


def test_a_batch_has_a_limit_of_its_own(person: Person) -> None:
    answer = person.http.post(
        "/api/v1/jobs/batch", content=b" " * 33_554_433, headers={"content-type": "application/json"}
    )

    assert problem(answer, 413, "body-too-large")["limit_bytes"] == 33_554_432
