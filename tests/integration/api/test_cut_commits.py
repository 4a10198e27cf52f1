"""A COMMIT whose answer is lost: a job is accepted once, or the client is told that nobody knows."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.api.problems import problem
from tests.integration.jobs import scenes
from tests.services.api import Api, running_api
from tests.services.proxy import Proxy, When

NOOP = b'{"task": "demo.noop"}'
COMMIT = b"COMMIT\0"
"""The whole statement: BEGIN may speak of READ COMMITTED."""


@pytest.mark.parametrize("headers", [{}, {"idempotency_key": "k"}], ids=["", "with a key"])
def test_a_commit_that_is_never_answered_accepts_the_job_exactly_once(
    database_url: str, broker_url: str, proxy: Proxy, headers: dict[str, str]
) -> None:
    settings = {"database_statement_timeout_seconds": 1, "database_answer_seconds": 1}
    with running_api(proxy.through(database_url), broker_url, direct_url=database_url, **settings) as api:
        person = api.person()
        person.accepted()
        proxy.mute(COMMIT)

        answer = person.send(NOOP, **headers)

        assert answer.status_code == 202
        assert "idempotency-replayed" not in answer.headers
        assert person.stored() == 2
        scenes.assert_sound(person.engine, answer.json()["id"])


@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("headers", [{}, {"idempotency_key": "k"}], ids=["", "with a key"])
def test_a_cut_commit_accepts_the_job_exactly_once(
    cut_off: Api, proxy: Proxy, when: When, headers: dict[str, str]
) -> None:
    person = cut_off.person()
    person.accepted()
    proxy.cut(COMMIT, when)

    answer = person.send(NOOP, **headers)

    assert proxy.cuts == 1
    assert answer.status_code == 202
    assert "idempotency-replayed" not in answer.headers
    assert person.stored() == 2
    scenes.assert_sound(person.engine, answer.json()["id"])
    if headers:
        assert person.send(NOOP, **headers).content == answer.content
        assert person.stored() == 2


@pytest.mark.parametrize("when", When)
def test_a_cut_commit_of_a_batch_accepts_it_exactly_once(cut_off: Api, proxy: Proxy, when: When) -> None:
    person = cut_off.person()
    person.accepted()
    proxy.cut(COMMIT, when)

    answer = person.send(b'{"jobs": [%s]}' % b",".join([NOOP] * 20), "/api/v1/jobs/batch")

    assert proxy.cuts == 1
    assert answer.status_code == 202
    assert person.stored() == 21


def test_a_cut_in_the_middle_of_the_transaction_leaves_nothing_behind(cut_off: Api, proxy: Proxy) -> None:
    person = cut_off.person()
    person.accepted()
    proxy.cut(b"demo.noop", When.BEFORE)

    assert person.submit().status_code == 202
    assert proxy.cuts == 1
    assert person.stored() == 2


@pytest.mark.parametrize(("when", "stored"), [(When.AFTER, True), (When.BEFORE, False)])
def test_what_cannot_be_known_is_said_and_the_key_tells_it_later(
    cut_off: Api, proxy: Proxy, when: When, stored: bool
) -> None:
    person = cut_off.person()
    person.accepted()
    proxy.cut(COMMIT, when, then_refuse=True)

    problem(person.send(NOOP, idempotency_key="k"), 503, "outcome-unknown")
    assert person.stored() == 1 + stored

    proxy.heal()
    answer = person.send(NOOP, idempotency_key="k")
    assert answer.status_code == 202
    assert ("idempotency-replayed" in answer.headers) is stored
    assert person.stored() == 2


@pytest.mark.parametrize("when", When)
def test_many_cuts_among_many_requests_lose_nothing_and_double_nothing(cut_off: Api, proxy: Proxy, when: When) -> None:
    person = cut_off.person()
    person.accepted()
    proxy.cut(COMMIT, when, times=4, seconds=0.1)
    keys = [f"k{number}" for number in range(60)]

    with ThreadPoolExecutor(12) as pool:
        first = list(pool.map(lambda key: person.send(NOOP, idempotency_key=key), keys))
    assert proxy.cuts >= 2
    proxy.heal()
    second = [person.send(NOOP, idempotency_key=key) for key in keys]

    assert {answer.status_code for answer in first} <= {202, 503}
    assert {answer.status_code for answer in second} == {202}
    assert person.stored() == 1 + len(keys)
    for one, other in zip(first, second, strict=True):
        assert one.status_code == 503 or one.content == other.content


def test_a_replay_that_was_cut_is_told_as_unknown(cut_off: Api, proxy: Proxy) -> None:
    person = cut_off.person()
    job_id = person.accepted()
    person.post(f"/jobs/{job_id}/cancel")
    proxy.cut(COMMIT, When.AFTER)

    problem(person.post(f"/jobs/{job_id}/replay", headers={"Idempotency-Key": "r"}), 503, "outcome-unknown")

    again = person.post(f"/jobs/{job_id}/replay", headers={"Idempotency-Key": "r"})
    assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
    assert person.stored() == 2
