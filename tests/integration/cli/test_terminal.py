"""The command as a process: what it finds by itself, what it does on a terminal, and how it ends."""

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from deploy.cli.errors import MEANINGS
from deploy.stack.ports import free_port
from tests.integration.cli.conftest import PROGRAM, Command, Platform, plain
from tests.services.stack import eventually

LATER = ("--queue", "bulk", "--delay", "1h")


def leave_stack(penstock: Command, home: Path, mode: int = 0o600) -> None:
    """Leave what a running stack leaves, and forget what the environment said."""
    environment = penstock.environment
    facts = {"api_url": environment.pop("PENSTOCK_API_URL"), "api_key": environment.pop("PENSTOCK_API_KEY")}
    home.mkdir(parents=True)
    file = home / "stack.json"
    file.write_text(json.dumps(facts))
    file.chmod(mode)


def test_the_local_stack_is_found_by_its_home(penstock: Command) -> None:
    leave_stack(penstock, penstock.home / "home")

    assert penstock.process("jobs").returncode == 0


def test_the_local_stack_is_found_in_the_current_folder(penstock: Command) -> None:
    leave_stack(penstock, penstock.home / ".run")
    del penstock.environment["PENSTOCK_HOME"]

    found = subprocess.run(
        [*PROGRAM, "jobs"], env=penstock.process_environment(), cwd=penstock.home, capture_output=True, check=False
    )

    assert (found.returncode, found.stdout, found.stderr) == (0, b"", b"")


def test_a_stack_file_that_others_can_read_is_refused(penstock: Command) -> None:
    leave_stack(penstock, penstock.home / "home", mode=0o644)

    result = penstock.process("jobs")

    assert result.returncode == 2
    assert "others may read it" in result.stderr
    assert f"chmod 600 {penstock.home / 'home' / 'stack.json'}" in result.stderr


def test_no_api_anywhere_says_where_it_looked_and_how_to_start_one(anywhere: Command) -> None:
    result = anywhere.process("jobs")

    assert result.returncode == 2
    assert f"no local stack in {anywhere.home / 'home' / 'stack.json'}" in result.stderr
    assert "`make run`" in result.stderr


def test_an_api_that_does_not_answer_says_what_was_tried(anywhere: Command) -> None:
    url = f"http://127.0.0.1:{free_port()}"

    result = anywhere.process("jobs", "--url", url, PENSTOCK_API_KEY="pns_x")

    assert result.returncode == 2
    assert f"No API answers at {url} (from --url): " in result.stderr
    assert "`make run`" in result.stderr


def test_what_this_machine_serves_goes_past_the_proxy(penstock: Command) -> None:
    proxy = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), "http://127.0.0.1:1")

    assert penstock.process("jobs", **proxy).returncode == 0


def test_a_terminal_gets_a_bar_while_it_waits(penstock: Command) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*PROGRAM, "submit", "demo.progress", "-p", "seconds=2", "--wait", "30"],
        env=penstock.process_environment() | {"TERM": "xterm", "COLUMNS": "120"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        shown = plain(read_all(ours))
    os.close(ours)

    assert process.returncode == 0
    assert "demo.progress · running · attempt 1 · step " in shown
    assert "━" in shown
    assert shown.rstrip().endswith("10")


def read_all(terminal: int) -> str:
    """Return what is written until the last process at the other end is gone."""
    seen = b""
    while True:
        try:
            piece = os.read(terminal, 65_536)
        except OSError:  # Linux says EIO where others say the end
            piece = b""
        if not piece:
            return seen.decode(errors="replace")
        seen += piece


def test_ctrl_c_ends_the_waiting_and_not_the_job(penstock: Command) -> None:
    job_id = penstock("submit", "demo.noop", *LATER).stdout.strip()
    waiting = penstock.started("job", job_id, "--wait", 60)
    gateway_sees_it = eventually(lambda: asleep(waiting.pid), 20, "the command waits for the answer")

    # A person presses again: one that comes while Python finalises an object is swallowed by Python itself.
    eventually(lambda: interrupted(waiting), 30, "the command has ended")
    _, err = waiting.communicate(timeout=20)

    assert gateway_sees_it
    assert waiting.returncode == 130
    assert 130 in MEANINGS
    assert f"Not waiting any more for job {job_id}" in err
    assert penstock.json("job", job_id)["state"] == "scheduled"


def interrupted(command: "subprocess.Popen[str]") -> bool:
    """Press Ctrl-C once and say whether the command has ended within two seconds."""
    command.send_signal(signal.SIGINT)
    try:
        command.wait(2)
    except subprocess.TimeoutExpired:
        return False
    return True


def asleep(pid: int) -> bool:
    """Say whether the process has a connection to the API."""
    listed = subprocess.run(
        [sys.executable, "-c", f"import psutil; print(len(psutil.Process({pid}).net_connections('tcp')))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(listed.stdout) > 0


def test_a_reader_that_leaves_early_is_no_error(penstock: Command) -> None:
    penstock("submit", "demo.noop", *LATER, "--count", 400)
    jobs = penstock.started("jobs", "--all")
    assert jobs.stdout is not None
    assert jobs.stderr is not None

    jobs.stdout.readline()
    jobs.stdout.close()
    jobs.wait(timeout=30)

    assert "Traceback" not in jobs.stderr.read()
    jobs.stderr.close()


def test_the_version_is_printed(anywhere: Command) -> None:
    assert anywhere("--version").stdout == "0.1.0\n"


@pytest.mark.parametrize("command", [[], ["submit", "--help"], ["keys"], ["keys", "create", "-h"]])
def test_help_is_given(anywhere: Command, command: list[str]) -> None:
    result = anywhere(*command, code=0 if "-" in "".join(command) else 2)

    assert "Usage: " in result.output


@pytest.mark.parametrize(("role", "path"), [("api", "/health"), ("flower", "/flower/healthcheck")])
def test_a_role_runs_in_the_foreground_past_strangers_in_the_folder_and_ends_when_asked(
    platform: Platform, anywhere: Command, role: str, path: str
) -> None:
    anywhere.environment |= {"DATABASE_URL": platform.database_url, "BROKER_URL": platform.broker_url}
    anywhere.environment |= {"PENSTOCK_FLOWER_PASSWORD": "open sesame"}
    for name in ("api", "tasks", "celery"):
        (anywhere.home / f"{name}.py").write_text("raise SystemExit('a stranger in the current folder')")
    port = free_port()
    command = [*PROGRAM, role, f"--port={port}"]
    with (anywhere.home / "log").open("wb") as log:
        process = subprocess.Popen(command, env=anywhere.process_environment(), cwd=anywhere.home, stderr=log)
    try:
        eventually(lambda: serves(port, path), 40, "it serves")
    finally:
        process.terminate()
    assert process.wait(20) in {0, -signal.SIGTERM}


def serves(port: int, path: str) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize(
    ("command", "word"),
    [
        (["worker", "--queues", "bulk", "--concurrency", "1"], "BROKER_URL is not set"),
        (["beat"], "BROKER_URL is not set"),
        (["api"], "BROKER_URL is not set"),
        (["flower"], "Flower cannot start: It has no password"),
        (["flower", "--basic-auth=me:secret"], "Flower cannot start: --basic_auth holds a secret"),
        (["worker", "--help"], "Usage"),
    ],
)
def test_a_role_becomes_its_own_process(platform: Platform, anywhere: Command, command: list[str], word: str) -> None:
    result = anywhere.process(*command, DATABASE_URL=platform.database_url)

    assert word in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


def test_the_local_stack_starts_in_the_background_and_stops(anywhere: Command) -> None:
    started = anywhere.process("up", "--detach", "--workers", 1, PENSTOCK_API_PORT=str(free_port()))
    try:
        assert started.returncode == 0, started.stderr
        job = anywhere.process("submit", "demo.echo", "-p", "message=hello", "--wait", 30, "--json")
        keys = anywhere.process("keys", "list")
        stack = json.loads((anywhere.home / "home" / "stack.json").read_text())
        logs = {path.name: path.read_text() for path in Path(stack["logs"]).iterdir()}
    finally:
        stopped = anywhere.process("stop")

    assert job.returncode == 0, job.stderr
    assert json.loads(job.stdout)["result"] == "hello"
    assert keys.stdout.split("\t")[1] == "local stack"
    assert len(stack["pids"]["worker"]) == 1
    assert "supervisor.log" in logs
    for secret in ("api_key", "flower_password"):
        assert [name for name, text in logs.items() if stack[secret] in text] == []
    assert "Penstock has stopped." in stopped.stdout
