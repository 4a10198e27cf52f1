"""Reports of errors and check-ins, as a server that speaks Sentry's protocol receives them from real processes."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import update

from deploy.stack.postgres import PostgresServer
from deploy.stack.valkey import ValkeyServer
from jobs import attempts, intake
from jobs.errors import ConfigurationError
from jobs.tables import jobs
from jobs.telemetry import sentry
from tests.factories import new_job, submission
from tests.services.fixtures import own_database
from tests.services.processes import Processes, all_processes
from tests.services.sentry import SentryServer, receiving
from tests.services.stack import eventually

CANARY = "canary-5b7e"


@dataclass
class Episode:
    """What was done, and what Sentry was told of it."""

    server: SentryServer
    ids: dict[str, str] = field(default_factory=dict)
    logs: str = ""

    def of(self, role: str, event: str) -> dict[str, Any]:
        """Return the first report of a role about an event."""
        return next(
            one for one in self.server.events if (one["tags"]["role"], one["tags"].get("event")) == (role, event)
        )


@pytest.fixture(scope="module")
def episode(
    postgres_server: PostgresServer,
    valkey_server: ValkeyServer,
    template_database: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Episode]:
    """Each of the processes meets an error that nobody foresaw, and a schedule fires."""
    home = tmp_path_factory.mktemp("sentry")
    with receiving() as server, own_database(postgres_server, template_database) as database_url:
        made = Episode(server)
        with all_processes(home, database_url, valkey_server.url, SENTRY_DSN=server.dsn) as running:
            _act(made, running)
            made.logs = running.logs()
        yield made


def _act(episode: Episode, running: Processes) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
    wish = {"every_seconds": 60, "anchor_at": soon, "task": "demo.echo", "payload": {"message": CANARY}}
    assert running.client.put("/schedules/Nightly.Report", json=wish).status_code == 201
    eventually(lambda: episode.server.check_ins, 60, "the schedule checks in")
    for task in ("probe.leaks", "probe.expects"):
        wish = {
            "task": task,
            "payload": {"secret": CANARY} if task == "probe.leaks" else {"kind": "refused"},
            "tags": [CANARY],
        }
        episode.ids[task] = running.client.post("/jobs", json=wish).json()["id"]
    for job_id in episode.ids.values():
        path = f"/jobs/{job_id}?wait_seconds=10"
        eventually(lambda path=path: running.client.get(path).json()["state"] == "failed", 60, "it fails")  # type: ignore[misc]  # binds the loop's value
    erred = ("worker", "attempt_erred")
    eventually(lambda: erred in _told(episode.server), 60, "it is reported before its process may be ended")
    _end_processes(episode, running)
    with running.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE schedules RENAME COLUMN next_at TO other")
        connection.exec_driver_sql("ALTER TABLE jobs RENAME COLUMN tags TO other")
    answer = running.client.get("/jobs", params={"tag": CANARY}, headers={"X-Request-ID": "find-me", "Cookie": CANARY})
    assert answer.status_code == 500
    told = {("api", "request_failed"), ("beat", "firing_failed"), erred}
    eventually(lambda: told <= _told(episode.server), 60, "all three have reported")


def _end_processes(episode: Episode, running: Processes) -> None:
    """Have a hard time limit strike, a task crash until it is a dead letter, and beat find one that its worker left."""
    episode.ids["probe.hard"] = running.submit("probe.hard", seconds=60)
    episode.ids["probe.crashes"] = running.submit("probe.crashes", secret=CANARY)
    left = new_job(task="probe.naps", payload=json.dumps({"secret": CANARY}))
    episode.ids["left"] = str(left.id)
    with running.engine.begin() as connection:
        intake.accept(connection, [submission(left)])
        connection.execute(update(jobs).where(jobs.c.id == left.id).values(crash_count=2))
        attempts.start(connection, [left.id], worker="gone", lease=timedelta(seconds=-1))
    for name in ("probe.hard", "probe.crashes", "left"):
        path = f"/jobs/{episode.ids[name]}?wait_seconds=10"
        eventually(lambda path=path: running.client.get(path).json()["state"] == "failed", 60, f"{name} fails")  # type: ignore[misc]  # binds the loop's value


def _told(server: SentryServer) -> set[tuple[str, str]]:
    return {(one["tags"]["role"], one["tags"].get("event", "")) for one in server.events}


def _types(report: dict[str, Any]) -> list[str]:
    return [error["type"] for error in report["exception"]["values"]]


def test_the_error_of_a_task_is_reported_with_its_job(episode: Episode) -> None:
    report = episode.of("worker", "attempt_erred")

    assert _types(report) == ["KeyError", "ValueError"]
    tags = {"task": "probe.leaks", "job_id": episode.ids["probe.leaks"], "attempt": "1", "tenant": "default"}
    assert tags.items() <= report["tags"].items()
    assert len(report["tags"]["request_id"]) == len(report["tags"]["trace_id"]) == 32
    assert report["release"].startswith("penstock@")
    assert report["exception"]["values"][-1]["stacktrace"]["frames"][-1]["function"] == "leaks"


@pytest.mark.parametrize(
    ("name", "role", "kind", "event", "attempts", "reason"),
    [
        ("probe.hard", "worker", "TimeLimitExceeded", "attempt_timed_out", ["1"], "exhausted"),
        ("probe.crashes", "worker", "WorkerLostError", "attempt_lost", ["1", "2", "3"], "crashed"),
        ("left", "beat", "WorkerLostError", "attempt_lost", ["1"], "crashed"),
    ],
)
def test_an_attempt_that_could_not_report_itself_is_reported_for_it(
    episode: Episode, name: str, role: str, kind: str, event: str, attempts: list[str], reason: str
) -> None:
    def found() -> list[dict[str, Any]]:
        return [one for one in episode.server.events if one["tags"].get("job_id") == episode.ids[name]]

    eventually(lambda: len(found()) >= len(attempts), 30, "it is reported")
    told = [one["tags"] for one in found()]
    assert [one["attempt"] for one in told] == attempts
    assert {(one["role"], one["event"]) for one in told} == {(role, event)}
    assert told[-1]["reason"] == reason
    assert told[-1]["task"] == ("probe.naps" if name == "left" else name)
    assert [_types(one) for one in found()] == [[kind]] * len(attempts)


def test_an_error_that_a_task_expects_is_not_reported(episode: Episode) -> None:
    assert episode.ids["probe.expects"] not in {one["tags"].get("job_id") for one in episode.server.events}


def test_an_error_of_the_api_is_reported_with_its_request(episode: Episode) -> None:
    report = episode.of("api", "request_failed")

    assert report["tags"]["request_id"] == "find-me"
    assert report["tags"]["tenant"] == "default"
    assert "UndefinedColumn" in _types(report)


def test_an_error_of_beat_is_reported(episode: Episode) -> None:
    assert "UndefinedColumn" in _types(episode.of("beat", "firing_failed"))


def test_a_schedule_that_fires_checks_in_with_its_monitor(episode: Episode) -> None:
    check_in = episode.server.check_ins[0]

    assert check_in["status"] == "ok"
    assert check_in["monitor_slug"].startswith("nightly-report-")
    assert check_in["monitor_config"] == {
        "schedule": {"type": "interval", "value": 1, "unit": "minute"},
        "timezone": "UTC",
        "checkin_margin": 2,
    }


def test_no_report_holds_what_somebody_said(episode: Episode) -> None:
    assert len(episode.server.bodies) >= 4
    assert not any(CANARY.encode() in body for body in episode.server.bodies)
    for report in episode.server.events:
        assert not {"request", "user", "breadcrumbs", "extra", "logentry", "modules"} & report.keys()
        assert '"vars"' not in json.dumps(report)
        assert not [error for error in report["exception"]["values"] if error.get("value")]
    assert CANARY not in episode.logs


def test_a_dsn_that_is_none_is_refused_without_being_told() -> None:
    with pytest.raises(ConfigurationError) as refused:
        sentry.start(SecretStr("sesame://nowhere"), "tests")

    assert "sesame" not in str(refused.value)
