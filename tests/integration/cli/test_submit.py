"""`penstock submit` against a real API and a real worker."""

import json
import subprocess
import uuid

from deploy.cli.submitting import BATCH
from tests.integration.cli.conftest import Command, Platform
from tests.integration.cli.gateway import Gateway
from tests.services.api_process import ApiProcess
from tests.services.stack import eventually

LATER = ("--queue", "bulk", "--delay", "1h")


def test_a_pipe_gets_the_id_alone(penstock: Command) -> None:
    result = penstock("submit", "demo.noop", *LATER)

    assert uuid.UUID(result.stdout.strip()).version == 7
    assert result.stderr == ""


def test_every_option_reaches_the_job(penstock: Command) -> None:
    options = ("--priority", 9, "--expires-at", "2035-01-01T00:00Z", "--unique-key", "u", "--tag", "a", "--tag", "b")
    accepted = penstock.json(
        "submit", "demo.sleep", "-p", "seconds=1.5", *LATER, *options, "--retry-max", 3, "--time-limit", "2m"
    )

    job = penstock.json("job", accepted["id"])
    assert job["payload"] == {"seconds": 1.5}
    assert (job["queue"], job["state"], job["priority"], job["tags"]) == ("bulk", "scheduled", 9, ["a", "b"])
    assert (job["unique_key"], job["expires_at"]) == ("u", "2035-01-01T00:00:00Z")
    assert job["retry"]["max_retries"] == 3
    assert job["time_limit_seconds"] == 120


def test_a_time_of_day_is_this_machines(penstock: Command) -> None:
    accepted = penstock.process("submit", "demo.noop", "--run-at", "2035-07-01T12:00", TZ="Europe/Berlin")

    assert penstock.json("job", accepted.stdout.strip())["run_at"] == "2035-07-01T10:00:00Z"


def test_a_payload_comes_from_a_file_or_from_standard_input(penstock: Command) -> None:
    file = penstock.home / "payload.json"
    file.write_text('{"message": "from a file"}')
    penstock.input = '{"message": "from a pipe"}'

    from_file = penstock.json("submit", "demo.echo", "--payload-file", file, *LATER)
    from_pipe = penstock.json("submit", "demo.echo", "--payload-file", "-", *LATER)

    assert penstock.json("job", from_file["id"])["payload"] == {"message": "from a file"}
    assert penstock.json("job", from_pipe["id"])["payload"] == {"message": "from a pipe"}


def test_waiting_ends_with_the_job_and_0_for_success(penstock: Command) -> None:
    job = penstock.json("submit", "demo.echo", "-p", "message=hello", "--wait", 30)

    assert (job["state"], job["result"]) == ("succeeded", "hello")


def test_waiting_ends_with_1_for_a_failure(penstock: Command) -> None:
    result = penstock("submit", "demo.fail", "--wait", 30, code=1)

    assert "state\tfailed\n" in result.stdout
    assert "error\tjobs.errors.PermanentError: " in result.stdout


def test_waiting_ends_with_3_when_the_time_is_over_first(penstock: Command) -> None:
    result = penstock("submit", "demo.noop", *LATER, "--wait", "200ms", code=3)

    assert "state\tscheduled\n" in result.stdout


def test_a_terminal_shows_what_was_accepted_and_how_to_look_at_it(penstock: Command) -> None:
    result = penstock("submit", "demo.noop", *LATER, terminal=True)

    assert "scheduled" in result.stdout
    assert "Look at it with: penstock job " in result.stderr


def test_a_terminal_shows_state_attempt_and_the_jobs_own_progress(penstock: Command) -> None:
    result = penstock("submit", "demo.progress", "-p", "steps=4", "-p", "seconds=2", "--wait", 30, terminal=True)

    assert "running · attempt 1 · step " in result.stderr
    assert "succeeded" in result.stdout


def test_many_go_in_batches_and_their_ids_come_out(penstock: Command) -> None:
    lines = penstock.lines("submit", "demo.noop", *LATER, "--count", BATCH + 5)

    assert len({line[0] for line in lines}) == BATCH + 5
    assert len(penstock.lines("jobs", "--all")) == BATCH + 5


def test_many_as_json_are_a_document_each(penstock: Command) -> None:
    result = penstock("submit", "demo.noop", *LATER, "--count", 3, "--json")

    assert [list(json.loads(line)) for line in result.stdout.splitlines()] == [["id"]] * 3
    assert "Accepted 3 jobs in " in result.stderr


def test_many_on_a_terminal_are_counted_and_not_listed(penstock: Command) -> None:
    result = penstock("submit", "demo.noop", *LATER, "--count", 3, terminal=True)

    assert "Accepted 3 jobs in " in result.stderr
    assert result.stdout == ""


def test_waiting_for_many_counts_their_states(penstock: Command) -> None:
    result = penstock("submit", "demo.noop", "--count", 20, "--wait", 60)

    assert result.stdout == "succeeded\t20\n"


def test_waiting_for_many_ends_with_1_when_any_failed(penstock: Command) -> None:
    assert penstock.json("submit", "demo.fail", "--count", 2, "--wait", 60, code=1) == {"failed": 2}


def test_waiting_for_many_ends_with_3_when_any_is_unfinished(penstock: Command) -> None:
    assert penstock.json("submit", "demo.noop", *LATER, "--count", 2, "--wait", "100ms", code=3) == {"scheduled": 2}


def test_the_same_key_is_one_job(penstock: Command) -> None:
    first = penstock("submit", "demo.noop", *LATER, "--idempotency-key", "once")
    second = penstock("submit", "demo.noop", *LATER, "--idempotency-key", "once")

    assert first.stdout == second.stdout
    assert "accepted before" in second.stderr
    assert len(penstock.lines("jobs")) == 1


def test_the_same_key_for_many_is_the_same_many(penstock: Command) -> None:
    command = ("submit", "demo.noop", *LATER, "--count", BATCH + 1, "--idempotency-key", "once")

    assert penstock(*command).stdout == penstock(*command).stdout
    assert len(penstock.lines("jobs", "--all")) == BATCH + 1


def test_an_answer_that_was_lost_makes_no_second_job(penstock: Command, gateway: Gateway) -> None:
    gateway.faults = ["lose"]

    result = penstock("submit", "demo.noop", *LATER)

    assert "Trying again in " in result.stderr
    assert gateway.keys[0] is not None
    assert gateway.keys[0] == gateway.keys[1]
    assert [line[0] for line in penstock.lines("jobs")] == [result.stdout.strip()]


def test_a_busy_api_is_asked_again(penstock: Command, gateway: Gateway) -> None:
    gateway.faults = ["busy", "busy"]

    penstock("submit", "demo.noop", *LATER)

    assert len(penstock.lines("jobs")) == 1


def test_who_gives_up_is_told_the_key_that_makes_a_second_try_safe(penstock: Command, gateway: Gateway) -> None:
    gateway.faults = ["lose"] * 100

    command = ("submit", "demo.noop", *LATER)
    result = penstock(*command, code=2)

    key = result.stderr.rpartition("--idempotency-key ")[2].strip()
    gateway.faults = []
    assert "accepted before" in penstock(*command, "--idempotency-key", key).stderr
    assert len(penstock.lines("jobs")) == 1


def test_a_page_of_another_server_is_told_from_an_answer(penstock: Command, gateway: Gateway) -> None:
    gateway.faults = ["page", "other", "text"]

    page = penstock("submit", "demo.noop", code=2)
    other = penstock("tasks", code=2)
    text = penstock("tasks", code=2)

    assert "Error: 127.0.0.1 answered 404, and not as Penstock's API does." in page.stderr
    for found in (other, text):
        assert "Error: 127.0.0.1 answered 200, and not as Penstock's API does." in found.stderr


def test_an_api_that_starts_a_little_later_gets_the_job_once(penstock: Command, platform: Platform) -> None:
    with (
        ApiProcess(penstock.home, database_url=platform.database_url, broker_url=platform.broker_url) as api,
        penstock.started("submit", "demo.noop", *LATER, PENSTOCK_API_URL=api.url) as waiting,
    ):
        assert "Trying again in " in first_words(waiting)
        api.start()
        out, err = waiting.communicate(timeout=30)

    assert waiting.returncode == 0, err
    assert [line[0] for line in penstock.lines("jobs")] == [out.strip()]


def test_waiting_goes_on_while_the_api_is_away(penstock: Command, platform: Platform) -> None:
    with ApiProcess(penstock.home, database_url=platform.database_url, broker_url=platform.broker_url) as api:
        api.start()
        job_id = penstock("submit", "demo.sleep", "-p", "seconds=3").stdout.strip()
        with penstock.started("job", job_id, "--wait", 60, "--json", PENSTOCK_API_URL=api.url) as waiting:
            eventually(lambda: penstock.json("job", job_id)["state"] == "running", 20, "the job runs")
            api.kill()
            assert "Trying again in " in first_words(waiting)
            api.start()
            out, err = waiting.communicate(timeout=60)

    assert waiting.returncode == 0, err
    assert json.loads(out)["state"] == "succeeded"


def first_words(process: "subprocess.Popen[str]") -> str:
    assert process.stderr is not None
    return process.stderr.readline()
