"""`penstock schedules` against a real API, a real beat and a real worker."""

import json
from datetime import UTC, datetime
from typing import Any

from tests.integration.cli.conftest import Command, plain
from tests.services.stack import eventually

NIGHTLY = ("nightly", "demo.echo", "-p", "message=good night", "--cron", "30 2 * * *", "--zone", "Europe/Berlin")
HOURLY = ("hourly", "demo.noop", "--every", "1h", "--queue", "bulk")


def put(penstock: Command, *arguments: object) -> Any:
    return penstock.json("schedules", "put", *arguments)


def test_a_schedule_is_written_listed_and_shown(penstock: Command) -> None:
    assert penstock("schedules", "put", *NIGHTLY).stdout == "nightly\n"
    put(penstock, *HOURLY)

    assert [line[:5] for line in penstock.lines("schedules", "list")] == [
        ["hourly", "every 3600 s", "UTC", "demo.noop", "running"],
        ["nightly", "30 2 * * *", "Europe/Berlin", "demo.echo", "running"],
    ]
    facts = dict(penstock.lines("schedules", "show", "nightly"))
    assert (facts["payload"], facts["overlap"]) == ('{"message": "good night"}', "allow")
    assert facts["catch_up"] == "latest, 86400 s back, 100 at the most"
    assert facts["fold"] == "A wall-clock time that happens twice runs once, the first time."


def test_every_option_arrives(penstock: Command) -> None:
    written = put(
        penstock, "all", "demo.noop", "--at", "2040-01-31T09:00", "--zone", "Asia/Tokyo", "--on-gap", "skip",
        "--on-fold", "both", "--jitter", "30s", "--start", "2030-01-01T00:00Z", "--end", "2050-01-01T00:00Z",
        "--missed-after", "5m", "--queue", "bulk", "--priority", 9, "--expires-after", "10m", "--unique-key", "k",
        "--tag", "a", "--tag", "b",
        "--retry-max", 3, "--time-limit", "20s", "--catch-up", "all", "--catch-up-window", "2h",
        "--catch-up-limit", 5, "--overlap", "cancel",
    )  # fmt: skip

    assert (written["at"], written["zone"]) == ("2040-01-31T09:00", "Asia/Tokyo")
    assert (written["on_gap"], written["on_fold"], written["jitter_seconds"]) == ("skip", "both", 30)
    assert (written["start_at"], written["end_at"]) == ("2030-01-01T00:00:00Z", "2050-01-01T00:00:00Z")
    assert (written["queue"], written["priority"], written["expires_after_seconds"]) == ("bulk", 9, 600)
    assert (written["unique_key"], written["tags"], written["retry"]["max_retries"]) == ("k", ["a", "b"], 3)
    assert (written["time_limit"]["hard_seconds"], written["overlap"]) == (20, "cancel")
    assert written["missed_after_seconds"] == 300
    assert written["catch_up"] == {"mode": "all", "window_seconds": 7200, "limit": 5}


def test_the_same_again_changes_nothing_and_new_means_new(penstock: Command) -> None:
    first = put(penstock, *NIGHTLY)

    assert put(penstock, *NIGHTLY) == first
    refused = penstock("schedules", "put", *NIGHTLY, "--new", code=2)
    assert "It is not what you know" in refused.stderr


def test_a_bad_timing_is_one_clear_line_and_its_field(penstock: Command) -> None:
    result = penstock("schedules", "put", "x", "demo.noop", "--cron", "61 * * * *", code=2)

    assert "Error: The timing cannot be kept" in result.stderr
    assert "  cron.minute: " in result.stderr
    assert penstock.lines("schedules", "list") == []


def test_a_preview_shows_what_a_change_of_the_clock_does(penstock: Command) -> None:
    put(penstock, *NIGHTLY)

    lines = penstock.lines("schedules", "preview", "nightly", "--count", 2, "--after", "2027-03-27T12:00Z")

    assert lines == [
        ["2027-03-28T01:00:00Z", "2027-03-28T03:00:00+02:00", "2027-03-28T01:00:00Z", "gap"],
        ["2027-03-29T00:30:00Z", "2027-03-29T02:30:00+02:00", "2027-03-29T00:30:00Z", ""],
    ]
    autumn = penstock.lines("schedules", "preview", "nightly", "--count", 2, "--after", "2027-10-30T12:00Z")
    assert [(at, runs_at) for at, _, runs_at, _ in autumn] == [
        ("2027-10-31T00:30:00Z", "2027-10-31T00:30:00Z"),
        ("2027-10-31T01:30:00Z", "skipped"),
    ]
    table = plain(penstock("schedules", "preview", "nightly", terminal=True).stdout)
    assert len(table.splitlines()) == 21


def test_a_schedule_runs_and_tells_of_it(penstock: Command) -> None:
    put(penstock, "pulse", "demo.noop", "--every", "1s")

    def decisions() -> list[list[str]]:
        return penstock.lines("schedules", "history", "pulse", "--decision", "fired")

    eventually(lambda: len(decisions()) >= 2, 30, "it has run twice")
    penstock("schedules", "pause", "pulse")
    (instant, decision, reason, job_id, count, *_) = decisions()[-1]
    assert (decision, reason, count) == ("fired", "on_time", "1")
    assert datetime.fromisoformat(instant) < datetime.now(UTC)
    assert penstock.json("job", job_id, "--wait", 30)["state"] == "succeeded"


def test_what_was_written_is_followed_by_its_next_instants(penstock: Command) -> None:
    shown = plain(penstock("schedules", "put", "x", "demo.noop", "--every", "1h30m", terminal=True).stdout)

    assert "every 5400 s" in shown
    assert len([line for line in shown.splitlines() if line.startswith("20")]) == 3


def test_a_preview_of_a_paused_schedule_says_so(penstock: Command) -> None:
    put(penstock, *HOURLY)
    penstock("schedules", "pause", "hourly")

    assert "It is paused since" in penstock("schedules", "preview", "hourly").stderr


def test_an_edit_may_depend_on_what_was_seen(penstock: Command) -> None:
    put(penstock, *HOURLY)
    seen = dict(penstock.lines("schedules", "show", "hourly"))["etag"]
    put(penstock, *HOURLY, "--if-match", seen, "--priority", 9)

    for command in ("pause", "resume", "trigger", "delete"):
        assert "not what you know" in penstock("schedules", command, "hourly", "--if-match", seen, code=2).stderr
    assert "not what you know" in penstock("schedules", "put", *HOURLY, "--if-match", seen, code=2).stderr
    several = penstock("schedules", "pause", "hourly", "nightly", "--if-match", seen, code=2)
    assert "goes with one name" in several.stderr


def test_pausing_resuming_and_deleting_take_several_names(penstock: Command) -> None:
    put(penstock, *NIGHTLY)
    put(penstock, *HOURLY)

    result = penstock("schedules", "pause", "nightly", "nobody", "hourly", code=2)
    assert result.stdout == "nightly\tpaused\nhourly\tpaused\n"
    assert "Error: nobody: There is no such thing" in result.stderr
    assert {line[0] for line in penstock.lines("schedules", "list", "--paused")} == {"nightly", "hourly"}

    assert penstock.lines("schedules", "resume", "nightly") == [["nightly", "resumed"]]
    assert [line[0] for line in penstock.lines("schedules", "list", "--running")] == ["nightly"]
    assert penstock.lines("schedules", "delete", "nightly", "hourly") == [["nightly", "deleted"], ["hourly", "deleted"]]
    assert penstock.lines("schedules", "list") == []


def test_a_trigger_prints_the_job_or_why_there_is_none(penstock: Command) -> None:
    put(penstock, *HOURLY, "--overlap", "skip")

    job_id = penstock("schedules", "trigger", "hourly").stdout.strip()
    second = penstock.lines("schedules", "trigger", "hourly", code=1)

    assert penstock.json("job", job_id)["task"] == "demo.noop"
    assert second == [["decision", "skipped"], ["reason", "overlap"], ["detail", f"Job {job_id} has not finished."]]


def test_a_triggered_job_can_be_waited_for(penstock: Command) -> None:
    put(penstock, *NIGHTLY)

    assert penstock.json("schedules", "trigger", "nightly", "--wait", 30)["result"] is not None


def test_a_backfill_is_planned_and_made(penstock: Command) -> None:
    put(penstock, *NIGHTLY, "--queue", "bulk")
    span = ("--from", "2026-01-01T00:00Z", "--to", "2026-01-02T23:59Z")

    planned = penstock.lines("schedules", "backfill", "nightly", *span, "--dry-run")
    made = penstock.lines("schedules", "backfill", "nightly", *span)
    again = penstock.lines("schedules", "backfill", "nightly", *span)

    assert [line[2] for line in planned] == ["would be fired"] * 2
    assert [line[2] for line in made] == ["fired"] * 2
    assert [line[2] for line in again] == ["has a job"] * 2
    assert [line[3] for line in again] == [line[3] for line in made]


def test_programs_get_json(penstock: Command) -> None:
    put(penstock, *NIGHTLY)
    put(penstock, *HOURLY)

    shown = penstock("schedules", "list", "--json").stdout.splitlines()
    facts = penstock.json("schedules", "show", "nightly")

    assert [json.loads(line)["name"] for line in shown] == ["hourly", "nightly"]
    assert facts["clock_rules"]["zone"] == "Europe/Berlin"


def test_a_terminal_gets_tables(penstock: Command) -> None:
    assert "No schedules." in plain(penstock("schedules", "list", terminal=True).stdout)
    put(penstock, *NIGHTLY)

    shown = plain(penstock("schedules", "list", terminal=True).stdout)

    assert "name" in shown
    assert "30 2 * * *" in shown
    assert "Nothing was decided yet." in plain(penstock("schedules", "history", "nightly", terminal=True).stdout)
