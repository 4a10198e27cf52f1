"""Every statement that a beat sends over and over finds its rows by index among 100,000 schedules."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from psycopg import sql
from sqlalchemy import Connection, Engine, text

from deploy.stack.postgres import PostgresServer
from jobs.model import DEFAULT_TENANT, JobId
from jobs.planning import firing, store
from jobs.planning.search import Filter, Span, list_schedules, occurrences_query
from tests.integration.jobs.plans import Plan, explain, explain_prepared, sent_by
from tests.services.databases import connect_to
from tests.services.fixtures import administer

NAME = "penstock_schedules"
SCHEDULES = 100_000
OCCURRENCES = 200_000
OLDEST = JobId(int=1)

FILL = """
    INSERT INTO schedules (id, name, source, cron, zone, on_gap, on_fold, jitter_seconds, task, payload, queue,
                           priority, tags, catch_up, catch_up_window_seconds, catch_up_limit, overlap, decided_until,
                           next_at, paused_at, zone_data, created_at, updated_at)
    SELECT CAST(lpad(to_hex(n), 32, '0') AS uuid), 's' || n, 'api', '0 0 1 1 *', 'UTC', 'run', 'once', 0, 'demo.noop',
           '{}', 'default', 5, '{}', 'latest', 86400, 100, 'skip', now(),
           now() + (n - 20) * interval '1 s', CASE WHEN n % 10 = 0 THEN now() END, '9999z', now(), now()
      FROM generate_series(1, :schedules) AS n;
    INSERT INTO occurrences (id, schedule_id, instant, count, decision, reason, decided_at)
    SELECT gen_random_uuid(), CAST(lpad(to_hex(1 + n % 10), 32, '0') AS uuid), now() - n * interval '1 s', 1,
           CASE WHEN n <= 5 THEN 'waiting' ELSE 'skipped' END, 'overlap', now() - n * interval '1 s'
      FROM generate_series(1, :occurrences) AS n;
"""


@pytest.fixture(scope="module")
def many(postgres_server: PostgresServer, template_database: str) -> Iterator[Engine]:
    """An engine on a database with very many schedules, of which some are due.

    It is a database of its own: what other tests leave in `jobs`, and what autovacuum makes of it, decides plans too.
    """
    names = {"name": sql.Identifier(NAME), "template": sql.Identifier(template_database)}
    administer(postgres_server, sql.SQL("CREATE DATABASE {name} TEMPLATE {template}").format(**names))
    engine = connect_to(postgres_server.database_url(NAME), pool_size=2)
    with engine.begin() as connection:
        for statement in FILL.split(";\n")[:2]:
            connection.execute(text(statement), {"schedules": SCHEDULES, "occurrences": OCCURRENCES})
        connection.execute(text("ANALYZE schedules"))
        connection.execute(text("ANALYZE occurrences"))
    yield engine
    engine.dispose()
    administer(postgres_server, sql.SQL("DROP DATABASE {name} WITH (FORCE)").format(**names))


@pytest.fixture
def connection(many: Engine) -> Iterator[Connection]:
    """A connection whose work is thrown away."""
    with many.connect() as opened:
        yield opened


@pytest.fixture(params=[explain, explain_prepared], ids=["planned for its values", "planned for any values"])
def explained(request: pytest.FixtureRequest) -> Callable[..., Plan]:
    """Both ways in which PostgreSQL may plan a statement."""
    chosen: Callable[..., Plan] = request.param
    return chosen


def hold(plan: Plan, index: str, pages: int, whole: frozenset[str] = frozenset()) -> None:
    assert plan.read_whole <= whole
    assert index in plan.indexes
    assert plan.pages <= pages


def test_what_is_due_is_found_by_index(connection: Connection, explained: Callable[..., Plan]) -> None:
    plan = explained(connection, firing.due_schedules())

    hold(plan, "schedules_due", 100)


def test_how_long_to_sleep_is_found_by_index(connection: Connection, explained: Callable[..., Plan]) -> None:
    query = sent_by(connection, lambda: store.until_next_due(connection))

    hold(explained(connection, query), "schedules_due", 10)


def test_what_waits_is_found_by_index(connection: Connection, explained: Callable[..., Plan]) -> None:
    plan = explained(connection, firing.waiting_schedules())

    # `jobs` is empty here. PostgreSQL 15 reads it whole for that, where it plans for any values.
    is_old = (connection.dialect.server_version_info or ()) < (18,)
    hold(plan, "occurrences_waiting", 100, frozenset({"jobs"} if is_old else ()))


def test_a_page_of_schedules_is_found_by_index(connection: Connection, explained: Callable[..., Plan]) -> None:
    query = sent_by(connection, lambda: list_schedules(connection, Filter(), tenant=DEFAULT_TENANT))

    hold(explained(connection, query), "schedules_tenant_name_key", 200)


def test_a_page_of_history_is_found_by_index(connection: Connection, explained: Callable[..., Plan]) -> None:
    plan = explained(connection, occurrences_query(OLDEST, Span(), limit=51))

    hold(plan, "occurrences_history", 200)


def test_a_schedule_is_found_by_its_name(connection: Connection, explained: Callable[..., Plan]) -> None:
    query = sent_by(connection, lambda: store.look_up(connection, "s7", tenant=DEFAULT_TENANT))

    hold(explained(connection, query), "schedules_tenant_name_key", 10)


def test_what_was_deleted_is_found_by_index(connection: Connection, explained: Callable[..., Plan]) -> None:
    query = sent_by(connection, lambda: store.prune(connection, keep=timedelta(days=1), limit=100))

    assert "schedules_deleted" in explained(connection, query).indexes
