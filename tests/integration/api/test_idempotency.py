"""Idempotency-Key: two requests with the same key are one."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import func, update

from jobs.database import transaction
from jobs.tables import idempotency_keys
from tests.integration.api.problems import problem
from tests.integration.jobs import scenes
from tests.services.api import Api, Person

ECHO = b'{"task": "demo.echo", "payload": {"message": "hello"}, "tags": ["a"]}'


def keyed(person: Person, key: str, body: bytes = ECHO, path: str = "/api/v1/jobs") -> httpx.Response:
    """Send `body` under a key."""
    return person.send(body, path, idempotency_key=key)


def test_the_same_request_again_gets_the_same_answer_to_the_last_byte(person: Person) -> None:
    first = keyed(person, '"k1"')
    second = keyed(person, '"k1"')

    assert first.status_code == second.status_code == 202
    assert first.content == second.content
    assert first.headers["location"] == second.headers["location"]
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert person.stored() == 1


def test_the_answer_stays_the_same_when_the_job_has_moved_on(person: Person) -> None:
    first = keyed(person, "k")
    person.post(f"/jobs/{first.json()['id']}/cancel")

    assert keyed(person, "k").content == first.content
    assert first.json()["state"] == "queued"


def test_a_delayed_job_is_answered_the_same_later(person: Person) -> None:
    body = b'{"task": "demo.noop", "delay_seconds": 100, "expires_at": "2060-01-01T00:00:00Z"}'

    assert keyed(person, "k", body).content == keyed(person, "k", body).content


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('"k"', "k"),
        (r'"a\"b"', r'"a\"b"'),
        ('"' + "x" * 255 + '"', "x" * 255),
        ("8e03978e-40d5-43dd-bc93-6894a57f9324", '"8e03978e-40d5-43dd-bc93-6894a57f9324"'),
        ("a,b", '"a,b"'),
        ('"a b"', '"a b"'),
    ],
)
def test_these_spellings_are_the_same_key(person: Person, one: str, other: str) -> None:
    assert keyed(person, one).content == keyed(person, other).content
    assert person.stored() == 1


@pytest.mark.parametrize(("one", "other"), [("k", "K"), ("k", "k1"), ("k", "k;a=1"), (r'"\\"', r'"\\\\"')])
def test_these_spellings_are_different_keys(person: Person, one: str, other: str) -> None:
    assert keyed(person, one).content != keyed(person, other).content
    assert person.stored() == 2


@pytest.mark.parametrize(
    "key",
    ["", '""', '"', "x" * 256, '"' + "x" * 256 + '"', "a b", "a\tb", '"a\tb"',
     'a"b', '"a"b"', '"a', r'"a\b"', r"a\b", "é", '"ü"',
     '"k";a=1', "k\u00a0"],
)  # fmt: skip
def test_a_malformed_key_is_refused(person: Person, key: str) -> None:
    answer = person.http.post(
        "/api/v1/jobs", content=ECHO, headers={b"content-type": b"application/json", b"idempotency-key": key.encode()}
    )

    problem(answer, 400, "malformed-idempotency-key")
    assert person.stored() == 0


def test_two_keys_are_no_key(person: Person) -> None:
    headers = [("content-type", "application/json"), ("idempotency-key", "a"), ("idempotency-key", "b")]

    problem(person.http.post("/api/v1/jobs", content=ECHO, headers=headers), 400, "malformed-idempotency-key")
    assert person.stored() == 0


@pytest.mark.parametrize(
    "other",
    [
        b'{"task": "demo.echo", "payload": {"message": "hello!"}, "tags": ["a"]}',
        b'{"task": "demo.echo", "payload": {"message": "hello"}, "tags": []}',
        b'{"task": "demo.echo", "payload": {"message": "hello"}, "tags": ["a"], "priority": 5}',
    ],
)
def test_a_key_belongs_to_one_payload(person: Person, other: bytes) -> None:
    keyed(person, "k")

    problem(keyed(person, "k", other), 422, "idempotency-key-reused")
    assert person.stored() == 1
    assert keyed(person, "k").headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize(
    "other",
    [
        b' {"tags":["a"],"payload":{"message":"hello"},"task":"demo.echo"}\n',
        b'{"task": "demo.echo", "payload": {"message": "h\\u0065llo"}, "tags": ["a"]}',
        b'{"task": "x", "task": "demo.echo", "payload": {"message": "hello"}, "tags": ["a"]}',
    ],
)
def test_the_same_payload_spelled_differently_is_the_same(person: Person, other: bytes) -> None:
    keyed(person, "k")

    assert keyed(person, "k", other).headers["idempotency-replayed"] == "true"
    assert person.stored() == 1


def test_a_key_belongs_to_one_route(person: Person) -> None:
    keyed(person, "k")
    batch = b'{"jobs": [{"task": "demo.noop"}]}'

    problem(keyed(person, "k", batch, "/api/v1/jobs/batch"), 422, "idempotency-key-reused")


def test_a_key_belongs_to_one_tenant(person: Person, api: Api) -> None:
    other = api.person()

    assert keyed(person, "k").json()["id"] != keyed(other, "k").json()["id"]
    assert (person.stored(), other.stored()) == (1, 1)


def test_two_api_keys_of_a_tenant_share_its_idempotency_keys(person: Person, api: Api) -> None:
    assert keyed(person, "k").content == keyed(api.person(person.tenant), "k").content


@pytest.mark.parametrize(
    "refused",
    [
        b"nonsense",
        b'{"task": "demo.nope"}',
        b'{"task": "demo.echo"}',
        b'{"task": "demo.noop", "expires_at": "2020-01-01T00:00:00Z"}',
        b'{"task": "demo.noop", "unique_key": "taken"}',
    ],
)
def test_a_refused_request_does_not_use_its_key_up(person: Person, refused: bytes) -> None:
    person.accepted(unique_key="taken")

    assert keyed(person, "k", refused).status_code in {400, 409, 422}
    assert person.keys_stored() == 0

    accepted = keyed(person, "k")
    assert accepted.status_code == 202
    assert "idempotency-replayed" not in accepted.headers


def test_a_key_is_free_again_after_its_time(person: Person) -> None:
    first = keyed(person, "k")
    with transaction(person.engine) as connection:
        connection.execute(
            update(idempotency_keys)
            .where(idempotency_keys.c.tenant == person.tenant)
            .values(expires_at=func.now() - timedelta(seconds=1))
        )

    second = keyed(person, "k", b'{"task": "demo.noop"}')

    assert second.status_code == 202
    assert second.json()["id"] != first.json()["id"]


def test_a_batch_is_replayed_as_a_whole(person: Person) -> None:
    body = json.dumps({"jobs": [{"task": "demo.noop"}, {"task": "demo.echo", "payload": {"message": "x"}}]}).encode()
    first = keyed(person, "k", body, "/api/v1/jobs/batch")
    second = keyed(person, "k", body, "/api/v1/jobs/batch")

    assert first.status_code == second.status_code == 202
    assert first.content == second.content
    assert second.headers["idempotency-replayed"] == "true"
    assert person.stored() == 2


def test_a_replay_of_a_job_is_made_once_for_one_key(person: Person) -> None:
    job_id = person.accepted()
    person.post(f"/jobs/{job_id}/cancel")
    again = [person.post(f"/jobs/{job_id}/replay", headers={"Idempotency-Key": "r"}) for _ in range(2)]

    assert [answer.status_code for answer in again] == [201, 201]
    assert again[0].content == again[1].content
    assert again[1].headers["idempotency-replayed"] == "true"
    assert person.stored() == 2


def fire(persons: Sequence[Person], count: int, body: bytes, **headers: str) -> list[httpx.Response]:
    """Send one request `count` times, at the same time, in turn to each of these."""
    with ThreadPoolExecutor(count) as pool:
        sent = [pool.submit(persons[turn % len(persons)].send, body, **headers) for turn in range(count)]
        return [one.result() for one in sent]


def test_sixty_requests_at_once_with_one_key_make_one_job(person: Person) -> None:
    answers = fire([person], 60, ECHO, idempotency_key="k")

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    assert [("idempotency-replayed" in answer.headers) for answer in answers].count(False) == 1
    assert person.stored() == 1


def test_of_two_payloads_at_once_with_one_key_one_wins(person: Person) -> None:
    other: Any = b'{"task": "demo.noop"}'
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda turn: keyed(person, "k", (ECHO, other)[turn % 2]), range(40)))

    assert sorted({answer.status_code for answer in answers}) == [202, 422]
    assert [answer.status_code for answer in answers].count(202) == 20
    assert len({answer.content for answer in answers if answer.status_code == 202}) == 1
    assert person.stored() == 1
    scenes.assert_sound(person.engine, next(a for a in answers if a.status_code == 202).json()["id"])
