"""A tenant that has a quota is told of it with every answer, and of its end by 429."""

from collections.abc import Iterator

import pytest

from tests.integration.api.problems import problem
from tests.services.api import Api, running_api

TOLD = ("ratelimit", "ratelimit-policy")


@pytest.fixture
def thrifty(database_url: str, broker_url: str) -> Iterator[Api]:
    """An API that takes four requests a minute from each tenant."""
    with running_api(database_url, broker_url, requests_per_minute=4) as api:
        yield api


def test_a_quota_is_counted_told_and_kept(thrifty: Api) -> None:
    person = thrifty.person()
    answers = [person.submit(), person.get("/jobs"), person.submit("no.such"), person.get("/jobs?limit=x")]

    assert [answer.status_code for answer in answers] == [202, 200, 422, 422]
    assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"tenant";q=4;w=60'}
    assert [answer.headers["ratelimit"].partition(";t=")[0] for answer in answers] == [
        f'"tenant";r={left}' for left in (3, 2, 1, 0)
    ]

    refused = person.submit()
    problem(refused, 429, "quota-exceeded")
    assert 1 <= int(refused.headers["retry-after"]) <= 15
    assert refused.headers["ratelimit"].startswith('"tenant";r=0;')
    problem(person.get("/jobs"), 429, "quota-exceeded")
    assert person.stored() == 1


def test_the_keys_of_a_tenant_share_its_quota_and_other_tenants_do_not(thrifty: Api) -> None:
    person = thrifty.person()
    colleague, stranger = thrifty.person(person.tenant), thrifty.person()
    for _ in range(4):
        person.accepted()

    problem(colleague.submit(), 429, "quota-exceeded")
    stranger.accepted()


def test_who_has_no_key_uses_up_nobodys_quota_and_learns_nothing_of_it(thrifty: Api) -> None:
    person = thrifty.person()
    for _ in range(5):
        answer = person.get("/jobs", headers={"Authorization": "Bearer nonsense"})
        problem(answer, 401, "unauthorized")
        assert not any(name in answer.headers for name in TOLD)

    person.accepted()


def test_probes_have_no_quota(thrifty: Api) -> None:
    person = thrifty.person()

    assert {person.http.get(path).status_code for path in ("/health", "/ready", "/metrics") for _ in range(5)} == {200}


def test_without_a_quota_nothing_is_told(api: Api) -> None:
    answer = api.person().submit()

    assert answer.status_code == 202
    assert not any(name in answer.headers for name in TOLD)
