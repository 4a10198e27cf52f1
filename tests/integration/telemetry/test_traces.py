"""Traces, as a collector receives them from real processes, which hand over their last spans when they end."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from deploy.stack.postgres import PostgresServer
from deploy.stack.valkey import ValkeyServer
from jobs import attempts, intake
from tests.factories import new_job, submission
from tests.services.api_process import ApiProcess, new_key
from tests.services.collector import Collector, Told, collecting
from tests.services.fixtures import own_database
from tests.services.processes import Processes, all_processes
from tests.services.stack import eventually

CLIENT = "4bf92f3577b34da6a3ce929d0e0e4736"
UNSAMPLED = "11112222333344445555666677778888"
CRASHED = "33334444555566667777888899990000"
LEFT = "55556666777788889999000011112222"
OVERDUE = "aaaabbbbccccddddeeeeffff00001111"
SPAN = "00f067aa0ba902b7"
CANARY = "canary-8d1f"


@dataclass
class Episode:
    """What was done, and what the collector was told of it."""

    collector: Collector
    ids: dict[str, str] = field(default_factory=dict)

    def named(self, trace: str, name: str) -> list[Told]:
        return [span for span in self.collector.trace(trace) if span.name == name]


@pytest.fixture(scope="module")
def episode(
    postgres_server: PostgresServer,
    valkey_server: ValkeyServer,
    template_database: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Episode]:
    """A job that is retried and replayed, one that nobody traces, and a batch, from start to end of all processes."""
    home = tmp_path_factory.mktemp("traces")
    with collecting() as collector, own_database(postgres_server, template_database) as database_url:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": 600_000,
        }
        made = Episode(collector)
        with all_processes(home, database_url, valkey_server.url, **variables) as running:
            _act(made, running.client)
        yield made


def _act(episode: Episode, client: httpx.Client) -> None:
    payload = {"url": f"{episode.collector.url}/called", "secret": CANARY}
    wish = {"task": "probe.traced", "payload": payload}
    for name, trace, flag in (("traced", CLIENT, "01"), ("unsampled", UNSAMPLED, "00")):
        headers = {"traceparent": f"00-{trace}-{SPAN}-{flag}"}
        episode.ids[name] = client.post("/jobs", json=wish, headers=headers).json()["id"]
    assert client.get("/jobs", params={"tag": CANARY}).status_code == 200
    assert client.get("/jobs", params={"limit": CANARY}).status_code == 422
    assert client.put(f"/schedules/{CANARY}", json={"cron": CANARY, "task": CANARY}).status_code == 422
    batch = client.post("/jobs/batch", json={"jobs": [{"task": "demo.noop"}] * 3}).json()["ids"]
    for number, job_id in enumerate(batch):
        episode.ids[f"batch-{number}"] = job_id
    _finished(client, *episode.ids.values())
    episode.ids["replay"] = client.post(f"/jobs/{episode.ids['traced']}/replay").json()["id"]
    _finished(client, episode.ids["replay"])


def _finished(client: httpx.Client, *ids: str) -> None:
    for job_id in ids:
        eventually(lambda job_id=job_id: _state(client, job_id) == "succeeded", 60, "the job succeeds")  # type: ignore[misc]  # binds the loop's value


def _state(client: httpx.Client, job_id: str) -> Any:
    return client.get(f"/jobs/{job_id}?wait_seconds=10").json()["state"]


def test_one_trace_leads_from_the_clients_request_into_the_attempt_and_what_it_calls(episode: Episode) -> None:
    (request,) = episode.named(CLIENT, "POST /api/v1/jobs")
    (enqueue,) = episode.named(CLIENT, "enqueue probe.traced")
    first, second = sorted(episode.named(CLIENT, "run probe.traced"), key=lambda one: one.facts["penstock.attempt"])

    assert (request.service, request.kind, request.parent) == ("penstock-api", "SPAN_KIND_SERVER", SPAN)
    assert (request.facts["http.route"], request.facts["http.response.status_code"]) == ("/api/v1/jobs", 202)
    assert (enqueue.parent, enqueue.kind) == (request.id, "SPAN_KIND_PRODUCER")
    for number, attempt in enumerate((first, second), 1):
        assert (attempt.service, attempt.parent, attempt.kind) == ("penstock-worker", enqueue.id, "SPAN_KIND_CONSUMER")
        assert attempt.facts["penstock.job.id"] == episode.ids["traced"]
        below = [span for span in episode.collector.trace(CLIENT) if span.parent == attempt.id]
        assert [span.name for span in below].count("GET") == 1
        assert {span.facts.get("db.system.name") for span in below} == {"postgresql", None}
        assert {"SELECT", "UPDATE", "GET"} <= {span.name for span in below}, "its own SQL, its progress, its HTTP"
        assert attempt.facts["penstock.attempt"] == number
    assert (first.failed, first.status, second.failed) == (True, "ConnectionError", False)


def test_a_retry_is_linked_to_the_attempt_before_it(episode: Episode) -> None:
    first, second = sorted(episode.named(CLIENT, "run probe.traced"), key=lambda one: one.facts["penstock.attempt"])

    assert first.links == []
    assert second.links == [(CLIENT, first.id)]


@pytest.fixture(scope="module")
def killed(
    postgres_server: PostgresServer,
    valkey_server: ValkeyServer,
    template_database: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Episode]:
    """Attempts that a hard time limit ends, that take their process with them, and whose whole worker is gone."""
    home = tmp_path_factory.mktemp("killed")
    with collecting() as collector, own_database(postgres_server, template_database) as database_url:
        made = Episode(collector)
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        with all_processes(home, database_url, valkey_server.url, **variables) as running:
            hard = {"task": "probe.hard", "payload": {"seconds": 60}}
            for trace, wish, state in ((OVERDUE, hard, "failed"), (CRASHED, {"task": "probe.crash_once"}, "succeeded")):
                headers = {"traceparent": f"00-{trace}-{SPAN}-01"}
                job_id = running.client.post("/jobs", json=wish, headers=headers).json()["id"]
                made.ids[trace] = job_id
                eventually(lambda: _state(running.client, job_id) == state, 60, f"the job has {state}")  # noqa: B023 - asked at once
            _leave(made, running)
        yield made


def _leave(made: Episode, running: Processes) -> None:
    """Have a worker begin an attempt and be gone; another one then does the job."""
    left = new_job(traceparent=f"00-{LEFT}-{SPAN}-01")
    made.ids[LEFT] = str(left.id)
    with running.engine.begin() as connection:
        intake.accept(connection, [submission(left)])
        attempts.start(connection, [left.id], worker="gone", lease=timedelta(seconds=-1))
    _finished(running.client, made.ids[LEFT])


def test_an_attempt_whose_process_died_has_a_span_and_the_next_is_linked_to_it(killed: Episode) -> None:
    (enqueue,) = killed.named(CRASHED, "enqueue probe.crash_once")
    runs = killed.named(CRASHED, "run probe.crash_once")
    first, second = sorted(runs, key=lambda one: one.facts["penstock.attempt"])

    assert (first.parent, first.kind, first.service) == (enqueue.id, "SPAN_KIND_CONSUMER", "penstock-worker")
    assert (first.failed, first.status, first.facts["penstock.ended"]) == (True, "WorkerLost", "lost")
    assert second.links == [(CRASHED, first.id)]
    assert not second.failed


def test_an_attempt_that_was_lost_with_its_whole_worker_has_a_span(killed: Episode) -> None:
    runs = killed.named(LEFT, "run demo.noop")
    lost, done = sorted(runs, key=lambda one: one.facts["penstock.attempt"])

    assert (lost.service, lost.parent, lost.kind) == ("penstock-beat", SPAN, "SPAN_KIND_CONSUMER")
    assert (lost.failed, lost.status, lost.facts["penstock.ended"]) == (True, "WorkerLost", "lost")
    assert lost.facts["penstock.job.id"] == killed.ids[LEFT]
    assert (done.service, done.links) == ("penstock-worker", [(LEFT, lost.id)])


def test_an_attempt_that_a_hard_time_limit_ended_has_a_span(killed: Episode) -> None:
    (run,) = killed.named(OVERDUE, "run probe.hard")

    assert (run.failed, run.status, run.facts["penstock.ended"]) == (True, "TimeLimitExceeded", "timed_out")
    assert run.facts["penstock.job.id"] == killed.ids[OVERDUE]


def test_a_replay_has_a_trace_of_its_own_that_is_linked_to_the_last_attempt(episode: Episode) -> None:
    last = max(episode.named(CLIENT, "run probe.traced"), key=lambda one: one.facts["penstock.attempt"])
    (replay,) = [span for span in episode.collector.spans if span.name == "replay probe.traced"]
    (again, _) = [
        span for span in episode.collector.spans if span.facts.get("penstock.job.id") == episode.ids["replay"]
    ]

    assert replay.links == [(CLIENT, last.id)]
    assert replay.trace != CLIENT
    assert again.trace == replay.trace
    assert again.parent == replay.id


def test_the_jobs_of_a_batch_are_children_of_one_span(episode: Episode) -> None:
    runs = [span for span in episode.collector.spans if span.name == "run demo.noop"]
    (enqueue,) = [span for span in episode.collector.spans if span.name == "enqueue demo.noop"]

    assert {span.facts["penstock.job.id"] for span in runs} == {episode.ids[f"batch-{one}"] for one in range(3)}
    assert {span.parent for span in runs} == {enqueue.id}
    assert enqueue.facts["messaging.batch.message_count"] == 3


def test_who_asks_not_to_be_traced_is_not(episode: Episode) -> None:
    assert episode.collector.trace(UNSAMPLED) == []


def test_a_server_that_a_task_calls_is_told_the_trace(episode: Episode) -> None:
    told = [call["traceparent"].split("-") for call in episode.collector.called if "traceparent" in call]
    calls = [span for span in episode.collector.spans if span.name == "GET" and span.kind == "SPAN_KIND_CLIENT"]

    assert {(trace, span) for _, trace, span, _ in told} >= {(span.trace, span.id) for span in calls}
    assert len(calls) == 4


def test_a_request_is_one_span_named_by_its_route(episode: Episode) -> None:
    served = [span for span in episode.collector.spans if span.kind == "SPAN_KIND_SERVER"]

    assert {"GET /api/v1/jobs", "PUT /api/v1/schedules/{name}"} <= {span.name for span in served}
    assert not [span.name for span in served if span.parent not in {"", SPAN}]


def test_no_span_holds_a_payload_a_statement_or_an_address(episode: Episode) -> None:
    assert episode.collector.bodies
    assert not any(CANARY.encode() in body for body in episode.collector.bodies)
    assert not any(b"/called" in body for body in episode.collector.bodies)


def test_a_collector_that_is_away_holds_up_neither_a_request_nor_the_end(
    engine: Engine, database_url: str, broker_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collecting() as gone:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", gone.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with ApiProcess(tmp_path, database_url=database_url, broker_url=broker_url) as api:
        api.start()
        headers = {"Authorization": f"Bearer {new_key(engine)}"}
        with httpx.Client(base_url=api.url, headers=headers, verify=False, trust_env=False) as client:
            for _ in range(20):
                assert client.post("/api/v1/jobs", json={"task": "demo.noop"}).status_code == 202
        eventually(lambda: "spans_not_exported" in api.log.read_text(), 60, "it is said that the collector is away")
        began = time.monotonic()
        assert api.stop(), "it ended by itself"

    assert time.monotonic() - began < 15
    assert gone.url.removeprefix("http://") not in api.log.read_text()
