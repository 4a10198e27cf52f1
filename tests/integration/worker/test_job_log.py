"""What a task logs about its job is kept in order and bounded, while the attempt holds the job, and never ends it."""

from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, make_url, text

from deploy.stack.ports import free_port
from jobs import job_logs, search
from jobs.database import DatabaseSettings, open_engine, reading
from jobs.job_logs import FULL, LARGEST_FACTS, MOST_BYTES, MOST_LINES
from jobs.model import Attempt
from tests.factories import cancelled, retry
from tests.integration.jobs import scenes
from tests.services.databases import connect_to
from tests.services.proxy import Proxy
from tests.services.stack import eventually
from worker import job_log
from worker.job_log import JobLog


@pytest.fixture
def attempt(engine: Engine) -> Attempt:
    return scenes.running(engine)


@pytest.fixture
def log(engine: Engine, attempt: Attempt) -> JobLog:
    return JobLog(attempt, lambda: engine)


def kept(engine: Engine, attempt: Attempt) -> list[Any]:
    with reading(engine) as connection:
        return [*search.logs_of(connection, attempt.job_id, limit=5000)]


def events(engine: Engine, attempt: Attempt) -> list[str]:
    return [line["event"] for line in kept(engine, attempt)]


def next_attempt(engine: Engine, attempt: Attempt) -> Attempt:
    assert scenes.end(engine, attempt, retry(seconds=0)) is not None
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET state = 'queued' WHERE id = :id"), {"id": attempt.job_id})
    (begun,) = scenes.start(engine, attempt.job_id)
    return begun


def test_lines_are_kept_in_their_order_with_level_and_facts(log: JobLog, attempt: Attempt, engine: Engine) -> None:
    for level in (log.debug, log.info, log.warning, log.error):
        level("looked", level=level.__name__, page=1)
    log.info("done")
    log.flush()

    found = kept(engine, attempt)
    assert [line["level"] for line in found] == ["debug", "info", "warning", "error", "info"]
    assert [line["facts"] for line in found[2:]] == [
        {"level": "warning", "page": 1},
        {"level": "error", "page": 1},
        None,
    ]
    assert [line["seq"] for line in found] == sorted(line["seq"] for line in found)
    assert {line["attempt"] for line in found} == {1}


def test_a_line_is_kept_soon_though_the_task_says_nothing_more(log: JobLog, attempt: Attempt, engine: Engine) -> None:
    log.info("began")

    eventually(lambda: events(engine, attempt) == ["began"], 20, "the line is kept")


def test_a_line_that_could_not_be_written_is_kept_when_postgresql_is_back_though_the_task_says_nothing_more(
    attempt: Attempt, engine: Engine, database_url: str
) -> None:
    server = make_url(database_url)
    with Proxy(str(server.host), server.port or 5432) as proxy:
        through = connect_to(proxy.through(database_url), pool_size=1)
        log = JobLog(attempt, lambda: through)
        proxy.refuse()
        log.info("began")
        eventually(lambda: proxy.refusals > 0, 20, "it was tried in vain")
        proxy.heal()

        eventually(lambda: events(engine, attempt) == ["began"], 20, "the line is kept")
        through.dispose()


def test_the_lines_of_an_attempt_that_is_over_are_followed_by_those_of_the_next(
    log: JobLog, attempt: Attempt, engine: Engine
) -> None:
    log.info("first")
    log.flush()
    second = JobLog(next_attempt(engine, attempt), lambda: engine)
    second.info("second")
    second.flush()

    assert [(line["attempt"], line["event"]) for line in kept(engine, attempt)] == [(1, "first"), (2, "second")]


def test_an_attempt_that_lost_its_job_writes_no_more(log: JobLog, attempt: Attempt, engine: Engine) -> None:
    scenes.end(engine, attempt, cancelled())
    log.info("too late")
    log.flush()

    assert kept(engine, attempt) == []


def test_no_more_lines_are_kept_than_the_bound_and_the_last_one_says_so(
    log: JobLog, attempt: Attempt, engine: Engine
) -> None:
    for batch in range(3):
        for number in range(MOST_LINES // 2):
            log.info("n", b=batch, n=number)
        log.flush()

    found = kept(engine, attempt)
    assert len(found) == MOST_LINES + 1
    assert (found[-1]["event"], found[-1]["level"]) == (FULL, "warning")
    assert found[-2]["facts"] == {"b": 1, "n": MOST_LINES // 2 - 1}


def test_no_more_bytes_are_kept_than_the_bound(log: JobLog, attempt: Attempt, engine: Engine) -> None:
    for _ in range(100):
        log.info("n", text="x" * 1000)
    log.flush()

    sizes = [len(str(line["facts"])) for line in kept(engine, attempt)]
    assert MOST_BYTES - 2000 < sum(sizes) <= MOST_BYTES


def test_a_later_attempt_has_at_least_half_of_the_room(log: JobLog, attempt: Attempt, engine: Engine) -> None:
    for number in range(MOST_LINES):
        log.info(str(number))
    log.flush()
    second = JobLog(next_attempt(engine, attempt), lambda: engine)
    for _ in range(MOST_LINES):
        second.info("again")
    second.flush()

    found = kept(engine, attempt)
    assert len(found) == MOST_LINES + 1
    assert [line["attempt"] for line in found].count(1) == MOST_LINES // 2
    assert found[0]["event"] == str(MOST_LINES // 2), "the last lines of the first attempt stay"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("a\0b", "a\N{REPLACEMENT CHARACTER}b"),
        ("\ud800", None),
        (float("nan"), None),
        ({1, 2}.__len__, "__len__"),
    ],
    ids=["nul", "surrogate", "nan", "function"],
)
def test_what_is_hard_to_store_is_kept_as_well_as_it_can_be(
    said: Any, shown: str | None, log: JobLog, attempt: Attempt, engine: Engine
) -> None:
    log.info("e\0", value=said)
    log.flush()

    (line,) = kept(engine, attempt)
    assert line["event"] == "e\N{REPLACEMENT CHARACTER}"
    if shown is not None:
        assert shown in line["facts"]["value"]


def test_facts_are_kept_up_to_their_bound_and_beyond_it_only_their_size(
    log: JobLog, attempt: Attempt, engine: Engine
) -> None:
    around = len('{"text":""}')
    log.info("fits", text="x" * (LARGEST_FACTS - around))
    log.info("long", text="x" * (LARGEST_FACTS - around + 1))
    log.flush()

    fits, long = (line["facts"] for line in kept(engine, attempt))
    assert fits == {"text": "x" * (LARGEST_FACTS - around)}
    assert long == {"truncated": True, "bytes": LARGEST_FACTS + 1}


def test_a_fact_that_cannot_be_shown_does_not_end_the_task(log: JobLog, attempt: Attempt, engine: Engine) -> None:
    class Rude:
        def __repr__(self) -> str:
            raise OSError

    log.info("met", who=Rude())
    log.flush()

    assert [line["event"] for line in kept(engine, attempt)] == ["met"]


def test_a_database_that_is_away_costs_lines_and_nothing_else(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_log, "WRITE_EVERY", 0.01)
    url = SecretStr(f"postgresql://nobody:x@127.0.0.1:{free_port()}/none")
    nowhere = open_engine(DatabaseSettings(database_url=url), application_name="penstock-tests")
    log = JobLog(attempt, lambda: nowhere)

    for _ in range(3 * MOST_LINES):
        log.info("n")
    log.flush()

    assert len(log._waiting) <= MOST_LINES


def test_the_same_lines_again_are_kept_once(attempt: Attempt, engine: Engine) -> None:
    line = job_logs.line(attempt.started_at + timedelta(seconds=1), job_logs.Level.INFO, "n", {})

    def write() -> bool:
        with engine.begin() as connection:
            return job_logs.write(connection, attempt.job_id, 1, 1, [line])

    assert [write(), write()] == [True, True]
    assert events(engine, attempt) == ["n"]
