"""Who would wait too long is sent away at once; who is let in is served in time."""

import http.client
import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import httpx
import pytest
from sqlalchemy import func, insert, text

from api.crowd import Crowd
from api.group_commit import FEW
from jobs.database import transaction
from jobs.tables import idempotency_keys
from tests.integration.api.problems import problem
from tests.integration.jobs import scenes
from tests.services.api import Api, Person, running_api
from tests.services.proxy import Proxy
from tests.services.stack import eventually

PROMISE = 0.05


@pytest.fixture
def narrow(proxy: Proxy, database_url: str, broker_url: str) -> Iterator[Api]:
    """An API behind the proxy whose commits take five at a time."""
    settings = {"longest_wait_seconds": PROMISE, "group_limit": 5}
    with running_api(proxy.through(database_url), broker_url, direct_url=database_url, **settings) as api:
        yield api


@contextmanager
def held_up(api: Api, person: Person) -> Iterator[None]:
    """Have a submission wait for a key that another transaction holds, until nobody else is let in, and go on."""
    claim = insert(idempotency_keys).values(
        tenant=person.tenant, key="held", fingerprint=b"", receipts=[], created_at=func.now(), expires_at=func.now()
    )
    with ThreadPoolExecutor(1) as pool:
        with person.engine.connect() as connection:
            connection.execute(claim)
            waiting = pool.submit(person.submit, headers={"Idempotency-Key": "held"})
            scenes.wait_for_lock(person.engine)
            eventually(lambda: api.app.state.commits.verdict(Crowd()), 10, "the commit is overdue")
            yield
            connection.rollback()
        assert waiting.result().status_code == 202


def crowd(person: Person, count: int) -> list[httpx.Response]:
    """Submit so many at the same time."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: person.submit(), range(count)))


def refusals(person: Person) -> float:
    """Return how many were refused, by the metrics."""
    lines = person.http.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("penstock_requests_refused_total"))


def test_a_crowd_that_a_slow_database_cannot_serve_in_time_is_partly_sent_away(narrow: Api, proxy: Proxy) -> None:
    person = narrow.person()
    person.http = httpx.Client(base_url=narrow.url, headers=person.headers, verify=False, timeout=30)
    proxy.delay(0.02)
    for _ in range(10):
        person.accepted()

    answers = crowd(person, 60)
    accepted = [answer for answer in answers if answer.status_code == 202]
    refused = [answer for answer in answers if answer.status_code != 202]

    assert accepted
    assert refused
    for answer in refused:
        problem(answer, 503, "overloaded")
    assert person.stored() == 10 + len(accepted)
    eventually(lambda: refusals(person) == len(refused), 10, "the refusals are counted")


def test_while_a_commit_hangs_newcomers_are_sent_away_and_everything_else_is_served(narrow: Api) -> None:
    person = narrow.person()
    job_id = person.accepted()
    with held_up(narrow, person):
        problem(person.submit(), 503, "overloaded")
        problem(person.post("/jobs/batch", json={"jobs": [{"task": "demo.noop"}]}), 503, "overloaded")
        assert person.get(f"/jobs/{job_id}").status_code == 200
        assert person.post(f"/jobs/{job_id}/cancel").status_code == 202
        assert person.http.get("/ready").status_code == 200

    assert person.submit().status_code == 202


def test_a_refusal_needs_neither_a_body_nor_a_key(narrow: Api) -> None:
    person = narrow.person()
    with held_up(narrow, person), closing(_line_to(narrow)) as line:
        line.putrequest("POST", "/api/v1/jobs/batch")
        for name, value in {"Content-Length": "30000000", "X-Request-ID": "mine"}.items():
            line.putheader(name, value)
        line.endheaders()
        answer = line.getresponse()
        body = json.load(answer)

    assert answer.status == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert (body["type"], body["instance"]) == ("/problems/overloaded", "/api/v1/jobs/batch")
    assert body["request_id"] == answer.headers["x-request-id"] == "mine"


def _line_to(api: Api) -> http.client.HTTPConnection:
    """Return a connection on which a request need not be whole."""
    address = httpx.URL(api.url)
    return http.client.HTTPConnection(address.host, address.port, timeout=10)


def test_refusals_come_back_spread_over_some_seconds(narrow: Api) -> None:
    person = narrow.person()
    with held_up(narrow, person):
        told = {int(person.submit().headers["retry-after"]) for _ in range(60)}

    assert told == {1, 2, 3}


def test_who_waited_for_a_commit_that_never_began_is_told_that_nothing_was_stored(
    database_url: str, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.group_commit.PATIENCE", 0.5)
    with running_api(database_url, broker_url, group_limit=1) as api, ThreadPoolExecutor(2) as pool:
        person = api.person()
        with transaction(person.engine) as connection:
            connection.execute(text("LOCK TABLE jobs IN SHARE MODE"))
            first = pool.submit(person.submit)
            scenes.wait_for_lock(person.engine)
            second = pool.submit(person.submit)

            problem(first.result(), 503, "outcome-unknown")
            problem(second.result(), 503, "database-unavailable")

        eventually(lambda: person.stored() == 1, 10, "the first was stored after all")
        assert person.submit().status_code == 202
        assert person.stored() == 2


def test_a_request_is_as_late_as_the_event_loop(narrow: Api) -> None:
    person = narrow.person()

    assert narrow.app.state.commits.verdict(Crowd(lag=PROMISE, coming=FEW)) is not None
    assert narrow.app.state.commits.verdict(Crowd(lag=PROMISE)) is None
    assert narrow.app.state.commits.verdict(Crowd()) is None
    assert person.submit().status_code == 202


def test_the_log_tells_of_refusals_once_a_second_at_the_most(narrow: Api, capsys: pytest.CaptureFixture[str]) -> None:
    person = narrow.person()
    told: list[int] = []

    def refusals_told() -> int:
        lines = [line for line in capsys.readouterr().out.splitlines() if "requests_refused" in line]
        told.extend(int(match[1]) for line in lines if (match := re.search(r"count=(\d+)", line)))
        return sum(told)

    with held_up(narrow, person):
        began = time.monotonic()
        for _ in range(50):
            person.submit()
    eventually(lambda: refusals_told() == 50, 10, "all are told")

    assert len(told) <= time.monotonic() - began + 2


def test_the_answer_of_the_gate_is_that_of_every_other_problem(narrow: Api) -> None:
    person = narrow.person()
    elsewhere = problem(person.submit(queue="nowhere"), 422, "unknown-queue")
    with held_up(narrow, person):
        answer = person.submit()

    assert json.loads(answer.content).keys() == elsewhere.keys() - {"errors"}
    safe = ("cache-control", "content-security-policy", "x-content-type-options", "x-frame-options", "referrer-policy")
    assert all(name in answer.headers for name in safe)
