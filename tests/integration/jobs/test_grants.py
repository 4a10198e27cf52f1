"""After a migration, and to a new month, each role may do what it was allowed to do before, owner or not."""

import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import Connection, Engine, delete, func, insert, select, text

from jobs import partitions
from jobs.database import transaction
from jobs.grants import copy_rights
from jobs.migrations import downgrade, upgrade
from jobs.model import JobId, new_job_id
from jobs.partitions import HISTORY
from jobs.tables import events, jobs

TABLES = [history.name for history in HISTORY]
MAY = ("SELECT", "INSERT", "UPDATE", "DELETE")

ACCESS = text("""
    SELECT relname, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee)::text END,
           attname, privilege_type, is_grantable
    FROM (SELECT oid, relname, relowner, NULL AS attname, relacl AS acl FROM pg_class
          UNION ALL SELECT pg_class.oid, relname, relowner, attname, attacl
          FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid) AS each, aclexplode(acl)
    WHERE oid = CAST(:name AS regclass) AND grantee <> relowner ORDER BY 2, 3, 4
""")


@pytest.fixture
def engine(empty_engine: Engine) -> Engine:
    """An engine on a database without a schema."""
    return empty_engine


@pytest.fixture
def app(engine: Engine) -> Iterator[str]:
    """A role that owns nothing."""
    name = f"app-{uuid.uuid4().hex[:8]}"
    with transaction(engine) as connection:
        connection.execute(text(f'CREATE ROLE "{name}"'))
    yield name
    with transaction(engine) as connection:
        connection.execute(text(f'DROP OWNED BY "{name}"'))
        connection.execute(text(f'DROP ROLE "{name}"'))


def run(engine: Engine, *statements: str) -> None:
    with transaction(engine) as connection:
        for statement in statements:
            connection.execute(text(statement))


def access(engine: Engine, name: str) -> list[tuple[object, ...]]:
    """Who may do what to a table or its columns, the owner left out; the table's own name left out."""
    with transaction(engine) as connection:
        return [tuple(row)[1:] for row in connection.execute(ACCESS, {"name": name})]


def live(connection: Connection, role: str) -> JobId:
    """Do as the role what processes do with history: write, read, and delete what no month takes with it."""
    job_id, now = new_job_id(), func.now()
    connection.execute(text(f'SET LOCAL ROLE "{role}"'))
    row = {"task": "a.b", "queue": "q", "state": "queued", "payload": {}, "created_at": now, "run_at": now}
    connection.execute(insert(jobs).values(id=job_id, **row))
    told = {"seq": 1, "at": now, "name": "accept", "state": "queued", "attempt": 0}
    connection.execute(insert(events).values(job_id=job_id, **told))
    assert connection.scalar(select(func.count()).select_from(events)) == 1
    for history in HISTORY:
        connection.execute(partitions.deletion(history, [job_id], timedelta(days=365)))
        connection.execute(delete(history).where(history.c.job_id == job_id))
    return job_id


def test_another_role_works_on_after_the_tables_have_become_partitions(engine: Engine, app: str) -> None:
    upgrade(engine, "0006")
    run(engine, f'GRANT {", ".join(MAY)} ON ALL TABLES IN SCHEMA public TO "{app}"')

    upgrade(engine, "0007")

    for table in TABLES:
        for name in (table, f"{table}_first", f"{table}_default"):
            assert access(engine, name) == [(app, None, may, False) for may in sorted(MAY)], name
    with transaction(engine) as connection:
        live(connection, app)


def test_grants_on_columns_to_everybody_and_with_the_right_to_grant_are_kept(engine: Engine, app: str) -> None:
    upgrade(engine, "0006")
    run(
        engine,
        f'GRANT SELECT ON events TO "{app}" WITH GRANT OPTION',
        f'GRANT UPDATE (facts) ON events TO "{app}"',
        "GRANT SELECT ON events TO PUBLIC",
    )
    before = access(engine, "events")
    assert len(before) == 3

    upgrade(engine, "0007")
    assert [access(engine, name) for name in ("events", "events_default")] == [before] * 2

    downgrade(engine, "0006")
    assert access(engine, "events") == before


def test_going_back_leaves_what_was_granted_meanwhile_and_nothing_that_was_taken_away(engine: Engine, app: str) -> None:
    upgrade(engine, "0006")
    run(engine, f'GRANT ALL ON events, attempts TO "{app}"')
    upgrade(engine, "0007")
    run(engine, f'REVOKE ALL ON events FROM "{app}"', f'GRANT SELECT ON job_logs TO "{app}"')

    downgrade(engine, "0006")

    assert access(engine, "events") == []
    assert access(engine, "job_logs") == [(app, None, "SELECT", False)]
    assert {may for _, _, may, _ in access(engine, "attempts")} >= set(MAY)


def test_going_back_keeps_grants_when_the_first_partition_has_been_dropped(engine: Engine, app: str) -> None:
    upgrade(engine, "0007")
    run(engine, f'GRANT SELECT ON events TO "{app}"', "DROP TABLE events_first")

    downgrade(engine, "0006")

    assert access(engine, "events") == [(app, None, "SELECT", False)]


def test_a_new_month_is_open_to_whom_its_table_is_open(engine: Engine, app: str) -> None:
    upgrade(engine)
    run(engine, f'GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{app}"')

    assert partitions.roll(engine, timedelta(days=30)).made > 0

    with transaction(engine) as connection:
        made = [part.name for history in HISTORY for part in partitions.parts_of(connection, history)]
    assert {name: access(engine, name) for name in made} == {name: [(app, None, "SELECT", False)] for name in made}


def test_what_the_default_privileges_of_the_owner_allow_is_taken_back_where_the_source_does_not(
    engine: Engine, app: str
) -> None:
    run(engine, "CREATE TABLE one (a int)", "CREATE TABLE other (a int)", f'GRANT ALL ON other TO "{app}"')

    with transaction(engine) as connection:
        copy_rights(connection, "one", "other")

    assert access(engine, "other") == []


OWNERS = text("""
    SELECT relname, pg_get_userbyid(relowner)::text FROM pg_class
    WHERE relkind IN ('r', 'p') AND relname ~ '^(events|attempts|job_logs)'
""")


def given_to(engine: Engine, role: str) -> None:
    """Have every table belong to the role, as where it made them itself and a superuser migrates later."""
    with transaction(engine) as connection:
        connection.execute(text(f'GRANT CREATE ON SCHEMA public TO "{role}"'))
        for name in connection.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).all():
            connection.execute(text(f'ALTER TABLE {name} OWNER TO "{role}"'))


def strangers(engine: Engine, role: str) -> list[str]:
    """The tables of history, and partitions of them, that do not belong to the role."""
    with transaction(engine) as connection:
        owners = {name: owner for name, owner in connection.execute(OWNERS)}  # noqa: C416 - dict() does not take rows for pairs
    assert len(owners) >= len(TABLES)
    return sorted(name for name, owner in owners.items() if owner != role)


def test_the_owner_of_the_tables_works_on_after_a_superuser_has_migrated(engine: Engine, app: str) -> None:
    upgrade(engine, "0006")
    given_to(engine, app)

    upgrade(engine, "0007")

    assert strangers(engine, app) == []
    with transaction(engine) as connection:
        live(connection, app)

    run(engine, "DROP TABLE events_first")
    downgrade(engine, "0006")
    assert strangers(engine, app) == []


def test_a_new_month_belongs_to_whom_its_table_belongs(engine: Engine, app: str) -> None:
    upgrade(engine)
    given_to(engine, app)

    assert partitions.roll(engine, timedelta(days=30)).made > 0

    assert strangers(engine, app) == []
