"""Secrets go in wherever something can go in, and come out nowhere that is not the tenant's own.

What is visible by design carries none here: the names of tasks, queues, schedules and fields, the tenant, X-Request-ID
and the trace. A job's payload, tags, unique key, result, error, progress and log are shown to its tenant, and to
nobody else.
"""

import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
import redis

from deploy.stack.ports import free_port
from deploy.stack.postgres import PostgresServer
from deploy.stack.valkey import ValkeyServer
from tests.services import plain
from tests.services.collector import Collector, collecting
from tests.services.fixtures import own_database
from tests.services.flower import watching
from tests.services.processes import Processes, all_processes
from tests.services.sentry import SentryServer, receiving
from tests.services.stack import eventually

CANARY = "canary-9c0d1e"
PASSWORD = "sesame-77ab"
ECHO: dict[str, Any] = {"task": "demo.echo", "payload": {"message": CANARY}}
HEADERS = {"Cookie": CANARY, "X-Api-Key": CANARY, "User-Agent": CANARY, "tracestate": f"vendor={CANARY}"}


class Haystack:
    """All that was said where others may read it."""

    def __init__(self) -> None:
        self.parts: dict[str, list[bytes]] = {}
        self.ids: list[str] = []

    def add(self, name: str, *found: bytes | str) -> None:
        self.parts.setdefault(name, []).extend(one.encode() if isinstance(one, str) else one for one in found)


@contextmanager
def overhearing(broker_url: str, haystack: Haystack) -> Iterator[None]:
    """Keep every command that the broker gets in this block, with all that is in it."""
    with redis.Redis.from_url(broker_url, socket_timeout=None) as client, client.monitor() as monitor:

        def listen() -> None:
            for command in monitor.listen():
                haystack.add("broker", command["command"])
                if CANARY + "-end" in command["command"]:
                    return

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield
        with redis.Redis.from_url(broker_url) as other:
            other.echo(CANARY + "-end")
        thread.join(20)
        haystack.parts["broker"] = [one for one in haystack.parts["broker"] if b"-end" not in one]


@pytest.fixture(scope="module")
def haystack(
    postgres_server: PostgresServer,
    valkey_server: ValkeyServer,
    template_database: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Haystack:
    """What a whole installation says, at level debug, with traces, reports and Flower on."""
    home, found = tmp_path_factory.mktemp("canary"), Haystack()
    ports = {"PENSTOCK_WORKER_METRICS_PORT": free_port(), "PENSTOCK_BEAT_METRICS_PORT": free_port()}
    with ExitStack() as stack:
        collector, sentry = stack.enter_context(collecting()), stack.enter_context(receiving())
        url = stack.enter_context(own_database(postgres_server, template_database))
        own = ports | {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_HEADERS": f"authorization={PASSWORD}",
            "SENTRY_DSN": sentry.dsn,
            "PENSTOCK_LOG_LEVEL": "debug",
            "PENSTOCK_WORKER_QUEUES": "default",
            "PENSTOCK_SMTP_USERNAME": "somebody",
            "PENSTOCK_SMTP_PASSWORD": PASSWORD,
        }
        stack.enter_context(overhearing(valkey_server.url, found))
        watcher = stack.enter_context(watching(home, valkey_server.url, PASSWORD)).client
        with all_processes(home, url, valkey_server.url, **own) as running:
            eventually(lambda: _hears(watcher, running.client), 60, "Flower hears of jobs")
            _submit(found, running, collector)
            _look(found, running, watcher, list(ports.values()))
            _break(found, running)
            secrets = [running.key, running.key.split("_", 2)[2], *map(_password, (url, valkey_server.url))]
        found.add("logs", *(path.read_bytes() for path in home.glob("*.log")))
        found.add("server", postgres_server.log.read_bytes())
        _take(found, collector, sentry)
    found.secrets = [CANARY, PASSWORD, *filter(None, secrets)]  # type: ignore[attr-defined]  # known only now
    return found


def _hears(watcher: httpx.Client, client: httpx.Client) -> bool:
    """Tell whether Flower listens by now; what was done before it did, it does not know."""
    job_id = client.post("/jobs", json={"task": "demo.noop"}).json()["id"]
    return _is_over(client, job_id) and job_id in _table(watcher)


def _password(url: str) -> str:
    return httpx.URL(url).password


def _submit(found: Haystack, running: Processes, collector: Collector) -> None:
    """Submit jobs that succeed, fail, are retried and wait, with a secret in every field that may hold one."""
    wish = {"tags": [CANARY], "unique_key": CANARY}
    called = {"url": f"{collector.url}/called", "secret": CANARY}
    for number, body in enumerate(
        [
            ECHO | wish,
            {"task": "probe.leaks", "payload": {"secret": CANARY}},
            {"task": "probe.traced", "payload": called},
        ]
    ):
        headers = HEADERS | {"Idempotency-Key": f"{CANARY}-{number}"}
        answer = running.client.post("/jobs", json=body, headers=headers)
        assert answer.status_code == 202, answer.text
        found.ids.append(answer.json()["id"])
    for job_id in found.ids:
        eventually(lambda job_id=job_id: _is_over(running.client, job_id), 60, "it ends")  # type: ignore[misc]  # binds the loop's value
    waits = running.client.post("/jobs", json=ECHO | wish | {"queue": "bulk"}, headers=HEADERS)
    found.ids.append(waits.json()["id"])
    replayed = running.client.post(f"/jobs/{found.ids[1]}/replay", json={"payload": {"secret": CANARY + "-2"}})
    assert replayed.status_code == 201
    schedule = {"every_seconds": 3600, "task": "demo.echo", "payload": {"message": CANARY}, "tags": [CANARY]}
    assert running.client.put("/schedules/hourly", json=schedule).status_code == 201


def _is_over(client: httpx.Client, job_id: str) -> bool:
    return client.get(f"/jobs/{job_id}?wait_seconds=10").json()["finished_at"] is not None


def _look(found: Haystack, running: Processes, watcher: httpx.Client, ports: list[int]) -> None:
    """Read every page that is for operators."""
    for url in (running.api.url, *(f"http://127.0.0.1:{port}" for port in ports)):
        answer = plain.get(f"{url}/metrics", trust_env=False)
        assert answer.status_code == 200
        found.add("metrics", answer.text)
    eventually(lambda: found.ids[0] in watcher.get("/tasks").text + _table(watcher), 60, "Flower knows the job")
    pages = ("/workers", "/tasks", "/broker", "/metrics", "/api/tasks", *(f"/task/{job_id}" for job_id in found.ids))
    found.add("flower", _table(watcher), *(watcher.get(page).text for page in pages))


def _table(watcher: httpx.Client) -> str:
    """Return what fills the table on Flower's page of tasks."""
    wanted: dict[str, Any] = {
        "draw": 1,
        "start": 0,
        "length": 100,
        "search[value]": "",
        "order[0][column]": 0,
        "order[0][dir]": "asc",
    }
    return watcher.get("/tasks/datatable", params=wanted | {"columns[0][data]": "name"}).text


def _break(found: Haystack, running: Processes) -> None:
    """Have everything refused that can be, and then PostgreSQL fail under what is well formed."""
    client, url = running.client, f"{running.api.url}/api/v1"
    json = {"content-type": "application/json"}
    wrong: list[httpx.Response] = [
        client.post("/jobs", json={"task": "demo.echo", "payload": {"message": [CANARY]}}, headers=HEADERS),
        client.post("/jobs", json={"task": "demo.echo", "payload": {"extra": CANARY}}),
        client.post("/jobs", json=ECHO | {"unique_key": CANARY, "queue": "bulk"}),
        client.post("/jobs", json=ECHO | {"priority": CANARY, "retry": CANARY, "tags": CANARY, "run_at": CANARY}),
        client.post("/jobs", json=ECHO | {"payload": {"message": "other"}}, headers={"Idempotency-Key": f"{CANARY}-0"}),
        client.post("/jobs", content=f'{{"task": "{CANARY}', headers=json),
        client.post("/jobs", content=CANARY, headers={"content-type": "text/plain"}),
        client.put("/schedules/hourly", json={"cron": CANARY, "task": "demo.echo", "payload": {"message": CANARY}}),
        client.get("/jobs", params={"cursor": CANARY, "limit": CANARY}),
        plain.get(f"{url}/jobs", headers={"Authorization": f"Bearer {CANARY}"}, trust_env=False),
        plain.get(f"{url}/jobs", headers={"Authorization": f"Bearer {running.key}x"}, trust_env=False),
    ]
    with running.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE jobs ADD CONSTRAINT none CHECK (task <> 'demo.echo') NOT VALID")
    wrong.append(client.post("/jobs", json=ECHO | {"queue": "critical"}, headers=HEADERS))
    with running.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE jobs RENAME COLUMN tags TO other")
    wrong.append(client.get("/jobs", params={"tag": CANARY}, headers=HEADERS))
    assert [answer.status_code for answer in wrong if answer.is_success] == []
    assert [answer.status_code for answer in wrong[-2:]] == [500, 500]
    found.add("errors", *(answer.text for answer in wrong))


def _take(found: Haystack, collector: Collector, sentry: SentryServer) -> None:
    found.add("traces", *collector.bodies)
    found.add("reports", *sentry.bodies)


@pytest.mark.parametrize("part", ["logs", "server", "metrics", "broker", "flower", "errors", "traces", "reports"])
def test_no_secret_comes_out(part: str, haystack: Haystack) -> None:
    said = haystack.parts[part]
    secrets: list[str] = haystack.secrets  # type: ignore[attr-defined]  # as above

    assert sum(map(len, said)) > 500, "something was said"
    assert len(secrets) >= 4
    assert min(map(len, secrets)) > 10, "too short to be found by chance"
    for secret in secrets:
        assert [around for one in said for around in re.findall(b".{0,200}" + secret.encode() + b".{0,50}", one)] == []


@pytest.mark.parametrize("part", ["logs", "broker", "flower", "traces", "reports"])
def test_the_jobs_themselves_are_found_there(part: str, haystack: Haystack) -> None:
    said = b"".join(haystack.parts[part])

    assert any(job_id.encode() in said for job_id in haystack.ids), "else nobody would have looked at the right place"
