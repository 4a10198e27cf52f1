"""Upkeep deletes what was kept long enough, in steps, and adds up what it counts first."""

from sqlalchemy import Engine, Table, func, select, text

from jobs import registry, upkeep
from jobs.database import transaction
from jobs.model import JobId
from jobs.tables import idempotency_keys, jobs, occurrences
from schedules.upkeep import PRUNE_AGAIN_AFTER, PRUNE_EVERY
from tests.clock import Clock
from tests.factories import new_job
from tests.integration.schedules.rounds import Make, accept, change, held

OLD_KEYS = """
INSERT INTO idempotency_keys (tenant, key, fingerprint, receipts, created_at, expires_at)
SELECT 'default', n::text, 'x', '[]', now() - interval '2 days', now() - interval '1 day'
FROM generate_series(1, :count) AS n
"""
OLD_JOBS = """
INSERT INTO jobs (id, task, queue, state, payload, created_at, run_at, finished_at)
SELECT ('0190' || lpad(to_hex(n), 8, '0') || '70008000000000000000')::uuid, 'a.b', 'q', 'succeeded', '{}', at, at, at
FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS n, (SELECT now() - interval '9 days' AS at) AS day
"""


def left(engine: Engine, table: Table) -> int:
    """Return how many rows the table has."""
    with transaction(engine) as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def test_what_was_kept_long_enough_is_deleted_and_dead_letters_stay(
    make: Make, engine: Engine, broker_url: str, clock: Clock
) -> None:
    done, dead, fresh = accept(engine, new_job(), new_job(), new_job())
    ended = "UPDATE jobs SET finished_at = now() - interval '9 days', rung_at = NULL, state = {} WHERE id = :id"
    change(engine, ended.format("'succeeded'"), id=done)
    change(engine, ended.format("'failed', reason = 'exhausted'"), id=dead)
    old = str(JobId(int=1))
    change(engine, "UPDATE jobs SET id = CAST(:old AS uuid) WHERE id = :id", old=old, id=done)

    make(broker_url).round()

    with transaction(engine) as connection:
        kept = set(connection.scalars(text("SELECT id FROM jobs")))
    assert kept == {dead, fresh}


def test_a_sweep_goes_on_behind_what_it_has_deleted_and_begins_anew_when_it_has_ended(
    make: Make, engine: Engine, broker_url: str, clock: Clock
) -> None:
    change(engine, OLD_JOBS, first=10, last=9 + upkeep.BATCH + 3)
    tidy = make(broker_url)

    tidy.round()
    assert left(engine, jobs) == 3

    change(engine, OLD_JOBS, first=1, last=1)
    tidy.round()
    assert left(engine, jobs) == 1, "it does not look back"

    clock.now += PRUNE_EVERY
    tidy.round()
    assert left(engine, jobs) == 0


def test_a_deletion_that_failed_is_tried_again_soon_and_the_other_steps_go_on(
    make: Make, engine: Engine, broker_url: str, clock: Clock
) -> None:
    accept(engine, new_job())
    change(engine, "UPDATE jobs SET rung_at = NULL")
    change(engine, OLD_KEYS, count=1)
    change(engine, "ALTER TABLE idempotency_keys RENAME COLUMN expires_at TO ends_at")
    tidy = make(broker_url)

    tidy.round()
    assert (left(engine, idempotency_keys), held(broker_url)) == (1, 1)

    change(engine, "ALTER TABLE idempotency_keys RENAME COLUMN ends_at TO expires_at")
    tidy.round()
    assert left(engine, idempotency_keys) == 1, "no trouble is met again and again without a pause"
    clock.now += PRUNE_AGAIN_AFTER
    tidy.round()
    assert left(engine, idempotency_keys) == 0


def test_a_flood_of_old_keys_is_gone_without_waiting_for_the_next_minute(engine: Engine, make: Make) -> None:
    change(engine, OLD_KEYS, count=1200)
    tidy = make("redis://127.0.0.1:1/0")

    for _ in range(3):
        tidy._clean()

    assert left(engine, idempotency_keys) == 0


def test_what_was_decided_about_schedules_is_deleted_in_time(make: Make, engine: Engine, broker_url: str) -> None:
    change(
        engine,
        "INSERT INTO occurrences (id, schedule_id, instant, count, decision, reason, decided_at) "
        "SELECT id, id, at, 1, 'skipped', 'missed', at FROM "
        "(VALUES (CAST('01000000-0000-7000-8000-000000000000' AS uuid), now() - interval '9 days'), "
        "        (CAST('f1000000-0000-7000-8000-000000000000' AS uuid), now())) AS decided (id, at)",
    )

    make(broker_url).round()

    assert left(engine, occurrences) == 1


def test_the_census_is_added_up_and_workers_long_gone_are_forgotten(
    engine: Engine, clock: Clock, make: Make, broker_url: str
) -> None:
    accept(engine, *(new_job() for _ in range(3)))
    with transaction(engine) as connection:
        for name in ("here", "long gone"):
            registry.announce(connection, name=name, host="h", pid=1, queues=["default"], slots=1, release="0")
        connection.execute(text("UPDATE workers SET seen_at = now() - interval '8 days' WHERE name = 'long gone'"))

    make(broker_url).round()

    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM census_marks")) == 0
        assert connection.scalar(text("SELECT sum(born) FROM census")) == 3
        assert connection.scalars(text("SELECT name FROM workers")).all() == ["here"]
