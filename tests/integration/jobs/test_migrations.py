"""Revisions on a database that is in use: rows stay, nobody waits long, and the release before goes on."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import Engine, Table, event, func, insert, select, text

from jobs import migrations, partitions, schema
from jobs.database import transaction
from jobs.errors import SchemaHeld
from jobs.migrations import downgrade, revisions, upgrade
from jobs.model import JobId, new_job_id
from jobs.tables import events, jobs
from tests.factories import success
from tests.integration.jobs import scenes
from tests.integration.jobs.revisions import LOST, SEEDS, lost_by, rows_of, seed, shape_of
from tests.integration.jobs.schema_rules import ONLINE_SINCE, broken

STEPS = list(zip([None, *revisions()], revisions(), strict=False))


@pytest.fixture
def engine(empty_engine: Engine) -> Engine:
    """An engine on a database without a schema."""
    return empty_engine


def bring(engine: Engine, revision: str | None) -> None:
    """Bring an empty database to the revision, with rows in all that there is."""
    for one in revisions()[: revisions().index(revision) + 1] if revision else []:
        upgrade(engine, one)
        with transaction(engine) as connection:
            seed(connection, one)


# Up and down, with rows in place


def test_every_revision_has_rows_to_be_tried_on() -> None:
    assert list(SEEDS) == revisions()


@pytest.mark.parametrize(("before", "revision"), STEPS, ids=revisions())
def test_a_revision_comes_and_goes_and_every_row_stays(engine: Engine, before: str | None, revision: str) -> None:
    bring(engine, before)
    shape, there = shape_of(engine), rows_of(engine)

    upgrade(engine, revision)
    assert rows_of(engine, shape) == there

    downgrade(engine, before or "base")
    assert (shape_of(engine), rows_of(engine)) == (shape, there)


@pytest.mark.parametrize(("before", "revision"), STEPS[1:], ids=revisions()[1:])
def test_going_back_from_a_revision_in_use_loses_what_it_says_and_nothing_else(
    engine: Engine, before: str, revision: str
) -> None:
    bring(engine, before)
    shape = shape_of(engine)
    upgrade(engine, revision)
    with transaction(engine) as connection:
        seed(connection, revision)
    there, lost = rows_of(engine, shape), lost_by(engine, revision)

    downgrade(engine, before)

    kept = {table: [row for row in rows if row.get("id") not in lost] for table, rows in there.items()}
    assert bool(lost) == (revision in LOST)
    assert rows_of(engine) == kept
    upgrade(engine)
    assert migrations.current(engine) == migrations.head()


def test_going_back_brings_the_rows_of_every_partition_into_one_table(engine: Engine) -> None:
    bring(engine, "0007")
    partitions.roll(engine, timedelta(days=30))
    with transaction(engine) as connection:
        seed(connection, "0007")
    there = rows_of(engine)["events"]

    downgrade(engine, "0006")
    assert rows_of(engine)["events"] == there

    upgrade(engine)
    assert rows_of(engine)["events"] == there


def test_going_back_works_when_the_first_partition_has_been_dropped(engine: Engine) -> None:
    bring(engine, "0007")
    with transaction(engine) as connection:
        connection.execute(text("DROP TABLE events_first"))
    there = rows_of(engine)["events"]

    downgrade(engine, "0006")

    assert rows_of(engine)["events"] == there
    upgrade(engine)
    scenes.assert_sound(engine, scenes.ended(engine, success()))


# In use


@pytest.mark.parametrize("held", partitions.HISTORY, ids=[table.name for table in partitions.HISTORY])
def test_a_migration_gives_way_to_whoever_holds_a_table_and_says_so(engine: Engine, held: Table) -> None:
    upgrade(engine, "0006")
    with engine.connect() as reader:
        reader.execute(select(func.count()).select_from(held))

        with pytest.raises(SchemaHeld):
            upgrade(engine, patience_seconds=0.1)
        assert migrations.current(engine) == "0006"
        store(engine, new_job_id())  # nobody waits any more

    upgrade(engine)
    assert migrations.current(engine) == migrations.head()


def test_a_migration_tries_again_until_the_table_is_free(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    upgrade(engine, "0006")
    paused = threading.Event()
    monkeypatch.setattr("time.sleep", lambda _: paused.set())
    with ThreadPoolExecutor(1) as pool:
        with engine.connect() as reader:
            reader.execute(select(func.count()).select_from(events))
            migrating = pool.submit(upgrade, engine)
            assert paused.wait(30)
        migrating.result(timeout=60)

    assert migrations.current(engine) == migrations.head()


def test_jobs_are_accepted_while_the_schema_changes_and_none_is_lost(engine: Engine) -> None:
    upgrade(engine, "0006")
    stored: list[JobId] = []
    done = threading.Event()

    def write() -> None:
        while not done.is_set() or not stored:
            stored.append(store(engine, new_job_id()))

    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(write) for _ in range(2)]
        try:
            upgrade(engine)
        finally:
            done.set()
        for writer in writers:
            writer.result(timeout=60)

    with engine.connect() as connection:
        assert set(connection.scalars(select(events.c.job_id))) == set(stored)
        assert set(connection.scalars(select(jobs.c.id))) == set(stored)


def store(engine: Engine, job_id: JobId) -> JobId:
    """Accept a job as any release does."""
    now = func.now()
    row = {
        "id": job_id,
        "task": "a.b",
        "queue": "q",
        "state": "queued",
        "payload": {},
        "created_at": now,
        "run_at": now,
    }
    told = {"job_id": job_id, "seq": 1, "at": now, "name": "accept", "state": "queued", "attempt": 0}
    with transaction(engine) as connection:
        connection.execute(insert(jobs).values(row))
        connection.execute(insert(events).values(told))
    return job_id


def test_every_statement_of_a_migration_has_its_bounds(engine: Engine) -> None:
    seen: set[tuple[str, str]] = set()

    @event.listens_for(engine, "after_cursor_execute")
    def look(connection: object, cursor: object, statement: str, *_: object) -> None:
        if "CREATE TABLE" in statement:
            asking = cursor.connection.cursor()  # type: ignore[attr-defined]  # the driver's cursor, untyped here
            query = "SELECT current_setting('lock_timeout'), current_setting('statement_timeout')"
            seen.add(asking.execute(query).fetchone())

    upgrade(engine)

    assert seen == {(f"{migrations.LOCK_SECONDS * 1000:g}ms", f"{migrations.STATEMENT_SECONDS / 3600:g}h")}


# The rules


def test_every_revision_since_the_rules_keeps_them(engine: Engine) -> None:
    found: dict[str, list[str]] = {}
    for before, revision in STEPS:
        shape = shape_of(engine)
        statements = sent_while(engine, lambda revision=revision: upgrade(engine, revision))  # type: ignore[misc]  # binds the loop's value
        if before and revision >= ONLINE_SINCE:
            found[revision] = broken(statements, set(shape))

    assert found == {revision: [] for revision in revisions() if revision >= ONLINE_SINCE}


def sent_while(engine: Engine, action: Callable[[], None]) -> list[str]:
    """Run `action` and return the statements that it sent."""
    sent: list[str] = []

    def keep(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    event.listen(engine, "before_cursor_execute", keep)
    action()
    event.remove(engine, "before_cursor_execute", keep)
    return sent


EXAMPLES = [
    ("ALTER TABLE jobs DROP COLUMN tags", "takes away"),
    ("DROP TABLE jobs", "takes away"),
    ("ALTER TABLE jobs RENAME COLUMN tags TO labels", "takes away"),
    ("ALTER TABLE jobs ALTER COLUMN attempt TYPE bigint", "takes away"),
    ("ALTER TABLE jobs ALTER COLUMN tags SET NOT NULL", "takes away"),
    ("ALTER TABLE jobs RENAME TO tasks", "takes away"),
    ("CREATE INDEX jobs_by_tenant ON jobs (tenant)", "CONCURRENTLY"),
    ("CREATE UNIQUE INDEX jobs_by_tenant ON jobs (tenant)", "CONCURRENTLY"),
    ("ALTER TABLE jobs ADD CONSTRAINT c CHECK (attempt < 9)", "NOT VALID"),
    ("ALTER TABLE jobs ADD COLUMN colour text NOT NULL", "DEFAULT"),
    ("ALTER TABLE jobs ADD COLUMN id2 uuid DEFAULT gen_random_uuid()", "rewrites"),
    ("UPDATE jobs SET priority = 5", "row by row"),
    ("INSERT INTO labels SELECT id FROM jobs", "row by row"),
]


@pytest.mark.parametrize(("statement", "rule"), EXAMPLES, ids=[statement for statement, _ in EXAMPLES])
def test_a_statement_that_breaks_a_rule_is_found(statement: str, rule: str) -> None:
    (said,) = broken([statement], {"jobs"})

    assert rule in said


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE labels (id uuid NOT NULL)",
        "CREATE INDEX labels_by_id ON labels (id)",
        "CREATE INDEX CONCURRENTLY jobs_by_tenant ON jobs (tenant)",
        "ALTER TABLE jobs ADD COLUMN colour text",
        "ALTER TABLE jobs ADD COLUMN colour text DEFAULT 'red' NOT NULL",
        "ALTER TABLE jobs ADD CONSTRAINT c CHECK (attempt < 9) NOT VALID",
        "ALTER TABLE jobs VALIDATE CONSTRAINT c",
        "INSERT INTO labels VALUES (1)",
    ],
)
def test_a_statement_that_keeps_the_rules_passes(statement: str) -> None:
    assert broken([statement], {"jobs"}) == []


@pytest.mark.parametrize(
    ("found", "fits"),
    [("0007", True), ("0008", True), ("0006", False), (None, False), ("old", False), ("99999", False)],
)
def test_a_release_works_on_its_own_schema_and_on_later_ones(found: str | None, fits: bool) -> None:
    assert schema.suits(found, "0007") is fits
