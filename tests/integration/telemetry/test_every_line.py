"""Every line that API, worker and beat write of a job, from its request to its end, says what it is about."""

import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, update

from deploy.stack.postgres import PostgresServer
from deploy.stack.valkey import ValkeyServer
from jobs import attempts, intake
from jobs.tables import jobs
from tests.factories import new_job, submission
from tests.services.fixtures import own_database
from tests.services.processes import Processes, all_processes
from tests.services.stack import eventually

TRACE = "0af7651916cd43dd8448eb211c80319c"
Line = dict[str, Any]


@dataclass
class Story:
    """What was done, by which request, and what was written."""

    ids: dict[str, str] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)

    def of(self, name: str) -> list[Line]:
        """Return the lines that name the job."""
        return [line for line in self.lines if self.ids[name] in json.dumps(line)]

    def events(self, request_id: str) -> set[str]:
        """Return the events of a request."""
        return {line["event"] for line in self.lines if line.get("request_id") == request_id}


@pytest.fixture(scope="module")
def story(
    postgres_server: PostgresServer,
    valkey_server: ValkeyServer,
    template_database: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Story:
    """Jobs that run, fail, are steered, lost and expire; then what all processes wrote."""
    home = tmp_path_factory.mktemp("lines")
    with own_database(postgres_server, template_database) as database_url:
        told = Story()
        with all_processes(home, database_url, valkey_server.url) as running:
            _act(told, running)
        written = running.logs().splitlines()
    told.lines = [json.loads(line) for line in written]
    return told


def _ask(running: Processes, request_id: str, method: str, path: str, **body: Any) -> dict[str, Any]:
    headers = {"X-Request-ID": request_id, "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    answer = running.client.request(method, path, headers=headers, json=body or None)
    assert answer.is_success, answer.text
    found: dict[str, Any] = answer.json() if answer.content else {}
    return found


def _until(running: Processes, job_id: str, state: str) -> None:
    path = f"/jobs/{job_id}?wait_seconds=10"
    eventually(lambda: running.client.get(path).json()["state"] == state, 60, f"the job is {state}")


def _act(told: Story, running: Processes) -> None:
    ids = told.ids
    ids["prints"] = _ask(running, "r-submit", "POST", "/jobs", task="probe.prints")["id"]
    _until(running, ids["prints"], "failed")
    ids["replay"] = _ask(running, "r-replay", "POST", f"/dead-letters/{ids['prints']}/replay")["id"]
    _until(running, ids["replay"], "failed")
    _ask(running, "r-retry", "POST", f"/jobs/{ids['replay']}/retry")
    _until(running, ids["replay"], "failed")
    _ask(running, "r-discard", "DELETE", f"/dead-letters/{ids['replay']}")
    ids["stubborn"] = _ask(running, "r-stubborn", "POST", "/jobs", task="probe.logs")["id"]
    _until_running(running, ids["stubborn"])
    _ask(running, "r-cancel", "POST", f"/jobs/{ids['stubborn']}/cancel")
    _until(running, ids["stubborn"], "cancelled")
    _ask(running, "r-put", "PUT", "/schedules/by-hand", task="demo.noop", every_seconds=3600)
    ids["triggered"] = _ask(running, "r-trigger", "POST", "/schedules/by-hand/trigger")["job_id"]
    _until(running, ids["triggered"], "succeeded")
    _ask(running, "r-pause", "POST", "/queues/bulk/pause")
    _ask(running, "r-resume", "POST", "/queues/bulk/resume")
    _leave_to_beat(told, running)


def _until_running(running: Processes, job_id: str) -> None:
    eventually(lambda: running.client.get(f"/jobs/{job_id}").json()["state"] == "running", 60, "it runs")


def _leave_to_beat(told: Story, running: Processes) -> None:
    """Have an attempt lost with its worker, and a job expire."""
    given: dict[str, Any] = {"request_id": "r-left", "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    left, old = new_job(**given), new_job(delay=timedelta(hours=1), expires_at=None, **given)
    told.ids |= {"lost": str(left.id), "expired": str(old.id)}
    with running.engine.begin() as connection:
        intake.accept(connection, [submission(left), submission(old)])
        attempts.start(connection, [left.id], worker="gone", lease=timedelta(seconds=-1))
        connection.execute(update(jobs).where(jobs.c.id == old.id).values(expires_at=func.now()))
    _until(running, told.ids["lost"], "succeeded")
    _until(running, told.ids["expired"], "expired")


def test_every_line_is_json_and_has_a_static_name(story: Story) -> None:
    assert len(story.lines) > 30
    for line in story.lines:
        assert {"event", "level", "timestamp", "role", "pid"} <= line.keys()


@pytest.mark.parametrize("name", ["prints", "replay", "stubborn", "triggered", "lost", "expired"])
def test_every_line_of_a_job_names_its_request_its_trace_and_its_tenant(story: Story, name: str) -> None:
    lines = story.of(name)

    assert len(lines) >= 2 if name != "expired" else lines
    for line in lines:
        assert line["request_id"].startswith("r-"), line
        assert (line["trace_id"], line["tenant"]) == (TRACE, "default"), line
        if line["role"] == "worker":
            assert line["attempt"] >= 1, line
            assert line["job_id"] == story.ids[name]
            assert line["task"]


def test_what_people_do_with_a_job_is_told_with_their_request(story: Story) -> None:
    assert "jobs_accepted" in story.events("r-submit")
    assert {"job_replayed", "jobs_accepted"} <= story.events("r-replay")
    assert "job_retried" in story.events("r-retry")
    assert "dead_letter_discarded" in story.events("r-discard")
    assert "job_cancel_requested" in story.events("r-cancel")
    assert "cancel_seen" in story.events("r-stubborn")
    assert "schedule_written" in story.events("r-put")
    assert {"schedule_triggered", "jobs_accepted"} <= story.events("r-trigger")
    assert "queue_paused" in story.events("r-pause")
    assert "queue_resumed" in story.events("r-resume")


def test_beat_names_each_job_that_it_takes(story: Story) -> None:
    lost = [line for line in story.of("lost") if line["event"] == "attempt_lost"]
    expired = [line for line in story.of("expired") if line["event"] == "job_expired"]

    assert [(line["role"], line["attempt"], line["then"]) for line in lost] == [("beat", 1, "queued")]
    assert [(line["role"], line["then"]) for line in expired] == [("beat", "expired")]


def test_what_a_task_prints_and_warns_is_a_line_like_any_other(story: Story) -> None:
    printed = [(line["stream"], line["text"]) for line in story.of("prints") if line["event"] == "printed"]
    warned = [line for line in story.of("prints") if line.get("logger") == "py.warnings"]

    assert sorted(printed) == [
        ("stderr", "printed to stderr"),
        ("stdout", "and no end"),
        ("stdout", "printed to stdout"),
    ]
    assert len(warned) == 1
    assert "warned by a task" in warned[0]["event"]
