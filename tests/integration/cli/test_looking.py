"""`penstock job`, `jobs`, `tasks` and `dead-letters` against a real API and a real worker."""

import json
import shlex
from typing import Any

import pytest

from tests.integration.cli.conftest import Command, plain
from tests.integration.cli.gateway import Gateway
from tests.services.stack import eventually

LATER = ("--queue", "bulk", "--delay", "1h")


def submitted(penstock: Command, *arguments: object) -> str:
    return penstock("submit", *arguments).stdout.strip()


def test_a_job_is_shown_with_its_result_and_timings(penstock: Command) -> None:
    job_id = penstock.json("submit", "demo.echo", "-p", "message=hello", "--wait", 30)["id"]

    facts = dict(line for line in penstock.lines("job", job_id))
    assert (facts["state"], facts["result"], facts["payload"]) == ("succeeded", '"hello"', '{"message": "hello"}')
    assert float(facts["total_seconds"]) > 0
    assert "error" not in facts


def test_the_attempts_of_a_job_are_shown_with_their_errors(penstock: Command) -> None:
    job_id = penstock.json("submit", "demo.flaky", "-p", "failures=1", "--wait", 30)["id"]

    result = penstock("job", job_id, "--attempts", terminal=True)

    first, second = plain(result.stdout).partition("Attempts")[2].strip().splitlines()[1:3]
    assert first.startswith("1       errored")
    assert "DemoError: Attempt 1 of 1 that fail." in first
    assert second.startswith("2       succeeded")


def test_an_attempt_that_goes_on_is_running_and_has_no_end_yet(penstock: Command) -> None:
    job_id = submitted(penstock, "demo.sleep", "-p", "seconds=60")
    eventually(lambda: penstock.json("job", job_id)["state"] == "running", 20, "the job runs")

    attempt = penstock.lines("job", job_id, "--attempts")[-1]
    penstock("cancel", job_id)

    assert (attempt[0], attempt[1], attempt[4], attempt[5]) == ("1", "running", "", "")


def test_the_events_of_a_job_are_shown_in_order(penstock: Command) -> None:
    job_id = penstock.json("submit", "demo.noop", "--wait", 30)["id"]

    found = penstock.json("job", job_id, "--events", "--attempts")

    assert [one["seq"] for one in found["events"]] == list(range(1, len(found["events"]) + 1))
    assert [one["outcome"] for one in found["attempts"]] == ["succeeded"]
    last = penstock.lines("job", job_id, "--events")[-1]
    assert last[:1] + last[3:5] == [str(len(found["events"])), "succeeded", "1"]


def test_the_log_of_a_job_is_shown_in_order(penstock: Command) -> None:
    job_id = penstock.json("submit", "demo.progress", "-p", "steps=2", "-p", "seconds=0.1", "--wait", 30)["id"]

    assert [(one["event"], one["facts"]) for one in penstock.json("job", job_id, "--logs")["logs"]] == [
        ("step_done", {"step": 1}),
        ("step_done", {"step": 2}),
    ]
    assert penstock.lines("job", job_id, "--logs")[-1][1:] == ["1", "info", "step_done", "step=2"]
    assert (
        "Nothing was logged."
        in penstock("job", submitted(penstock, "demo.noop", *LATER), "--logs", terminal=True).stdout
    )


def test_a_job_without_an_attempt_says_so(penstock: Command) -> None:
    job_id = submitted(penstock, "demo.noop", *LATER)

    assert "No attempt yet." in penstock("job", job_id, "--attempts", terminal=True).stdout


def test_waiting_for_a_job_tells_by_the_exit_code_how_it_ended(penstock: Command) -> None:
    good, bad = submitted(penstock, "demo.noop"), submitted(penstock, "demo.fail")
    never = submitted(penstock, "demo.noop", *LATER)

    penstock("job", good, "--wait", 30, code=0)
    penstock("job", bad, "--wait", 30, code=1)
    penstock("job", never, "--wait", "100ms", code=3)
    penstock("job", bad, code=0)


def test_an_unknown_job_is_a_refusal_with_a_cure(penstock: Command) -> None:
    result = penstock("job", "00000000-0000-7000-8000-000000000000", code=2)

    assert result.stderr.startswith("Error: There is no such thing: ")
    assert "`penstock jobs` and `penstock schedules list` show what this key can see." in result.stderr


def test_an_id_that_is_none_is_refused_before_anything_is_asked(anywhere: Command) -> None:
    assert "valid UUID" in anywhere("job", "42", code=2).stderr


def test_what_a_job_carries_cannot_steer_the_terminal(penstock: Command) -> None:
    job_id = submitted(penstock, "demo.noop", *LATER, "--tag", "\x9b2J[red]")

    for result in (penstock("job", job_id, terminal=True), penstock("jobs", terminal=True), penstock("jobs")):
        assert "\x9b" not in result.stdout
        assert "\\x9b2J[red]" in result.stdout


def test_jobs_are_found_by_all_that_narrows(penstock: Command) -> None:
    wanted = submitted(penstock, "demo.echo", "-p", "message=x", *LATER, "--tag", "a")
    submitted(penstock, "demo.noop", *LATER, "--tag", "a")
    submitted(penstock, "demo.echo", "-p", "message=x", *LATER)

    found = penstock.lines("jobs", "--task", "demo.echo", "--tag", "a", "--queue", "bulk", "--state", "scheduled")

    assert [line[:4] for line in found] == [[wanted, "demo.echo", "scheduled", "bulk"]]
    assert found[0][-1] == "a"


def test_jobs_are_listed_newest_first_as_many_as_wanted(penstock: Command, gateway: Gateway) -> None:
    ids = [line[0] for line in penstock.lines("submit", "demo.noop", *LATER, "--count", 230)]
    gateway.paths.clear()

    assert {line[0] for line in penstock.lines("jobs", "--limit", 210)} <= set(ids)
    assert len(penstock.lines("jobs", "--limit", 210)) == 210
    assert len(penstock.lines("jobs")) == 50
    assert {line[0] for line in penstock.lines("jobs", "--all")} == set(ids)
    assert ["limit=200" in path for path in gateway.paths] == [True, False, True, False, False, True, True]


def test_jobs_as_json_are_a_document_each(penstock: Command) -> None:
    ids = {line[0] for line in penstock.lines("submit", "demo.noop", *LATER, "--count", 3)}

    found = [json.loads(line) for line in penstock("jobs", "--json").stdout.splitlines()]

    assert {job["id"] for job in found} == ids


def test_a_terminal_gets_a_table_with_a_heading(penstock: Command) -> None:
    job_id = submitted(penstock, "demo.noop", *LATER)

    heading, row = plain(penstock("jobs", terminal=True).stdout).splitlines()

    assert heading.split()[:4] == ["id", "task", "state", "queue"]
    assert row.split()[:4] == [job_id, "demo.noop", "scheduled", "bulk"]


def test_an_empty_list_says_so_to_people_alone(penstock: Command) -> None:
    assert plain(penstock("jobs", terminal=True).stdout) == "No jobs.\n"
    assert plain(penstock("dead-letters", terminal=True).stdout) == "No dead letters.\n"
    assert penstock("jobs").stdout == penstock("dead-letters").stdout == ""


def test_dead_letters_are_listed_with_reason_and_error(penstock: Command) -> None:
    job_id = penstock.json("submit", "demo.fail", "--wait", 30, code=1)["id"]

    found = penstock.lines("dead-letters", "--task", "demo.fail", "--reason", "permanent")

    assert [line[:3] for line in found] == [[job_id, "demo.fail", "permanent"]]
    assert found[0][3].endswith("PermanentError: This demo task fails for good.")
    assert penstock.lines("dead-letters", "--reason", "exhausted") == []
    assert json.loads(penstock("dead-letters", "--json").stdout)["id"] == job_id


def test_the_catalogue_lists_every_task(penstock: Command) -> None:
    names = [line[0] for line in penstock.lines("tasks")]

    assert {"demo.echo", "http.request", "email.send"} <= set(names)
    assert [json.loads(line)["name"] for line in penstock("tasks", "--json").stdout.splitlines()] == names


def test_a_task_is_shown_with_its_schema_and_a_command(penstock: Command) -> None:
    result = penstock("tasks", "demo.sleep", terminal=True)

    assert "(required)" in result.stdout
    assert '"properties"' in result.stdout
    assert "penstock submit demo.sleep -p seconds=" in result.stdout


def test_a_task_that_takes_nothing_says_so(penstock: Command) -> None:
    assert "It takes nothing." in penstock("tasks", "demo.noop", terminal=True).stdout


def test_a_name_that_is_nearly_right_is_put_right(penstock: Command) -> None:
    assert "Did you mean demo.echo?" in penstock("tasks", "demo.ecoh", code=2).stderr
    assert "`penstock tasks` lists them." in penstock("tasks", "zzz", code=2).stderr


def test_the_example_of_every_task_is_accepted(penstock: Command) -> None:
    tasks: list[dict[str, Any]] = [json.loads(line) for line in penstock("tasks", "--json").stdout.splitlines()]

    for task in tasks:
        facts = dict(line for line in penstock.lines("tasks", task["name"]) if len(line) == 2)
        program, *words = shlex.split(facts["example"])
        assert program == "penstock"
        penstock(*words[:-2], *LATER)


@pytest.mark.parametrize(
    "command", [["job"], ["cancel"], ["tasks", "a", "b"], ["jobs", "--state", "asleep"], ["nothing"]]
)
def test_a_command_that_makes_no_sense_is_refused(anywhere: Command, command: list[str]) -> None:
    anywhere(*command, code=2)
