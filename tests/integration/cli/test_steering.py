"""`penstock cancel`, `retry`, `replay` and `discard` against a real API and a real worker."""

import json

from tests.integration.cli.conftest import Command
from tests.integration.cli.gateway import Gateway

LATER = ("--queue", "bulk", "--delay", "1h")
NOBODY = "00000000-0000-7000-8000-000000000000"


def waiting(penstock: Command, count: int = 2) -> list[str]:
    return [line[0] for line in penstock.lines("submit", "demo.noop", *LATER, "--count", count)]


def failed(penstock: Command, *arguments: object) -> str:
    job_id: str = penstock.json("submit", *(arguments or ("demo.fail",)), "--wait", 30, code=1)["id"]
    return job_id


def test_several_jobs_are_cancelled(penstock: Command) -> None:
    ids = waiting(penstock)

    assert penstock.lines("cancel", *ids) == [[one, "cancelled"] for one in ids]
    assert {line[0] for line in penstock.lines("jobs", "--state", "cancelled")} == set(ids)


def test_one_that_is_refused_does_not_hold_up_the_others(penstock: Command) -> None:
    first, last = waiting(penstock)

    result = penstock("cancel", first, NOBODY, last, code=2)

    assert result.stdout == f"{first}\tcancelled\n{last}\tcancelled\n"
    assert f"Error: {NOBODY}: There is no such thing" in result.stderr


def test_a_wrong_key_ends_it_at_the_first(penstock: Command, gateway: Gateway) -> None:
    ids = waiting(penstock)
    gateway.paths.clear()

    result = penstock("cancel", *ids, code=2, PENSTOCK_API_KEY="pns_wrong")

    assert "Error: No valid API key" in result.stderr
    assert "`penstock keys create` makes a key." in result.stderr
    assert len(gateway.paths) == 1


def test_a_change_whose_answer_was_lost_is_not_asked_for_again(penstock: Command, gateway: Gateway) -> None:
    job_id = failed(penstock)
    gateway.paths.clear()
    gateway.faults = ["lose"]

    result = penstock("retry", job_id, code=2)

    assert "Error: No API answers at " in result.stderr
    assert len(gateway.paths) == 1


def test_a_failed_job_is_retried_under_its_own_id(penstock: Command) -> None:
    job_id = failed(penstock)

    answer = penstock.json("retry", job_id)

    assert answer["id"] == job_id
    assert answer["state"] in {"queued", "running", "failed"}
    penstock("job", job_id, "--wait", 30, code=1)
    assert len(penstock.json("job", job_id, "--attempts")["attempts"]) == 2


def test_a_job_in_the_wrong_state_says_which(penstock: Command) -> None:
    job_id = penstock.json("submit", "demo.noop", "--wait", 30)["id"]

    assert "  state: succeeded" in penstock("retry", job_id, code=2).stderr


def test_a_replay_is_a_new_job_with_another_payload(penstock: Command) -> None:
    job_id = failed(penstock, "demo.flaky", "-p", "failures=1", "--retry-max", 0)

    new_id = penstock.lines("replay", job_id, "--payload", '{"failures": 0}')[0][0]

    assert new_id != job_id
    job = penstock.json("job", new_id, "--wait", 30)
    assert (job["replay_of"], job["payload"], job["state"]) == (job_id, {"failures": 0}, "succeeded")
    assert penstock.lines("dead-letters") == []


def test_a_replay_whose_answer_was_lost_happens_once(penstock: Command, gateway: Gateway) -> None:
    job_id = failed(penstock)
    gateway.faults = ["lose"]

    penstock("replay", job_id)

    assert len(penstock.lines("jobs")) == 2


def test_all_dead_letters_that_the_filters_let_by_are_replayed(penstock: Command) -> None:
    permanent, other = failed(penstock), failed(penstock, "demo.flaky", "-p", "failures=1", "--retry-max", 0)

    result = penstock("replay", "--all", "--task", "demo.fail", "--reason", "permanent", "--json")

    new = [json.loads(line)["id"] for line in result.stdout.splitlines()]
    assert [penstock.json("job", one)["replay_of"] for one in new] == [permanent]
    penstock("job", new[0], "--wait", 30, code=1)
    assert {line[0] for line in penstock.lines("dead-letters")} == {other, new[0]}


def test_replaying_needs_ids_or_all_of_them(penstock: Command) -> None:
    assert "give either ids or --all" in penstock("replay", code=2).stderr
    assert "give either ids or --all" in penstock("replay", NOBODY, "--all", code=2).stderr
    assert "--task and --reason narrow --all" in penstock("replay", NOBODY, "--task", "demo.fail", code=2).stderr


def test_a_discarded_dead_letter_is_off_the_list_and_stays_readable(penstock: Command) -> None:
    job_id = failed(penstock)

    assert penstock.lines("discard", job_id) == [[job_id, "discarded"]]
    assert penstock.lines("dead-letters") == []
    assert penstock.json("job", job_id)["state"] == "failed"
    assert penstock.lines("discard", NOBODY, code=2) == []


def test_a_terminal_shows_how_far_it_is(penstock: Command) -> None:
    ids = waiting(penstock, 3)

    result = penstock("cancel", *ids, terminal=True)

    assert "Cancelling" in result.stderr
    assert "3/3" in result.stderr
