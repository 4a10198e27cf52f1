"""`python -m api` as it is run: its processes, its log, its metrics."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine

from deploy.stack.ports import free_port
from jobs.telemetry.contract import PREFIX, Process, told_by
from tests.integration.api.test_idempotency import fire
from tests.services import plain
from tests.services.api import Person
from tests.services.local_processes import LocalProcess, surroundings
from tests.services.stack import eventually, gone

PROMPT = "Application startup complete"
CANARY = "canary-8417"
STANDARD = ("python_", "process_")


class Served:
    """The API as a process of its own."""

    def __init__(self, database_url: str, broker_url: str, home: Path, **settings: object) -> None:
        self.port = free_port(None)
        environment = surroundings(
            DATABASE_URL=database_url, BROKER_URL=broker_url, PENSTOCK_API_PORT=self.port, PENSTOCK_LOG_FORMAT="json",
            **{f"PENSTOCK_{name.upper()}": value for name, value in {"longest_wait_seconds": 30, **settings}.items()},
        )  # fmt: skip
        self.process = LocalProcess("api", ["api"], environment=environment, log=home / "api.log", prompt=PROMPT)
        self.url = f"http://127.0.0.1:{self.port}"
        self.count = int(str(settings.get("api_processes", 1)))

    def __enter__(self) -> "Served":
        self.process.start()
        eventually(lambda: self.process.logs().count(PROMPT) == self.count, 30, "the API serves")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.teardown()

    def lines(self) -> list[dict[str, Any]]:
        """Return what it has logged; every line is JSON."""
        return [json.loads(line) for line in self.process.logs().splitlines()]


@pytest.fixture
def pair(database_url: str, broker_url: str, tmp_path: Path) -> Iterator[Served]:
    """Two processes that share a port."""
    with Served(database_url, broker_url, tmp_path, api_processes=2) as served:
        yield served


def test_two_hundred_requests_at_once_with_one_key_on_two_processes_make_one_job(pair: Served, engine: Engine) -> None:
    person = Person(pair.url, engine)
    body = b'{"task": "demo.echo", "payload": {"message": "once"}}'
    person.http = httpx.Client(
        base_url=pair.url, headers=person.headers, timeout=30, limits=httpx.Limits(max_connections=200)
    )

    answers = fire([person], 200, body, idempotency_key="k")
    first = [answer for answer in answers if "idempotency-replayed" not in answer.headers]
    pids = {line["pid"] for line in pair.lines() if line["event"] == "jobs_accepted"}
    counted = {
        family.name: sum(sample.value for sample in family.samples if sample.name.endswith("_total"))
        for family in text_string_to_metric_families(person.http.get("/metrics").text)
    }

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    assert len(first) == 1
    assert person.stored() == 1
    assert len(pids) == 1
    # Both processes were at work, and either of them tells the counts of both.
    assert counted[PREFIX + "jobs_replayed"] == 199
    ours = {name for name in counted if not name.startswith(STANDARD)}
    assert ours == {PREFIX + metric.name for metric in told_by(Process.API)}
    person.http.close()


def sample(pair: Served, name: str, **labels: str) -> float:
    """Return the one sample of that name and those labels, which whichever process answers tells."""
    families = text_string_to_metric_families(plain.get(f"{pair.url}/metrics", timeout=30).text)
    found = [one for family in families for one in family.samples if one.name == name]
    return sum(one.value for one in found if labels.items() <= one.labels.items())


def test_counts_outlive_the_process_that_counted_and_its_gauges_do_not(pair: Served) -> None:
    asked = {"route": "/health", "status": "200"}
    for _ in range(40):
        assert plain.get(f"{pair.url}/health").status_code == 200
    eventually(lambda: sample(pair, "penstock_http_requests_total", **asked) == 40, 20, "all are counted")
    parent = psutil.Process(pair.process.pid)
    cpu = sample(pair, "process_cpu_seconds_total")
    first = {child.pid for child in parent.children() if "spawn_main" in " ".join(child.cmdline())}

    for pid in first:
        psutil.Process(pid).kill()
    eventually(lambda: pair.process.logs().count(PROMPT) == 4, 60, "both processes were replaced")
    eventually(lambda: sample(pair, "penstock_connections") >= 1, 20, "the new ones look at their connections")

    assert sample(pair, "penstock_http_requests_total", **asked) == 40
    assert sample(pair, "process_cpu_seconds_total") >= cpu
    assert sample(pair, "penstock_build_info") == 1
    assert sample(pair, "penstock_connections") <= 5


def test_the_folder_of_the_counts_goes_with_the_processes_and_one_left_behind_at_the_next_start(
    database_url: str, broker_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    with Served(database_url, broker_url, folder, api_processes=2) as served:
        assert len(list(folder.glob("penstock-metrics-*"))) == 1
        family = psutil.Process(served.process.pid).children(recursive=True)
        served.process.kill("SIGKILL")
        assert gone(family, 20) == [], "they go on without the one that was to look after them, and keep its port"
        assert len(list(folder.glob("penstock-metrics-*"))) == 1

    with Served(database_url, broker_url, tmp_path, api_processes=2) as served:
        assert len(list(folder.glob("penstock-metrics-*"))) == 1
        served.process.kill("SIGTERM")
        served.process.wait(20)

    assert list(folder.glob("penstock-metrics-*")) == []


def test_a_process_that_is_told_to_stop_commits_what_it_took_and_leaves_nothing(
    engine: Engine, database_url: str, broker_url: str, tmp_path: Path
) -> None:
    with Served(database_url, broker_url, tmp_path) as served:
        person = Person(served.url, engine)
        answers = fire([person], 20, b'{"task": "demo.noop"}')
        served.process.kill("SIGTERM")
        served.process.wait(10)

    assert {answer.status_code for answer in answers} == {202}
    assert person.stored() == 20
    assert served.process.exit_code in {0, -15}
    person.http.close()


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ({"DATABASE_URL": "mysql://u:sesame@h/d"}, "must start with postgresql://"),
        ({"PENSTOCK_TASK_MODULES": "no.such.module"}, "no.such.module"),
        ({"PENSTOCK_TASK_MODULES": "no.such.module", "PENSTOCK_API_PROCESSES": "2"}, "no.such.module"),
        ({"PENSTOCK_API_PORT": "99999"}, "PENSTOCK_API_PORT"),
    ],
)
def test_a_setting_that_is_wrong_is_told_in_a_line_and_nothing_starts(
    database_url: str, broker_url: str, tmp_path: Path, broken: dict[str, str], told: str
) -> None:
    environment = surroundings(DATABASE_URL=database_url, BROKER_URL=broker_url) | broken
    process = LocalProcess("api", ["api"], environment=environment, log=tmp_path / "api.log", prompt="")

    process.start()
    process.wait(20)

    assert process.exit_code == 2
    assert told in process.logs()
    assert "Traceback" not in process.logs()
    assert "sesame" not in process.logs()


def test_a_broker_that_is_none_is_told_without_its_password(database_url: str, tmp_path: Path) -> None:
    environment = surroundings(DATABASE_URL=database_url, BROKER_URL="sqs://user:sesame@host")
    process = LocalProcess("api", ["api"], environment=environment, log=tmp_path / "api.log", prompt="")

    process.start()
    process.wait(20)

    assert process.exit_code not in {0, None}
    assert "must start with one of amqp://" in process.logs()
    assert "sesame" not in process.logs()


def test_the_log_leads_from_a_request_to_its_job_and_holds_no_secrets(
    engine: Engine, database_url: str, broker_url: str, tmp_path: Path
) -> None:
    with Served(database_url, broker_url, tmp_path, log_level="debug") as served:
        person = Person(served.url, engine)
        wish = {"payload": {"message": CANARY}, "tags": [CANARY], "unique_key": CANARY}
        accepted = person.submit(
            "demo.echo", **wish, headers={"X-Request-ID": "find-me", "Idempotency-Key": CANARY, "Cookie": CANARY}
        )
        _everything_that_can_go_wrong(person)
        eventually(lambda: any(line["event"] == "request_failed" for line in served.lines()), 10, "it is logged")
        lines, logs = served.lines(), served.process.logs()

    (line,) = [one for one in lines if one["event"] == "jobs_accepted" and one["request_id"] == "find-me"]
    assert (line["job_id"], line["task"], line["role"]) == (accepted.json()["id"], "demo.echo", "api")
    assert line["trace_id"]
    assert line["tenant"] == person.tenant
    failed = [one for one in lines if one["event"] == "request_failed"]
    for fact in ("request_id", "trace_id"):
        assert all(re.fullmatch("[0-9a-f]{32}", one[fact]) for one in failed)
    assert {one["tenant"] for one in failed} == {person.tenant}
    assert any("SQLSTATE 42703" in one["exception"] for one in failed)
    assert any(one["event"] == "group_commit_failed" for one in lines)
    for secret in (CANARY, person.key, person.key[25:50], _password(database_url), _password(broker_url)):
        assert secret not in logs
    person.http.close()


def _everything_that_can_go_wrong(person: Person) -> None:
    """Make the API refuse, fail foreseen, and fail unforeseen, with a canary in every field."""
    person.submit("demo.echo", payload={"message": [CANARY]})
    person.submit("demo.echo", payload={"message": CANARY}, unique_key=CANARY)
    person.submit(CANARY)
    person.submit(queue=CANARY)
    person.send(CANARY.encode())
    person.send(b'{"task": "demo.noop"}', idempotency_key=CANARY)
    person.get("/jobs", params={"tag": CANARY, "cursor": CANARY})
    person.get("/tasks", headers={"Authorization": f"Bearer {CANARY}"})
    person.get(f"/{CANARY}")
    with person.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE jobs ADD CONSTRAINT none CHECK (task <> 'demo.echo') NOT VALID")
    refused = person.submit("demo.echo", payload={"message": CANARY}, headers={"Idempotency-Key": "2"})
    assert refused.status_code == 500
    with person.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE jobs RENAME COLUMN unique_key TO other")
    assert person.submit(unique_key=CANARY + "2").status_code == 500
    assert person.get("/jobs", params={"tag": CANARY}).status_code == 500


def _password(url: str) -> str:
    return httpx.URL(url).password
