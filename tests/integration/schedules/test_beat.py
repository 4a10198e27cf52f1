"""Beat as a process, by its own command and by Celery's: it fires, it rings, and it makes known what code declares."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from deploy.stack.home import ROOT
from deploy.stack.ports import LOOPBACK
from deploy.stack.postgres import PostgresServer
from jobs.planning.words import Why
from tests.integration.jobs import scenes
from tests.integration.jobs.timetable import decided, get, jobs_of, put
from tests.services.local_processes import LocalProcess, surroundings
from tests.services.proxy import Proxy
from tests.services.stack import eventually

SECONDS = 40.0
OURS = ("schedules",)
CELERYS = ("celery", "-A", "schedules.app:celery_app", "beat", "-S", "schedules.beat:JobScheduler", "-l", "INFO")
DECLARED = "tests.integration.schedules.declared"

Start = Callable[..., LocalProcess]


@pytest.fixture
def start(database_url: str, broker_url: str, tmp_path: Path) -> Iterator[Start]:
    started: list[LocalProcess] = []

    def begin(*arguments: str, **own: str) -> LocalProcess:
        environment = surroundings(**({"DATABASE_URL": database_url, "BROKER_URL": broker_url} | own))
        name = f"beat-{len(started)}"
        beat = LocalProcess(
            name, arguments, environment=environment, log=tmp_path / f"{name}.log", prompt="beat: Starting..."
        )
        started.append(beat)
        beat.start()
        beat.ready()
        return beat

    yield begin
    for one in started:
        one.teardown()


@pytest.mark.parametrize("command", [OURS, CELERYS], ids=["penstock", "celery"])
def test_it_fires_and_rings(engine: Engine, start: Start, command: tuple[str, ...]) -> None:
    put(engine, "each-second", every_seconds=1)

    start(*command, PENSTOCK_TASK_MODULES=DECLARED)

    eventually(lambda: len(jobs_of(engine, "each-second")) >= 3, SECONDS, "three instants are fired")
    eventually(lambda: _rung(engine, "each-second") >= 3, SECONDS, "their doorbells are rung")
    eventually(lambda: decided(engine, "tick"), SECONDS, "what code declares is fired")
    assert get(engine, "tick").origin == "beat_schedule['tick']"
    job = scenes.row(engine, jobs_of(engine, "tick")[0])
    assert (job["task"], job["payload"], job["priority"]) == ("test.tick", {"word": "tock"}, 8)


def _rung(engine: Engine, name: str) -> int:
    return sum(scenes.row(engine, job_id)["rung_at"] is not None for job_id in jobs_of(engine, name))


def test_the_entries_of_an_app_that_is_not_ours_are_fired(engine: Engine, start: Start) -> None:
    plain = "tests.integration.schedules.plain"

    start("celery", "-A", f"{plain}:app", *CELERYS[3:], PENSTOCK_TASK_MODULES=plain)

    eventually(lambda: jobs_of(engine, "plain-tick"), SECONDS, "what it declares is fired")
    job = scenes.row(engine, jobs_of(engine, "plain-tick")[0])
    assert (job["task"], job["payload"], job["queue"]) == ("plain.tick", {"word": "tock"}, "default")


def test_what_code_declares_no_more_rests_until_it_is_declared_again(engine: Engine, start: Start) -> None:
    start(*OURS, PENSTOCK_TASK_MODULES=DECLARED)
    eventually(lambda: decided(engine, "tick"), SECONDS, "it is fired")

    start(*OURS)
    eventually(lambda: get(engine, "tick").pause_reason is Why.UNDECLARED, SECONDS, "it rests")
    assert decided(engine, "tick"), "its history is there"

    start(*OURS, PENSTOCK_TASK_MODULES=DECLARED)
    eventually(lambda: get(engine, "tick").pause_reason is None, SECONDS, "it goes on")


def test_beats_end_when_they_are_told_to(engine: Engine, start: Start) -> None:
    put(engine, "each-second", every_seconds=1)
    beats = [start(*OURS) for _ in range(2)]
    eventually(lambda: jobs_of(engine, "each-second"), SECONDS, "something is fired")

    for beat in beats:
        beat.kill(signal.SIGTERM)
        beat.wait()

    assert [beat.exit_code for beat in beats] == [0, 0]


BROKEN = {
    "an interval under a second": ("{'task': 'demo.noop', 'schedule': 0.1}", "every_seconds"),
    "no task": ("{'schedule': 1}", "it has no task"),
    "no entry": ("'oops'", "it is str"),
}


@pytest.mark.parametrize("command", [OURS, CELERYS], ids=["penstock", "celery"])
@pytest.mark.parametrize(("entry", "says"), BROKEN.values(), ids=BROKEN)
def test_a_declaration_that_cannot_be_kept_stops_it_with_the_reason(
    tmp_path: Path, command: tuple[str, ...], entry: str, says: str
) -> None:
    module = f"from celery import current_app\n\ncurrent_app.conf.beat_schedule = {{'x': {entry}}}\n"
    (tmp_path / "hasty.py").write_text(module)

    ended = subprocess.run(
        [sys.executable, "-P", "-m", *command],
        cwd=tmp_path,
        env=surroundings(
            DATABASE_URL="postgresql://nobody:x@127.0.0.1:1/none",
            BROKER_URL="redis://127.0.0.1:1/0",
            PENSTOCK_TASK_MODULES="hasty",
            PYTHONPATH=str(ROOT),
        ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 2
    assert f"Beat cannot start: beat_schedule['x']: {says}" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("new_ones_pass", [True, False], ids=["new links are well", "new links are silent too"])
def test_a_beat_whose_links_fall_silent_for_ever_goes_on_by_itself(
    engine: Engine, start: Start, database_url: str, postgres_server: PostgresServer, new_ones_pass: bool
) -> None:
    put(engine, "each-second", every_seconds=1)
    with Proxy(LOOPBACK, postgres_server.port) as proxy:
        bounds = {"PENSTOCK_DATABASE_STATEMENT_TIMEOUT_SECONDS": "2", "PENSTOCK_DATABASE_ANSWER_SECONDS": "1"}
        beat = start(*OURS, DATABASE_URL=proxy.through(database_url), **bounds)
        eventually(lambda: _rung(engine, "each-second") >= 2, SECONDS, "it fires and rings")

        if new_ones_pass:
            proxy.forget()
        else:
            proxy.swallow()
            eventually(lambda: beat.logs().count("database_unavailable") > 3, SECONDS, "it says that it waits")
            proxy.heal()
        before = len(jobs_of(engine, "each-second"))

        eventually(lambda: len(jobs_of(engine, "each-second")) >= before + 3, SECONDS, "it fires again")
        eventually(lambda: _rung(engine, "each-second") >= before + 3, SECONDS, "it rings again")
        beat.teardown()
