"""The schema: how it comes and goes, that it is what the code says, and what it refuses by itself."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from psycopg import errors as postgres
from sqlalchemy import Engine, Table, insert, inspect, text
from sqlalchemy.exc import IntegrityError

from jobs import migrations
from jobs.database import transaction
from jobs.model import new_job_id
from jobs.state import JobState
from jobs.tables import (
    api_keys,
    attempts,
    idempotency_keys,
    job_logs,
    jobs,
    metadata,
    occurrences,
    paused_queues,
    schedules,
)
from tests.factories import success
from tests.integration.jobs import scenes
from tests.services.databases import connect_to

NOW = datetime.now(UTC)
LATER = datetime(2100, 1, 1, tzinfo=UTC)  # the same in every process that collects the tests


@pytest.fixture
def own_engine(database_url: str) -> Iterator[Engine]:
    """An engine on a migrated database that the test may take apart."""
    opened = connect_to(database_url)
    yield opened
    opened.dispose()


# Migrations


def test_the_schema_comes_and_goes_and_comes_again_with_data_in_it(own_engine: Engine) -> None:
    scenes.ended(own_engine, success())
    assert migrations.current(own_engine) == migrations.head()

    migrations.downgrade(own_engine, "base")
    assert migrations.current(own_engine) is None
    assert inspect(own_engine).get_table_names() == ["alembic_version"]

    migrations.upgrade(own_engine)
    assert migrations.current(own_engine) == migrations.head()
    scenes.assert_sound(own_engine, scenes.ended(own_engine, success()))


def test_upgrading_again_changes_nothing(own_engine: Engine) -> None:
    job_id = scenes.ended(own_engine, success())
    migrations.upgrade(own_engine)

    scenes.assert_sound(own_engine, job_id)


def test_of_several_that_upgrade_at_once_one_does_the_work(empty_url: str, empty_engine: Engine) -> None:
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(command, [empty_url] * 3))

    assert [one.stderr for one in done if one.returncode != 0] == []
    assert migrations.current(empty_engine) == migrations.head()


def test_the_schema_is_what_the_tables_say(engine: Engine) -> None:
    with engine.connect() as connection:
        options: dict[str, Any] = {"compare_type": True, "compare_server_default": True}
        options |= {"include_name": migrations.without_partitions(connection)}
        context = MigrationContext.configure(connection, opts=options)

        assert compare_metadata(context, metadata) == []


def test_indexes_and_checks_are_told_alike_by_the_migration_and_the_tables(
    engine: Engine, empty_engine: Engine
) -> None:
    metadata.create_all(empty_engine)

    assert described(engine) == described(empty_engine)
    assert len(described(engine)) > 100


def test_the_triggers_are_those_of_the_census(engine: Engine) -> None:
    query = text("""
        SELECT tgrelid::regclass::text, tgname, tgfoid::regproc::text, tgenabled::text FROM pg_trigger
        WHERE NOT tgisinternal""")
    with engine.connect() as connection:
        found = {tuple(row) for row in connection.execute(query)}

    names = [f"census_{moves}" for moves in ("insert", "update", "delete")]
    assert found == {("jobs", name, name, "O") for name in names}


def described(engine: Engine) -> set[tuple[str, ...]]:
    """Return every index, constraint, column and partition key as PostgreSQL itself puts it, partitions left out."""
    query = text("""
        WITH ours AS (
            SELECT oid, oid::regclass::text AS name FROM pg_class
            WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = 'public'::regnamespace
              AND relname <> 'alembic_version'
        )
        SELECT 'index', indexrelid::regclass::text, pg_get_indexdef(indexrelid)
          FROM pg_index JOIN ours ON ours.oid = indrelid
        UNION ALL
        SELECT name, conname, pg_get_constraintdef(pg_constraint.oid)
          FROM pg_constraint JOIN ours ON ours.oid = conrelid WHERE contype <> 'n'
        UNION ALL
        SELECT name, attname, concat(format_type(atttypid, atttypmod), attnotnull, col_description(attrelid, attnum))
          FROM pg_attribute JOIN ours ON ours.oid = attrelid WHERE attnum > 0 AND NOT attisdropped
        UNION ALL
        SELECT name, 'partitioned', coalesce(pg_get_partkeydef(oid), '') FROM ours""")
    with engine.connect() as connection:
        return {tuple(row) for row in connection.execute(query)}


def command(url: str | None) -> subprocess.CompletedProcess[str]:
    """Run `python -m jobs.migrations`, with the url in its environment or with none."""
    environment = {name: value for name, value in os.environ.items() if not name.endswith("DATABASE_URL")}
    environment |= {"DATABASE_URL": url} if url else {}
    arguments = [sys.executable, "-m", "jobs.migrations"]
    return subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_tells_from_where_to_where(empty_url: str) -> None:
    first, second = command(empty_url), command(empty_url)

    assert (first.returncode, first.stdout) == (0, f"schema empty -> {migrations.head()}\n")
    assert (second.returncode, second.stdout) == (0, f"schema {migrations.head()}: nothing to do\n")


@pytest.mark.parametrize(
    ("url", "code", "hint"),
    [(None, 2, "DATABASE_URL is not set"), ("sqlite://", 2, "DATABASE_URL: must start with postgresql://"),
     ("postgresql://u@127.0.0.1:1/n", 75, "PostgreSQL at 127.0.0.1:1")],
)  # fmt: skip
def test_the_command_says_what_to_check(url: str | None, code: int, hint: str) -> None:
    done = command(url)

    assert done.returncode == code
    assert hint in done.stderr
    assert "Traceback" not in done.stderr


# What the schema refuses by itself

GOOD: dict[Table, dict[str, Any]] = {
    jobs: {"task": "a.b", "queue": "q", "state": "queued", "payload": {}, "created_at": NOW, "run_at": NOW},
    attempts: {"number": 1, "worker": "w", "started_at": NOW},
    idempotency_keys: {"tenant": "t", "key": "k", "fingerprint": b"f", "receipts": [], "created_at": NOW,
                       "expires_at": NOW},
    api_keys: {"id": "i", "name": "n", "secret_sha256": bytes(32)},
    job_logs: {"seq": 1, "attempt": 1, "at": NOW, "level": "info", "event": "e", "bytes": 1},
    paused_queues: {"queue": "q", "paused_at": NOW},
    schedules: {"name": "n", "source": "api", "cron": "* * * * *", "zone": "UTC", "on_gap": "run", "on_fold": "once",
                "jitter_seconds": 0, "task": "a.b", "payload": {}, "queue": "q", "priority": 5, "tags": [],
                "catch_up": "latest", "catch_up_window_seconds": 60, "catch_up_limit": 1, "overlap": "allow",
                "decided_until": NOW, "zone_data": "2026a", "created_at": NOW, "updated_at": NOW},
    occurrences: {"instant": NOW, "count": 1, "decision": "skipped", "reason": "missed", "decided_at": NOW},
}  # fmt: skip
LEASED = {"worker": "w", "lease_expires_at": NOW}

NONSENSE: list[tuple[Table, str, dict[str, Any]]] = [
    (jobs, "state_is_known", {"state": "lost"}),
    *((jobs, "finished_when_final", {"state": state} | ({"reason": "exhausted"} if state == "failed" else {}))
      for state in ("succeeded", "failed", "cancelled", "expired")),
    *((jobs, "finished_when_final", {"state": state, "finished_at": NOW} | (LEASED if state == "running" else {}))
      for state in ("scheduled", "queued", "running", "retrying")),
    (jobs, "leased_when_running", {"state": "running"}),
    (jobs, "leased_when_running", {"state": "running", "worker": "w"}),
    (jobs, "leased_when_running", {"state": "running", "lease_expires_at": NOW}),
    (jobs, "leased_when_running", LEASED),
    (jobs, "reason_when_failed", {"state": "failed", "finished_at": NOW}),
    (jobs, "reason_when_failed", {"state": "failed", "finished_at": NOW, "reason": "bored"}),
    (jobs, "reason_when_failed", {"reason": "exhausted"}),
    (jobs, "only_dead_letters_close", {"closed_at": NOW}),
    (jobs, "priority_in_range", {"priority": -1}),
    (jobs, "priority_in_range", {"priority": 10}),
    (jobs, "counts_not_negative", {"attempt": -1}),
    (jobs, "counts_not_negative", {"error_count": -1}),
    (jobs, "counts_not_negative", {"crash_count": -1}),
    (jobs, "counts_not_negative", {"throttle_count": -1}),
    (jobs, "payload_is_object", {"payload": [1]}),
    (jobs, "payload_is_object", {"payload": "text"}),
    (jobs, "names_bounded", {"task": ""}),
    (jobs, "names_bounded", {"task": "t" * 201}),
    (jobs, "names_bounded", {"queue": ""}),
    (jobs, "names_bounded", {"queue": "q" * 101}),
    (attempts, "numbered_from_one", {"number": 0}),
    (attempts, "outcome_when_finished", {"outcome": "succeeded"}),
    (attempts, "outcome_when_finished", {"finished_at": NOW}),
    (attempts, "outcome_is_known", {"outcome": "bored", "finished_at": NOW}),
    (idempotency_keys, "key_bounded", {"key": ""}),
    (idempotency_keys, "key_bounded", {"key": "k" * 256}),
    (api_keys, "secret_is_a_digest", {"secret_sha256": b"short"}),
    (job_logs, "level_is_known", {"level": "fatal"}),
    (paused_queues, "name_bounded", {"queue": ""}),
    (paused_queues, "name_bounded", {"queue": "q" * 101}),
    (schedules, "has_one_timing", {"cron": None}),
    (schedules, "has_one_timing", {"once": "2030-01-01T00:00"}),
    (schedules, "anchored_when_every", {"cron": None, "every_seconds": 5}),
    (schedules, "anchored_when_every", {"anchor_at": LATER}),
    (schedules, "seconds_in_range", {"cron": None, "every_seconds": 0.5, "anchor_at": LATER}),
    (schedules, "seconds_in_range", {"jitter_seconds": -1}),
    (schedules, "ends_not_before_its_start", {"start_at": LATER, "end_at": LATER - timedelta(seconds=1)}),
    (schedules, "payload_is_object", {"payload": [1]}),
    (schedules, "priority_in_range", {"priority": 10}),
    (schedules, "names_bounded", {"name": ""}),
    (schedules, "names_bounded", {"name": "n" * 101}),
    (schedules, "names_bounded", {"task": "t" * 201}),
    (schedules, "names_bounded", {"queue": ""}),
    (schedules, "words_are_known", {"source": "hearsay"}),
    (schedules, "words_are_known", {"catch_up": "some"}),
    (schedules, "words_are_known", {"overlap": "fight"}),
    (schedules, "catch_up_in_range", {"catch_up_window_seconds": 0}),
    (schedules, "catch_up_in_range", {"catch_up_limit": 0}),
    (schedules, "missed_after_in_range", {"missed_after_seconds": 0.5}),
    (occurrences, "words_are_known", {"decision": "forgotten"}),
    (occurrences, "words_are_known", {"reason": "bored"}),
    (occurrences, "job_when_fired", {"decision": "fired"}),
    (occurrences, "job_when_fired", {"job_id": UUID(int=1)}),
    (occurrences, "several_when_skipped", {"decision": "waiting", "through_at": LATER}),
    (occurrences, "several_when_skipped", {"instant": LATER, "through_at": LATER}),
]  # fmt: skip


def store(engine: Engine, table: Table, values: dict[str, Any]) -> None:
    identities = {
        jobs: ["id"],
        attempts: ["job_id"],
        job_logs: ["job_id"],
        schedules: ["id"],
        occurrences: ["id", "schedule_id"],
    }
    identity = {name: new_job_id() for name in identities.get(table, [])}
    with transaction(engine) as connection:
        connection.execute(insert(table).values(**GOOD[table] | identity | values))


@pytest.mark.parametrize("table", GOOD, ids=lambda table: table.name)
def test_what_makes_sense_is_stored(engine: Engine, table: Table) -> None:
    store(engine, table, {})


@pytest.mark.parametrize(
    ("table", "rule", "values"),
    NONSENSE,
    ids=[f"{table}.{rule} {' '.join(values)}" for table, rule, values in NONSENSE],
)
def test_nonsense_is_refused(engine: Engine, table: Table, rule: str, values: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError) as caught:
        store(engine, table, values)

    assert isinstance(caught.value.orig, postgres.CheckViolation)
    assert caught.value.orig.diag.constraint_name == f"{table}_{rule}"


def test_every_check_was_tried(engine: Engine) -> None:
    with engine.connect() as connection:
        rules = connection.scalars(
            text("SELECT conname FROM pg_constraint WHERE contype = 'c' AND connamespace = 'public'::regnamespace")
        )

        assert set(rules) == {f"{table}_{rule}" for table, rule, _ in NONSENSE}


@pytest.mark.parametrize("state", JobState)
def test_every_state_has_a_way_to_be_stored(engine: Engine, state: JobState) -> None:
    store(
        engine,
        jobs,
        {"state": state.value}
        | (LEASED if state is JobState.RUNNING else {})
        | ({"finished_at": NOW} if state.value in ("succeeded", "failed", "cancelled", "expired") else {})
        | ({"reason": "exhausted"} if state is JobState.FAILED else {}),
    )
