"""Every statement of the hot path finds its index among 1,000,000 jobs, planned for its values or for any.

`pages` bounds what the statement reads and writes: an index that is named in the plan and then searched row by row
would show there.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Connection, Engine, Executable, select, text

from jobs import attempts, census, insertion, overdue, search, unheard, upkeep
from jobs.explain import line_queries
from jobs.model import DEFAULT_TENANT, JobId
from jobs.search import Filter
from jobs.state import JobState
from jobs.tables import jobs
from tests.integration.jobs.plans import Plan, explain, explain_prepared, sent_by

BATCH = 50
Explain = Callable[..., Plan]


class Case(NamedTuple):
    """A statement, the index that it must use, what must narrow that index, and how much it may touch."""

    statement: Executable
    uses: str
    narrowed_by: tuple[str, ...] = ()
    pages: int = 100
    values: dict[str, Any] | None = None


@pytest.fixture(params=[explain, explain_prepared], ids=["planned for its values", "planned for any values"])
def explained(request: pytest.FixtureRequest) -> Explain:
    """Both ways in which PostgreSQL may plan a statement."""
    chosen: Explain = request.param
    return chosen


@pytest.fixture
def connection(million: Engine) -> Iterator[Connection]:
    """A connection whose work is thrown away."""
    with million.connect() as opened:
        yield opened


def some(connection: Connection, state: JobState) -> list[JobId]:
    """Return a batch of ids of jobs in `state`, from all over the table."""
    query = text("SELECT id FROM jobs WHERE state = :state ORDER BY md5(id::text) LIMIT :count")
    return list(connection.scalars(query, {"state": state, "count": BATCH}))


def hold(case: Case, plan: Plan) -> None:
    """Assert that the plan is what the case says."""
    assert plan.read_whole == set()
    assert case.uses in plan.indexes
    assert [column for column in case.narrowed_by if column not in plan.conditions] == []
    assert plan.pages <= case.pages


UPKEEP = {
    "unrung": Case(upkeep.unrung_jobs("default", BATCH), "jobs_unrung", ("queue",)),
    "unrung of a small queue": Case(upkeep.unrung_jobs("rare", BATCH), "jobs_unrung", ("queue",)),
    "unrung of a priority": Case(upkeep.unrung_jobs("default", BATCH, 3), "jobs_unrung", ("queue", "priority")),
    "the most urgent priority": Case(upkeep.unrung_priorities("default"), "jobs_unrung", ("queue",), 10),
    "the next priority": Case(upkeep.unrung_priorities("default", 5), "jobs_unrung", ("queue", "priority"), 10),
    # The most urgent of them are wanted, so all are looked at: a window for each priority at the most.
    "stranded": Case(upkeep.stranded_jobs("default", BATCH), "jobs_rung", ("queue", "rung_at"), pages=10_000),
    "any stranded": Case(upkeep.oldest_rung("default"), "jobs_rung", ("queue", "rung_at")),
    "stranded of a small queue": Case(upkeep.stranded_jobs("rare", BATCH), "jobs_rung", ("queue", "rung_at")),
    "due": Case(upkeep.due_jobs(BATCH), "jobs_due", ("run_at",)),
    "leases": Case(upkeep.expired_leases(BATCH), "jobs_leased", ("lease_expires_at",)),
    "outdated": Case(upkeep.outdated_jobs(BATCH), "jobs_expiring", ("expires_at",)),
}


@pytest.mark.parametrize("case", UPKEEP.values(), ids=UPKEEP)
def test_upkeep_finds_its_work_by_index(connection: Connection, explained: Explain, case: Case) -> None:
    hold(case, explained(connection, case.statement))


@pytest.mark.parametrize("behind", [False, True], ids=["ahead", "behind"])
def test_a_place_in_line_is_counted_by_index(connection: Connection, explained: Explain, *, behind: bool) -> None:
    last = select(jobs).where(text("state = 'queued' AND rung_at IS NULL"), jobs.c.queue == "default")
    job = connection.execute(last.order_by(jobs.c.priority, jobs.c.run_at.desc()).limit(1)).mappings().one()

    for query, index in zip(line_queries(job, behind=behind), ("jobs_unrung", "jobs_rung"), strict=True):
        plan = explained(connection, query)
        assert plan.read_whole == set()
        assert plan.indexes == {index}


def test_a_worker_that_hears_nothing_asks_by_index(connection: Connection, explained: Explain) -> None:
    values = {"queues": ["default", "rare"], "age": timedelta(days=9999)}  # no job is as old: all are looked at

    hold(
        Case(unheard.unheard_jobs(), "jobs_rung", ("queue",), 2 * unheard.LOOKED_AT + 20),
        explained(connection, unheard.unheard_jobs(), values),
    )


def listed(**wanted: Any) -> Executable:
    """Return the query for a page of fifty jobs."""
    return search.list_query(Filter(**wanted), tenant=DEFAULT_TENANT, limit=51)


LATELY = datetime.now(UTC) - timedelta(hours=1)
LONG_AGO = datetime.now(UTC) - timedelta(days=25)
LISTS = {
    "everything": Case(listed(), "jobs_pkey"),
    "a state": Case(listed(state=JobState.FAILED), "jobs_by_state", ("tenant", "state")),
    "a state of few": Case(listed(state=JobState.RUNNING), "jobs_by_state", ("tenant", "state")),
    "a task": Case(listed(task="task.3"), "jobs_by_task", ("tenant", "task")),
    "an unknown task": Case(listed(task="nobody.knows"), "jobs_by_task", ("tenant", "task")),
    "a tag": Case(listed(tag="customer-3"), "jobs_by_tag", ("tags",), 300),
    "an unknown tag": Case(listed(tag="nobody knows"), "jobs_by_tag", ("tags",)),
    "a queue": Case(listed(queue="default"), "jobs_pkey"),
    "a small queue": Case(listed(queue="rare"), "jobs_pkey", pages=4000),
    "lately": Case(listed(created_after=LATELY), "jobs_pkey", ("id >",)),
    "long ago": Case(listed(created_before=LONG_AGO), "jobs_pkey", ("id <",), 300),
    "dead letters": Case(search.dead_letters_query(tenant=DEFAULT_TENANT, limit=51), "jobs_dead_letters", ("tenant",)),
}


@pytest.mark.parametrize("case", LISTS.values(), ids=LISTS)
def test_a_list_finds_its_page_by_index(connection: Connection, explained: Explain, case: Case) -> None:
    hold(case, explained(connection, case.statement))


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.SUCCEEDED])
def test_a_state_since_lately_costs_no_look_at_what_is_older(
    connection: Connection, explained: Explain, state: JobState
) -> None:
    plan = explained(connection, listed(state=state, created_after=LATELY))

    assert plan.read_whole == set()
    assert plan.indexes <= {"jobs_by_state", "jobs_pkey"}
    assert "id >" in plan.conditions
    assert plan.pages < 200


@pytest.mark.parametrize("state", JobState)
def test_no_state_is_listed_by_reading_every_job(connection: Connection, explained: Explain, state: JobState) -> None:
    assert explained(connection, listed(state=state)).read_whole == set()


def test_start_finds_its_jobs_by_id(connection: Connection, explained: Explain) -> None:
    values = {"ids": some(connection, JobState.QUEUED), "worker": "w", "lease": timedelta(seconds=30)}

    hold(Case(attempts._START, "jobs_pkey", ("id",), 60 * BATCH), explained(connection, attempts._START, values))


def test_extend_and_look_find_their_jobs_by_id(connection: Connection, explained: Explain) -> None:
    values = {"ids": some(connection, JobState.RUNNING)[:5], "numbers": [1] * 5}

    hold(Case(attempts._LOOK, "jobs_pkey", ("id",)), explained(connection, attempts._LOOK, values))
    values |= {"lease": timedelta(seconds=30)}
    hold(Case(attempts._EXTEND, "jobs_pkey", ("id",), 60 * 5), explained(connection, attempts._EXTEND, values))


def test_finish_finds_its_jobs_and_attempts_by_id(connection: Connection, explained: Explain) -> None:
    ids = some(connection, JobState.RUNNING)
    constants = {"numbers": 1, "events": "succeed", "outcomes": "succeeded", "results": "{}", "errors": None}
    constants |= {"reasons": None, "retry_ins": timedelta(0)}
    values = {"ids": ids} | {name: [value] * len(ids) for name, value in constants.items()}

    plan = explained(connection, attempts._FINISH, values)

    hold(Case(attempts._FINISH, "jobs_pkey", ("id", "job_id"), 80 * BATCH), plan)
    assert "attempts_pkey" in plan.indexes


def test_a_jobs_history_is_found_by_its_id(connection: Connection, explained: Explain) -> None:
    (job_id, *_) = some(connection, JobState.RUNNING)
    attempts_query = sent_by(connection, lambda: search.attempts_of(connection, job_id))
    events_query = sent_by(connection, lambda: search.events_of(connection, job_id, after=1))

    hold(Case(attempts_query, "attempts_pkey", ("job_id",)), explained(connection, attempts_query))
    logs_query = sent_by(connection, lambda: search.logs_of(connection, job_id, after=1))
    hold(Case(events_query, "events_pkey", ("job_id", "seq")), explained(connection, events_query))
    hold(Case(logs_query, "job_logs_pkey", ("job_id", "seq")), explained(connection, logs_query))


def test_the_holder_of_a_unique_key_is_found_by_index(connection: Connection, explained: Explain) -> None:
    query = select(jobs.c.id).where(
        jobs.c.tenant == DEFAULT_TENANT, jobs.c.unique_key == "order-999984", insertion.UNIQUE_SCOPE
    )

    assert connection.scalar(query) is not None
    hold(Case(query, "jobs_unique_key", ("tenant", "unique_key")), explained(connection, query))


def test_counting_what_the_broker_holds_looks_at_one_queue_alone(connection: Connection, explained: Explain) -> None:
    query = sent_by(connection, lambda: upkeep.rung_by_priority(connection, "rare", 1000))

    hold(Case(query, "jobs_rung", ("queue",)), explained(connection, query))


def test_the_census_is_read_without_a_look_at_any_job(connection: Connection, explained: Explain) -> None:
    plan = explained(connection, census.count_query())

    assert plan.read_whole <= {"census", "census_marks"}
    assert plan.indexes == set()
    assert plan.pages < 50


def test_adding_up_the_census_costs_what_was_marked_lately(connection: Connection) -> None:
    census.fold(connection)
    state = text("UPDATE jobs SET state = 'scheduled' WHERE id = ANY (:ids)")
    connection.execute(state, {"ids": some(connection, JobState.RETRYING)})

    plan = explain(connection, census.FOLD, {"limit": census.FOLDED})

    assert plan.read_whole <= {"census_marks"}
    assert plan.pages < 1000


def test_the_longest_waits_are_found_by_index_and_within_a_bound(connection: Connection, explained: Explain) -> None:
    queues = ["default", "critical", "rare", "mail", "empty"]

    plan = explained(connection, census.WAITS, {"queues": queues})

    assert plan.read_whole == set()
    assert plan.indexes == {"jobs_unrung", "jobs_rung"}
    assert plan.pages < len(queues) * (census.LOOKED_AT + 100)
    print(f"the longest waits of {len(queues)} queues: {plan.milliseconds:.0f} ms")  # for `pytest -rP`


def test_what_is_overdue_is_found_by_index_and_within_a_bound(connection: Connection, explained: Explain) -> None:
    plan = explained(connection, overdue.OVERDUE)

    assert plan.read_whole == set()
    assert plan.indexes == {"jobs_due", "jobs_leased"}
    assert plan.pages < 2 * (overdue.LOOKED_AT + 100)


def test_pruning_with_nothing_to_prune_looks_at_nothing(connection: Connection) -> None:
    query = sent_by(connection, lambda: upkeep.prune(connection, keep=timedelta(days=40)))

    assert explain(connection, query).pages < 10
