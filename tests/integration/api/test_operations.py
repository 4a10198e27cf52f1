"""For operators: alive, ready, counted, and the catalogue of what can be run."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from api.scrape import Scrape
from api.stored import Stored
from jobs import registry
from jobs.database import transaction
from jobs.telemetry.contract import PREFIX, Process, told_by
from jobs.telemetry.metrics import instruments_of
from tests.factories import failure
from tests.integration.jobs import scenes
from tests.integration.jobs.timetable import due
from tests.services.api import Api, Person, running_api

SAMPLES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "demo.echo": ({"message": "x"}, {"message": 5}),
    "demo.sleep": ({"seconds": 1.5}, {"seconds": 3601}),
    "demo.flaky": ({"failures": 2}, {"failures": -1}),
    "demo.noop": ({}, {"x": 1}),
    "demo.progress": ({"steps": 5}, {"steps": 0}),
    "demo.typed": (
        {"id": "0e8b6b8e-5a0e-4b39-8d1c-000000000000", "amount": "1.50", "at": "2026-01-01T00:00:00Z", "colour": "red",
         "point": {"x": 1, "y": 2}},
        {"id": "0e8b6b8e-5a0e-4b39-8d1c-000000000000", "amount": "1.50", "at": "2026-01-01T00:00:00Z", "colour": "pink",
         "point": {"x": 1, "y": 2}}),
    "http.request": ({"url": "https://example.org/"}, {"url": 5}),
}  # fmt: skip


def test_the_catalogue_lists_every_task_with_its_policy(person: Person) -> None:
    tasks = {task["name"]: task for task in person.get("/tasks").json()["tasks"]}

    assert list(tasks) == sorted(tasks)
    assert tasks.keys() >= SAMPLES.keys() | {"email.send", "demo.fail", "demo.crash"}
    assert tasks["demo.flaky"]["max_retries"] == 10
    assert tasks["demo.sleep"]["time_limit_seconds"] == 3690
    assert tasks["demo.echo"]["result_schema"] == {"type": "string"}
    assert all(task["description"] for task in tasks.values() if task["name"].startswith(("demo.", "http.", "email.")))


@pytest.mark.parametrize("name", SAMPLES)
def test_a_schema_says_what_intake_does(person: Person, name: str) -> None:
    (task,) = [task for task in person.get("/tasks").json()["tasks"] if task["name"] == name]
    validator = jsonschema_rs.validator_for(task["payload_schema"])
    good, bad = SAMPLES[name]

    assert validator.is_valid(good)
    assert person.submit(name, payload=good).status_code == 202
    assert not validator.is_valid(bad)
    assert person.submit(name, payload=bad).status_code == 422
    assert not validator.is_valid({**good, "unknown": 1})


def test_a_process_that_is_alive_says_so(person: Person) -> None:
    answer = person.http.get("/health")

    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


def test_a_process_that_can_serve_names_what_it_needs(person: Person) -> None:
    answer = person.http.get("/ready")

    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "dependencies": {
            name: {"ok": True, "detail": None} for name in ("postgresql", "schema", "broker", "accepting")
        },
        "workers_alive": answer.json()["workers_alive"],
    }  # fmt: skip


def test_workers_that_live_are_counted(database_url: str, broker_url: str) -> None:
    with running_api(database_url, broker_url) as api:
        person = api.person()
        with transaction(api.engine) as connection:
            for name in ("one", "two"):
                registry.announce(connection, name=name, host="h", pid=1, queues=["default"], slots=2, release="0")
            registry.leave(connection, "two")

        assert person.http.get("/ready").json()["workers_alive"] == 1
        assert metric(person, "workers_alive") == {(): 1.0}


@pytest.mark.parametrize(
    ("damage", "found"),
    [("DROP TABLE alembic_version", "nothing"), ("UPDATE alembic_version SET version_num = 'old'", "old")],
)
def test_a_schema_that_is_not_ours_is_told_with_its_cure(
    database_url: str, broker_url: str, damage: str, found: str
) -> None:
    with running_api(database_url, broker_url) as api:
        person = api.person()
        with transaction(api.engine) as connection:
            connection.execute(text(damage))

        answer = person.http.get("/ready")
        schema = answer.json()["dependencies"]["schema"]

    assert (answer.status_code, answer.json()["status"], schema["ok"]) == (503, "not_ready", False)
    assert f"is at {found}, needs " in schema["detail"]
    assert "penstock migrate" in schema["detail"]


def test_an_api_serves_on_the_schema_of_a_later_release(database_url: str, broker_url: str) -> None:
    with running_api(database_url, broker_url) as api:
        person = api.person()
        with transaction(api.engine) as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

        answer = person.http.get("/ready")

    assert (answer.status_code, answer.json()["dependencies"]["schema"]["ok"]) == (200, True)


def test_a_broker_that_cannot_be_reached_is_named_without_its_password(database_url: str) -> None:
    for url in ("redis://:sesame@127.0.0.1:9/0", "amqp://guest:sesame@127.0.0.1:9//"):
        with running_api(database_url, url) as api:
            answer = api.person().http.get("/ready")

        assert answer.status_code == 200
        assert answer.json()["dependencies"]["broker"]["ok"] is False
        assert "sesame" not in answer.text


# Metrics


def metric(person: Person, name: str) -> dict[tuple[str, ...], float]:
    """Return the samples of a metric by the values of their labels."""
    found = text_string_to_metric_families(person.http.get("/metrics").text)
    return {
        tuple(sample.labels[label] for label in sorted(sample.labels)): sample.value
        for family in found
        for sample in family.samples
        if sample.name == PREFIX + name
    }


def test_metrics_are_read_by_prometheus_and_are_those_of_the_contract(person: Person) -> None:
    person.accepted()
    answer = person.http.get("/metrics")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    contract = {PREFIX + one.name: one for one in told_by(Process.API)}

    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert {name for name in families if not name.startswith(("python_", "process_"))} == contract.keys()
    for name, row in contract.items():
        assert (families[name].type, families[name].documentation) == (row.kind, row.meaning)
        for sample in families[name].samples:
            assert sample.labels.keys() - {"le"} == set(row.labels)


def test_requests_are_counted_by_route_and_never_by_path(person: Person) -> None:
    job_id = person.accepted()
    before = metric(person, "http_requests_total").get(("GET", "/api/v1/jobs/{job_id}", "200"), 0)
    person.get(f"/jobs/{job_id}")
    person.http.get(f"/nowhere/{job_id}")
    person.http.request("PROPFIND", "/coffee")

    after = metric(person, "http_requests_total")
    assert after["GET", "/api/v1/jobs/{job_id}", "200"] == before + 1
    assert after["OTHER", "unmatched", "404"] >= 2
    assert not any(str(job_id) in label or "coffee" in label for labels in after for label in labels)


def test_jobs_are_counted_when_they_are_accepted_and_by_where_they_are(database_url: str, broker_url: str) -> None:
    with running_api(database_url, broker_url) as api:
        person = api.person()
        person.accepted(queue="bulk")
        person.post("/jobs/batch", json={"jobs": [{"task": "demo.noop", "delay_seconds": 60}] * 5})
        for _ in range(2):
            person.submit(headers={"Idempotency-Key": "k"})
        job_id = person.accepted()
        scenes.start(api.engine, job_id)

        assert metric(person, "jobs_accepted_total") == {("bulk", "demo.noop"): 1, ("default", "demo.noop"): 7}
        assert (
            metric(person, "oldest_waiting_seconds")[("critical",)]
            == 0
            < metric(person, "oldest_waiting_seconds")[("bulk",)]
        )
        assert metric(person, "jobs_replayed_total") == {(): 1}
        scenes.end(api.engine, scenes.running(api.engine), failure())
        assert {labels: count for labels, count in metric(person, "jobs").items() if count} == {
            ("bulk", "queued"): 1, ("default", "queued"): 1, ("default", "running"): 1, ("default", "scheduled"): 5,
            ("default", "failed"): 1,
        }  # fmt: skip
        assert metric(person, "jobs_started_total") == {("default", "demo.noop"): 2}
        assert metric(person, "jobs_finished_total") == {("default", "failed", "demo.noop"): 1}
        assert metric(person, "dead_letters") == {("default", "demo.noop"): 1}
        assert metric(person, "group_commit_size_count") == {(): 5}


def test_what_postgresql_has_counted_is_there_after_a_restart_and_twice_where_two_tell_it(
    database_url: str, broker_url: str
) -> None:
    with running_api(database_url, broker_url) as api:
        api.person().accepted()

    with running_api(database_url, broker_url) as one, running_api(database_url, broker_url) as other:
        for api in (one, other):
            assert metric(api.person(), "jobs_accepted_total") == {("default", "demo.noop"): 1}


def test_names_that_are_not_known_here_are_counted_together(database_url: str, broker_url: str) -> None:
    with running_api(database_url, broker_url) as api:
        for number in range(30):
            scenes.queued(api.engine, task=f"stranger.{number}", queue=f"q{number}")

        assert metric(api.person(), "jobs_accepted_total") == {("other", "other"): 30}
        assert metric(api.person(), "jobs")["other", "queued"] == 30


def test_queues_without_a_worker_and_schedules_without_a_beat_show(database_url: str, broker_url: str) -> None:
    with running_api(database_url, broker_url) as api:
        person = api.person()
        with transaction(api.engine) as connection:
            for name, queues in (("one", ["default", "bulk"]), ("two", ["default"]), ("gone", ["critical"])):
                registry.announce(connection, name=name, host="h", pid=1, queues=queues, slots=2, release="0")
            registry.leave(connection, "gone")
        assert metric(person, "schedules_overdue_seconds") == {(): 0}
        due(api.engine, name="late")

        assert metric(person, "queue_workers") == {("default",): 2, ("bulk",): 1, ("critical",): 0}
        assert metric(person, "schedules_overdue_seconds")[()] > 0
        assert metric(person, "database_bytes")[()] > 1_000_000


def test_a_schema_that_is_not_ours_yet_costs_only_what_it_would_tell(database_url: str, broker_url: str) -> None:
    with running_api(database_url, broker_url) as api:
        person = api.person()
        with transaction(api.engine) as connection:
            connection.execute(text("DROP TABLE census"))

        assert metric(person, "workers_alive") == {}
        assert metric(person, "build_info")


def test_a_process_that_is_told_to_count_nothing_serves_and_tells_what_postgresql_knows(
    database_url: str, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_METRICS", "false")
    with running_api(database_url, broker_url) as api:
        person = api.person()
        person.accepted()

        assert metric(person, "jobs_accepted_total") == {("default", "demo.noop"): 1}
        assert metric(person, "http_requests_total") == {}
        assert metric(person, "build_info")


def test_a_paused_queue_shows(person: Person) -> None:
    assert set(metric(person, "queue_paused").values()) == {0}

    person.post("/queues/bulk/pause")

    assert {labels for labels, value in metric(person, "queue_paused").items() if value} == {("bulk",)}


def test_label_values_come_from_the_code_and_never_from_a_request(person: Person) -> None:
    wish: dict[str, Any] = {"task": "nobody.knows", "queue": "nowhere"}
    assert person.post("/jobs", json=wish).status_code == 422

    assert "nobody.knows" not in person.http.get("/metrics").text
    assert "nowhere" not in person.http.get("/metrics").text


def test_the_gauges_of_a_process_that_is_gone_are_forgotten_and_its_counts_are_not(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    told = (
        "from jobs.telemetry.metrics import *; made = instruments_of(Process.API); "
        "made['connections'].set(7); made['doorbells_rung'].inc(3)"
    )
    subprocess.run([sys.executable, "-c", told], check=True, timeout=60)

    counts = Scrape(instruments_of(Process.API).registry, Stored(api.engine, (), ())).counts().decode()

    assert "penstock_doorbells_rung_total 3.0" in counts
    assert "penstock_connections 7.0" not in counts
