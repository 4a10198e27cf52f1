"""The checker reads a real database: a sound life passes, whatever it went through, and a bent row is found."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine, delete

from deploy.stack.home import ROOT
from jobs import control
from jobs.database import transaction
from jobs.model import JobId
from jobs.state import Reason
from jobs.tables import jobs
from tests.chaos.checker import check, check_run
from tests.chaos.history import Terms, read_history
from tests.chaos.ledger import Ledger, Status, Submission, Wanted
from tests.chaos.report import Report
from tests.chaos.tables import DUMPED, Tables, dump
from tests.factories import cancelled, failure, release, rescue, retry, success, throttled
from tests.integration.jobs import scenes

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def lead_many_lives(engine: Engine) -> None:
    """Bring jobs through everything that can happen to one."""
    scenes.scheduled(engine)
    scenes.running(engine)
    for verdict in (success(), retry(), throttled(), failure(), release(), rescue(), cancelled()):
        scenes.ended(engine, verdict, unique_key="one" if verdict.result else None)
    scenes.ended(engine, success(), unique_key="one")
    dead = scenes.ended(engine, failure(Reason.PERMANENT))
    with transaction(engine) as connection:
        control.retry(connection, dead)
    scenes.start(engine, dead)
    scenes.taken_over(engine)


def checked(url: str) -> Report:
    """Return what the checker says of a database whose leases were made to run out by hand."""
    return check_run(url, terms=Terms(lease_seconds=0))


def test_lives_of_every_kind_pass(engine: Engine, database_url: str) -> None:
    lead_many_lives(engine)

    report = checked(database_url)

    assert report.violations == []
    assert report.counts.jobs == scenes.stored(engine)
    assert report.facts["transitions-legal"] > report.counts.jobs


def test_a_refused_end_is_counted_and_passes(engine: Engine, database_url: str) -> None:
    old, new = scenes.taken_over(engine)
    assert scenes.end(engine, old, success()) is None
    scenes.end(engine, new, success())

    report = checked(database_url)

    assert report.violations == []
    assert report.counts.fenced == 1


def test_a_row_that_was_bent_is_found(engine: Engine, database_url: str) -> None:
    lead_many_lives(engine)
    bent = scenes.ended(engine, success())
    scenes.change(engine, bent, error_count=7)

    assert [(one.invariant, one.job_id) for one in checked(database_url).violations] == [("counts-agree", bent)]


def test_what_is_left_of_a_job_without_its_row_is_found(engine: Engine, database_url: str) -> None:
    gone, kept = scenes.ended(engine, success()), scenes.ended(engine, success())
    with transaction(engine) as connection:
        connection.execute(delete(jobs).where(jobs.c.id == gone))

    report = checked(database_url)

    assert [(one.invariant, one.job_id) for one in report.violations] == [("no-orphans", gone)]
    assert report.counts.jobs == 1
    assert scenes.state(engine, kept) == "succeeded"


def test_the_tables_are_read_as_they_were_at_one_moment(engine: Engine, database_url: str) -> None:
    job_id = scenes.queued(engine)

    with read_history(database_url) as history:
        (attempt,) = scenes.start(engine, job_id)
        scenes.end(engine, attempt, success())
        (life,) = history.lives

    assert life.job is not None
    assert life.job.state == "queued"
    assert (life.attempts, [event.name for event in life.events]) == ([], ["accept"])


def test_each_life_is_shown_to_who_watches(engine: Engine, database_url: str) -> None:
    made = {scenes.queued(engine), scenes.ended(engine, retry())}
    seen: dict[JobId, int] = {}

    with read_history(database_url) as history:
        check(history, watch=lambda life: seen.update({life.job_id: len(life.attempts)}))

    assert set(seen) == made
    assert sorted(seen.values()) == [0, 1]


def command(url: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the checker as people do."""
    return subprocess.run(
        [sys.executable, "-m", "tests.chaos.checker", *arguments],
        env={**os.environ, "CHECKED": url},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_command_shows_what_it_looked_at_and_ends_well(engine: Engine, database_url: str, tmp_path: Path) -> None:
    scenes.ended(engine, success())

    ended = command(
        database_url, "--database-url-from-env", "CHECKED", "--drained", "--json", str(tmp_path / "report.json")
    )

    assert ended.returncode == 0, ended.stderr
    assert "transitions-legal" in ended.stdout
    assert "no violation" in ended.stdout
    assert json.loads((tmp_path / "report.json").read_text())["counts"]["jobs"] == 1


def test_the_command_ends_badly_when_an_acknowledged_job_is_lost(database_url: str, tmp_path: Path) -> None:
    lost = JobId(int=7)
    told = Submission(status=Status.ACKNOWLEDGED, sent_at=NOW, job_ids=(lost,), jobs=(Wanted(task="chaos.quick"),))
    with Ledger(tmp_path / "ledger") as ledger:
        ledger.write(told)

    ended = command(database_url, "--database-url-from-env", "CHECKED", "--ledger", str(tmp_path / "ledger"))

    assert ended.returncode == 1, ended.stderr
    assert "acknowledged-kept" in ended.stdout
    assert str(lost) in ended.stdout


def test_the_command_asks_for_the_database(database_url: str) -> None:
    ended = command(database_url, "--database-url-from-env", "NOT_SET")

    assert ended.returncode == 2
    assert "NOT_SET" in ended.stderr


def test_who_passes_a_job_by_is_counted(engine: Engine, database_url: str) -> None:
    before = scenes.database_now(engine)
    first = scenes.queued(engine)
    for _ in range(3):
        scenes.running(engine)
    scenes.running(engine, priority=9)
    scenes.running(engine, queue="bulk")
    scenes.queued(engine)
    tables = Tables(database_url)

    lines = tables.lines()

    assert lines.passed_by(first, before, scenes.database_now(engine)) == 3
    assert lines.passed_by(first, before, before) == 0
    tables.close()


def test_the_tables_of_a_run_that_failed_are_kept(engine: Engine, database_url: str, tmp_path: Path) -> None:
    lead_many_lives(engine)

    dump(database_url, tmp_path / "tables")

    kept = {table: (tmp_path / "tables" / f"{table}.csv").read_text().splitlines() for table in DUMPED}
    assert {table for table, lines in kept.items() if len(lines) > 1} >= {"jobs", "attempts", "events"}
