"""`penstock health` as a container's probe runs it."""

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import text

from deploy.cli.entry import ALONE
from deploy.cli.health import Part, ask, place_of
from deploy.stack.home import ROOT
from deploy.stack.ports import free_port
from jobs.telemetry.monitor import serve
from tests.services.api import running_api
from tests.services.local_processes import surroundings

HEAVY = {"celery", "sqlalchemy", "httpx"}
PORT_OF = {"worker": "PENSTOCK_WORKER_METRICS_PORT", "beat": "PENSTOCK_BEAT_METRICS_PORT", "api": "PENSTOCK_API_PORT"}


class Monitored:
    """What a worker or a beat answers with, and what it then says of itself."""

    def __init__(self) -> None:
        self.state = {"postgresql": True, "accepting": True}
        self.server = serve("127.0.0.1", 0, CollectorRegistry(), lambda: self.state)
        self.port = self.server.server_address[1]


@pytest.fixture
def monitored() -> Iterator[Monitored]:
    made = Monitored()
    yield made
    made.server.shutdown()
    made.server.server_close()


def probe(*words: str, **environment: object) -> tuple[int, str]:
    """Run the command as it is installed; return its exit code and all that it says."""
    done = subprocess.run(
        [sys.executable, "-m", "deploy.cli.entry", "health", *words],
        cwd=ROOT,
        env=surroundings(**environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("part", ["api", "worker", "beat"])
def test_a_process_that_is_well_and_ready_ends_the_probe_with_zero(monitored: Monitored, part: str) -> None:
    port = {PORT_OF[part]: monitored.port}

    assert probe(part, **port) == (0, f"{part} is well\n")
    assert probe(part, "--ready", **port) == (0, f"{part} is ready\n")


def test_what_a_process_lacks_is_named_in_one_line_and_it_lives_all_the_same(monitored: Monitored) -> None:
    monitored.state |= {"accepting": False}
    port = {"PENSTOCK_WORKER_METRICS_PORT": monitored.port}

    assert probe("worker", "--ready", **port) == (1, "worker is not ready: accepting\n")
    assert probe("worker", **port) == (0, "worker is well\n")


@pytest.mark.parametrize(
    ("part", "environment", "says"),
    [
        ("worker", {}, "it answers nowhere, PENSTOCK_WORKER_METRICS_PORT is not set"),
        ("beat", {}, "it answers nowhere, PENSTOCK_BEAT_METRICS_PORT is not set"),
        ("worker", {"PENSTOCK_WORKER_METRICS_PORT": "many"}, "PENSTOCK_WORKER_METRICS_PORT: Input should be"),
    ],
)
def test_a_process_that_answers_nowhere_is_not_well(part: str, environment: dict[str, str], says: str) -> None:
    code, said = probe(part, **environment)

    assert (code, said.count("\n")) == (1, 1)
    assert says in said


def elsewhere() -> dict[str, int]:
    """Return ports at which nobody answers, for every process that has one unless it is told otherwise."""
    return {"PENSTOCK_API_PORT": free_port(), "FLOWER_PORT": free_port()}


def test_without_a_name_the_process_that_answers_here_is_asked(monitored: Monitored) -> None:
    ports = {**elsewhere(), "PENSTOCK_BEAT_METRICS_PORT": monitored.port}

    assert probe(**ports) == (0, "beat is well\n")

    monitored.state |= {"accepting": False}
    assert probe("--ready", **ports) == (1, "beat is not ready: accepting\n")


def test_without_a_name_and_where_nobody_answers_nothing_is_well() -> None:
    assert probe(**elsewhere()) == (1, "nothing of Penstock answers here\n")


def test_nobody_at_the_port_is_not_well() -> None:
    port = free_port()

    code, said = probe("flower", FLOWER_PORT=port)

    assert (code, said.count("\n")) == (1, 1)
    assert said.startswith(f"flower is not well: http://127.0.0.1:{port}/flower/healthcheck does not answer")


def test_a_process_that_hangs_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        said = ask(f"http://127.0.0.1:{silent.getsockname()[1]}/health", 0.2)

    assert "does not answer" in said


def test_an_answer_that_names_nothing_is_told_by_its_status(monitored: Monitored) -> None:
    url = f"http://127.0.0.1:{monitored.port}/none"

    assert ask(url, 10) == f"{url} answers 404"


def test_the_details_that_the_api_gives_are_passed_on(database_url: str, broker_url: str) -> None:
    with running_api(database_url, broker_url) as api, api.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'old'"))
        connection.commit()

        said = ask(f"{api.url}/ready", 10)

    assert said.startswith("schema (the schema is at old, needs ")


@pytest.mark.parametrize(("host", "asked"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("10.0.0.7", "10.0.0.7")])
def test_who_listens_everywhere_is_asked_on_this_machine(
    monkeypatch: pytest.MonkeyPatch, host: str, asked: str
) -> None:
    monkeypatch.setenv("PENSTOCK_API_HOST", host)
    monkeypatch.setenv("PENSTOCK_API_PORT", "8123")

    assert place_of(Part.API).url(ready=True) == f"http://{asked}:8123/ready"


@pytest.mark.parametrize("module", sorted(set(ALONE.values())))
def test_a_probe_and_a_start_load_neither_celery_nor_sqlalchemy(module: str) -> None:
    code = f"import sys, deploy.cli.entry, {module}; print(sorted(set(sys.modules) & {HEAVY}))"

    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert loaded.stdout == "[]\n"


@pytest.mark.parametrize(
    "words", [["worker", "-h"], ["api", "--help"], ["flower", "-h"], ["worker", "--sideways"]], ids=" ".join
)
def test_a_command_alone_says_what_it_says_among_all(words: list[str]) -> None:
    def said(module: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", module, *words]
        environment = surroundings(COLUMNS=100)
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    assert said("deploy.cli.entry") == said("deploy.cli.main")
