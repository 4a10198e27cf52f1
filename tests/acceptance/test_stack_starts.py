"""Starting the local stack: what it says, what it writes, steps around, keeps, and refuses while it runs."""

import json
import socket
import subprocess
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.services import plain
from tests.services.ports import lasting_port
from tests.services.stack import Stack, eventually


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that runs, for tests that ask it and leave it as it is."""
    stack = Stack(tmp_path_factory.mktemp("served") / "home")
    try:
        yield stack.up()
    finally:
        stack.end()


def printed_commands(stack: Stack) -> list[str]:
    return [line.strip() for line in stack.said().splitlines() if line.strip().startswith("curl ")]


def run(command: str) -> dict[str, object]:
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True)
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def test_the_printed_lines_submit_a_job_and_show_it_succeeded(served: Stack) -> None:
    submit, look = printed_commands(served)

    submitted = run(submit)
    newest = run(look)

    assert (newest["id"], newest["state"], newest["result"]) == (submitted["id"], "succeeded", "hello")


def test_stack_json_says_what_the_terminal_says_to_its_owner_alone(served: Stack) -> None:
    facts = served.facts
    assert (served.home / "stack.json").stat().st_mode & 0o777 == 0o600
    for told in ("api_url", "api_key", "flower_url", "flower_user", "flower_password"):
        assert facts[told] in served.said()
    for name, url in facts["metrics_urls"].items():
        assert f"{url}   ({name})" in served.said()
    assert set(facts["pids"]) == {"supervisor", "postgresql", "valkey", "api", "worker", "beat", "flower"}
    assert len(facts["pids"]["worker"]) == 2
    assert set(facts["metrics_urls"]) == {"api", "worker-1", "worker-2", "beat"}


def test_every_process_of_ours_answers_for_its_metrics(served: Stack) -> None:
    for url in served.facts["metrics_urls"].values():
        eventually(lambda url=url: serves(url), 10.0, f"metrics at {url}")  # type: ignore[misc]  # binds the loop's value


def serves(url: str) -> bool:
    try:
        return plain.get(url).status_code == 200
    except httpx.TransportError:
        return False


def test_no_password_or_key_stands_in_a_command_line_or_a_log(served: Stack) -> None:
    facts = served.facts
    served.finished(served.submit("demo.echo", message="hello"))
    passwords = [facts[name].split("@")[0].rsplit(":", 1)[1] for name in ("database_url", "broker_url")]
    secrets = [*passwords, facts["api_key"], facts["flower_password"]]

    commands = "\n".join(" ".join(process.cmdline()) for process in served.processes())
    logs = "\n".join(log.read_text() for log in (served.home / "log").iterdir())

    assert [secret for secret in secrets if secret in commands] == []
    assert [secret for secret in secrets if secret in logs] == []


def test_flower_asks_for_its_password(served: Stack) -> None:
    facts = served.facts
    login = (facts["flower_user"], facts["flower_password"])
    eventually(lambda: answers(facts["flower_url"]), 20.0, "Flower answers")

    assert plain.get(facts["flower_url"]).status_code == 401
    assert plain.get(facts["flower_url"], auth=login, follow_redirects=True).status_code == 200


def answers(url: str) -> bool:
    try:
        return plain.get(url).status_code > 0
    except httpx.TransportError:
        return False


def test_a_second_start_keeps_jobs_key_and_passwords(stack: Stack) -> None:
    stack.up()
    first = stack.facts
    job_id = stack.submit("demo.echo", message="before")
    stack.finished(job_id)
    stack.interrupt()

    stack.up()

    assert stack.job(job_id)["result"] == "before"
    for kept in ("api_key", "flower_password", "database_url", "broker_url"):
        assert stack.facts[kept] == first[kept]


def test_taken_ports_are_stepped_around(new_stack: Callable[..., Stack]) -> None:
    port = lasting_port()  # of those that no outgoing connection gets: one would be talked to by itself
    with socket.create_server(("127.0.0.1", port)):
        stack = new_stack(PENSTOCK_API_PORT=str(port)).up()

        assert stack.facts["api_url"] != f"http://127.0.0.1:{port}"
        assert stack.finished(stack.submit("demo.noop"))["state"] == "succeeded"


def test_two_stacks_run_side_by_side_and_know_only_their_own_jobs(
    served: Stack, new_stack: Callable[..., Stack]
) -> None:
    other = new_stack(WORKERS="1").up()

    ours, theirs = served.submit("demo.noop"), other.submit("demo.noop")

    for stack, own, strange in ((served, ours, theirs), (other, theirs, ours)):
        assert stack.finished(own)["state"] == "succeeded"
        assert stack.call("GET", f"/api/v1/jobs/{strange}").status_code == 404


def test_a_second_supervisor_in_one_home_is_refused(served: Stack) -> None:
    refused = served.command("up")

    assert refused.returncode == 1
    assert f"pid {served.pids('supervisor')[0]}" in refused.stderr
    assert served.call("GET", "/ready").status_code == 200


def test_a_stack_that_runs_is_not_cleaned_away(served: Stack) -> None:
    refused = served.command("clean")

    assert refused.returncode == 1
    assert served.call("GET", "/ready").status_code == 200


def test_a_stack_that_cannot_start_says_why_and_leaves_nothing(new_stack: Callable[..., Stack]) -> None:
    stack = new_stack(DATABASE_URL="postgresql://nobody@127.0.0.1:1/nowhere")

    refused = stack.command("up")

    assert refused.returncode == 1
    assert "PostgreSQL" in refused.stderr
    assert not (stack.home / "stack.json").exists()
    assert not list(stack.home.glob("postgresql"))


def test_an_unknown_command_shows_the_known_ones(stack: Stack) -> None:
    asked = stack.command("dance")

    assert asked.returncode == 2
    assert "start it in the background" in asked.stderr


def test_a_choice_that_does_not_exist_is_refused_in_words(new_stack: Callable[..., Stack]) -> None:
    stack = new_stack(BROKER="kafka")

    refused = stack.command("up")

    assert refused.returncode == 1
    assert "BROKER=kafka" in refused.stderr
    assert not stack.home.exists()
