"""A part is away: the answer is quick and true, and nothing is half-done."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy import make_url, select, text

from api.crowd import Crowd
from api.patience import PATIENCE
from deploy.stack.postgres import PostgresServer
from deploy.stack.valkey import ValkeyServer
from jobs.database import transaction
from jobs.tables import jobs
from tests import factories
from tests.integration.api.problems import problem
from tests.integration.jobs import scenes
from tests.services.api import Api, Person, running_api
from tests.services.databases import migrate
from tests.services.fixtures import running
from tests.services.local_processes import LocalProcess, surroundings
from tests.services.proxy import Proxy
from tests.services.stack import eventually

NOOP = b'{"task": "demo.noop"}'
UNSURE = {"/problems/database-unavailable", "/problems/outcome-unknown"}


# PostgreSQL


def test_postgresql_stops_and_comes_back(tmp_path: Path, broker_url: str) -> None:
    with running(PostgresServer(tmp_path / "postgres", durable=False)) as server:
        migrated = server.database_url("postgres")
        migrate(migrated)
        with running_api(migrated, broker_url) as api:
            person = api.person()
            before = person.accepted()
            server.stop()

            _everything_says_so(person)

            server.restart()
            api.engine.dispose()
            assert person.get(f"/jobs/{before}").status_code == 200
            answer = person.send(NOOP, idempotency_key="k")
            assert answer.status_code == 202
            assert "idempotency-replayed" not in answer.headers
            assert person.stored() == 2
            assert person.http.get("/ready").status_code == 200


def _everything_says_so(person: Person) -> None:
    began = time.monotonic()

    problem(person.send(NOOP, idempotency_key="k"), 503, "database-unavailable")
    problem(person.send(b'{"jobs": [%s]}' % NOOP, "/api/v1/jobs/batch"), 503, "database-unavailable")
    problem(person.get("/jobs"), 503, "database-unavailable")
    assert person.http.get("/health").status_code == 200
    ready = person.http.get("/ready")
    assert ready.status_code == 503
    assert ready.json()["status"] == "not_ready"
    assert ready.json()["dependencies"]["postgresql"] == {"ok": False, "detail": "does not answer"}
    assert ready.json()["workers_alive"] is None
    scraped = person.http.get("/metrics")
    assert scraped.status_code == 200
    assert "penstock_workers_alive" not in scraped.text

    assert time.monotonic() - began < 10


def test_a_primary_that_becomes_a_standby_is_not_ready(database_url: str, broker_url: str) -> None:
    name = make_url(database_url).database
    with running_api(database_url, broker_url) as api:
        person = api.person()
        assert person.http.get("/ready").status_code == 200
        _say(database_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")

        eventually(lambda: "read-only" in person.http.get("/ready").text, 10, "it looks at the standby")
        ready = person.http.get("/ready")
        assert ready.status_code == 503
        assert ready.json()["dependencies"]["postgresql"] == {"ok": False, "detail": "is read-only, as a standby is"}
        problem(person.send(NOOP, idempotency_key="k"), 503, "database-unavailable")

        _say(database_url, f"ALTER DATABASE {name} RESET default_transaction_read_only")

        eventually(lambda: person.http.get("/ready").status_code == 200, 10, "it is ready")
        assert person.send(NOOP, idempotency_key="k").status_code == 202


def _say(url: str, statement: str) -> None:
    """Say so to PostgreSQL, and have everybody connect anew."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(statement)  # type: ignore[arg-type]  # made here
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            " AND datname = current_database()"
        )


def test_connections_that_broke_while_idle_are_replaced_unnoticed(cut_off: Api, proxy: Proxy) -> None:
    person = cut_off.person()
    for _ in range(3):
        assert person.get("/jobs").status_code == 200
        proxy.drop()
        assert person.get("/jobs").status_code == 200
        proxy.drop()
        assert person.submit().status_code == 202
        proxy.drop()
        assert person.post("/jobs/batch", json={"jobs": [{"task": "demo.noop"}]}).status_code == 202

    assert person.stored() == 6


def test_while_postgresql_hangs_probes_and_metrics_answer_and_newcomers_are_sent_away(
    database_url: str, broker_url: str, proxy: Proxy
) -> None:
    settings = {"longest_wait_seconds": 0.1}
    with (
        running_api(proxy.through(database_url), broker_url, direct_url=database_url, **settings) as api,
        ThreadPoolExecutor(2) as pool,
    ):
        person = api.person()
        job_id = person.accepted()
        assert person.get(f"/jobs/{job_id}").status_code == 200
        proxy.swallow()
        began = time.monotonic()
        hung = [pool.submit(person.get, f"/jobs/{job_id}"), pool.submit(person.submit)]
        eventually(lambda: api.app.state.commits.verdict(Crowd()), 10, "the commit is overdue")

        problem(person.submit(), 503, "overloaded")
        assert person.http.get("/health").status_code == 200
        ready = person.http.get("/ready")
        assert (ready.status_code, ready.json()["dependencies"]["postgresql"]["ok"]) == (503, False)
        metrics = person.http.get("/metrics")
        assert metrics.status_code == 200
        assert "penstock_http_requests_total" in metrics.text
        assert "penstock_workers_alive" not in metrics.text

        problem(hung[0].result(), 503, "database-unavailable")
        problem(hung[1].result(), 503, "outcome-unknown")
        assert PATIENCE <= time.monotonic() - began < PATIENCE + 10

        proxy.heal()
        eventually(lambda: person.submit().status_code == 202, 30, "intake is back")
        eventually(lambda: person.http.get("/ready").status_code == 200, 30, "it is ready")
        assert "penstock_workers_alive" in person.http.get("/metrics").text


def test_links_that_are_silent_for_ever_cost_one_answer_each_at_the_most_and_nothing_is_stored_twice(
    database_url: str, broker_url: str, proxy: Proxy
) -> None:
    settings = {"database_statement_timeout_seconds": 1, "database_answer_seconds": 1}
    with (
        running_api(proxy.through(database_url), broker_url, direct_url=database_url, **settings) as api,
        ThreadPoolExecutor(4) as pool,
    ):
        person = api.person()
        job_id = person.accepted()
        assert person.get(f"/jobs/{job_id}").status_code == 200
        proxy.forget()
        began = time.monotonic()

        asked = [pool.submit(person.get, f"/jobs/{job_id}") for _ in range(2)]
        sent = [pool.submit(person.send, NOOP, idempotency_key=key) for key in ("k", "l")]
        answers = [one.result() for one in (*asked, *sent)]

        assert time.monotonic() - began < PATIENCE + 10
        assert {answer.status_code for answer in answers} <= {200, 202, 503}
        assert {answer.json()["type"] for answer in answers if answer.status_code == 503} <= UNSURE
        assert [person.send(NOOP, idempotency_key=key).status_code for key in ("k", "l")] == [202, 202]
        assert person.get(f"/jobs/{job_id}").status_code == 200
        eventually(lambda: person.http.get("/ready").status_code == 200, 30, "it is ready")
        assert person.stored() == 3


# Readers who wait


def test_a_reader_who_waits_sits_an_outage_out(cut_off: Api, proxy: Proxy) -> None:
    person = cut_off.person()
    job_id = person.accepted()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(person.get, f"/jobs/{job_id}", params={"wait_seconds": 20})
        eventually(lambda: cut_off.app.state.lookout._waiters, 10, "somebody waits")
        proxy.refuse()
        problem(person.get("/jobs"), 503, "database-unavailable")
        (attempt,) = scenes.start(cut_off.engine, job_id)
        scenes.end(cut_off.engine, attempt, factories.success())
        proxy.heal()

        assert waiting.result().json()["state"] == "succeeded"


def test_a_stream_ends_with_an_outage_and_goes_on_from_its_last_event(cut_off: Api, proxy: Proxy) -> None:
    person = cut_off.person()
    job_id = person.accepted()
    headers = {"Accept": "text/event-stream"}
    with person.http.stream("GET", f"/api/v1/jobs/{job_id}/events", headers=headers) as stream:
        lines = stream.iter_lines()
        assert next(lines) == "id: 1"
        proxy.refuse()
        assert "id: 2" not in list(lines)

    proxy.heal()
    scenes.start(cut_off.engine, job_id)
    again = headers | {"Last-Event-ID": "1"}
    with person.http.stream("GET", f"/api/v1/jobs/{job_id}/events", headers=again) as stream:
        assert next(stream.iter_lines()) == "id: 2"


# Too few connections, too long waits


def test_a_pool_that_is_exhausted_is_told_quickly_and_intake_goes_on(database_url: str, broker_url: str) -> None:
    with running_api(database_url, broker_url, database_pool_size=1) as api, ThreadPoolExecutor(1) as pool:
        person = api.person()
        job_id = person.accepted()
        with transaction(person.engine) as connection:
            connection.execute(select(jobs.c.id).where(jobs.c.id == job_id).with_for_update())
            held_up = pool.submit(person.post, f"/jobs/{job_id}/cancel")
            scenes.wait_for_lock(person.engine)

            began = time.monotonic()
            problem(person.get("/jobs"), 503, "database-unavailable")
            assert time.monotonic() - began < 2
            assert person.http.get("/health").status_code == 200
            assert person.http.get("/ready").status_code == 200
            assert "penstock_workers_alive" in (scraped := person.http.get("/metrics").text)
            assert 'penstock_pool_timeouts_total{pool="desk"} 1.0' in scraped
            assert person.submit().status_code == 202
            assert api.person().submit().status_code == 202

        assert held_up.result().status_code == 202
        assert person.get("/jobs").status_code == 200


def test_a_statement_that_takes_too_long_is_told_as_busy(database_url: str, broker_url: str) -> None:
    with running_api(database_url, broker_url, database_statement_timeout_seconds=0.3) as api:
        person = api.person()
        job_id = person.accepted()
        with transaction(person.engine) as connection:
            connection.execute(select(jobs.c.id).where(jobs.c.id == job_id).with_for_update())

            problem(person.post(f"/jobs/{job_id}/cancel"), 503, "busy")

        assert person.post(f"/jobs/{job_id}/cancel").status_code == 202


def test_what_the_code_did_not_foresee_is_told_by_its_request_id_alone(database_url: str, broker_url: str) -> None:
    with running_api(database_url, broker_url) as api:
        person = api.person()
        with transaction(person.engine) as connection:
            connection.execute(text("ALTER TABLE jobs RENAME COLUMN tags TO labels"))

        body = problem(person.get("/jobs", headers={"X-Request-ID": "find-me"}), 500, "internal-error")

        assert body["request_id"] == "find-me"
        assert "SELECT" not in json.dumps(body)
        assert "labels" not in json.dumps(body)
        assert problem(person.submit(), 500, "internal-error")


# The broker


def test_a_broker_that_is_away_takes_nothing_from_intake(
    database_url: str, services_home: Path, tmp_path: Path
) -> None:
    with (
        running(ValkeyServer(services_home / "valkey-outage", durable=False)) as broker,
        running_api(database_url, broker.url) as api,
    ):
        person = api.person()
        broker.kill()
        job_id = person.accepted()
        ready = person.http.get("/ready")
        assert ready.status_code == 200
        assert ready.json()["dependencies"]["broker"]["ok"] is False
        eventually(lambda: scenes.row(api.engine, job_id)["rung_at"] is None, 10, "the doorbell is given back")

        broker.restart()
        with workforce(database_url, broker.url, tmp_path):
            answer = person.get(f"/jobs/{job_id}", params={"wait_seconds": 30})
        assert answer.json()["state"] == "succeeded"


@contextmanager
def workforce(database_url: str, broker_url: str, home: Path) -> Iterator[None]:
    """Run a worker and a beat for as long as the block lasts."""
    environment = surroundings(
        DATABASE_URL=database_url, BROKER_URL=broker_url, PENSTOCK_WORKER_CONCURRENCY=1, PENSTOCK_DRAIN_SECONDS=1
    )
    processes = [
        LocalProcess(module, [module], environment=environment, log=home / f"{module}.log", prompt="")
        for module in ("worker", "schedules")
    ]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.teardown()
