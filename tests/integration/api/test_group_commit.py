"""Concurrent submissions share a transaction, and none of them suffers for another."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from sqlalchemy import Engine, ExceptionContext, event, text
from sqlalchemy.exc import OperationalError

from api.group_commit import GroupCommit, commit
from api.problems import BacklogFull, Overloaded
from jobs import upkeep
from jobs.database import DatabaseSettings, is_held, open_engine, transaction
from jobs.errors import InvalidPayload, RefusedError, UniqueKeyTaken
from jobs.intake import Answer, accept
from jobs.model import Acceptance, Doorbell, NewJob, Submission
from jobs.telemetry.metrics import Instruments
from jobs.window import LOOK_EVERY, Backlog, Window
from tests.factories import new_job, submission
from tests.integration.api.problems import problem
from tests.integration.jobs import scenes
from tests.services.api import Api, Person, running_api
from tests.services.databases import connect_to
from tests.services.stack import eventually

LARGEST_GROUP = 200
OVERFLOW = '{"number": 1e200000}'
"""JSON that passes every look of ours, and that jsonb's numbers have no room for."""


class House:
    """A group commit of its own, and the doorbells that it wants rung."""

    def __init__(
        self, engine: Engine, waiting_limit: int = 1000, *, window: int = 10_000, backlog: int = 10_000
    ) -> None:
        self.now = 1000.0
        self.rung: list[Doorbell] = []
        self.registry = CollectorRegistry()
        instruments = Instruments(self.registry, "group_commit_size", "commit_wait_seconds", "jobs_replayed")
        self.commits = GroupCommit(
            engine,
            self.rung.extend,
            instruments,
            window=Window(engine, window),
            backlog=Backlog(engine, backlog, run=lambda work: work(), clock=lambda: self.now),
            group_limit=LARGEST_GROUP,
            waiting_limit=waiting_limit,
            longest_wait=10.0,
        )

    def together(self, *submissions: Submission) -> list[Answer]:
        """Submit all of these before the first commit begins, and return their answers."""
        answers = self.what_becomes_of(*submissions)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, RefusedError):
                raise answer
        return answers  # type: ignore[return-value]  # the loop has just seen to it

    def what_becomes_of(self, *submissions: Submission) -> list[Answer | BaseException]:
        """Submit all of these before the first commit begins, and return their answers or what was raised."""

        async def submit() -> list[Answer | BaseException]:
            waiting = [asyncio.create_task(self.commits.submit(one)) for one in submissions]
            await asyncio.sleep(0)
            self.commits.start()
            return await asyncio.gather(*waiting, return_exceptions=True)

        return asyncio.run(submit())

    def count(self, metric: str) -> float | None:
        """Return the value of a metric."""
        return self.registry.get_sample_value(metric)


@pytest.fixture
def house(engine: Engine) -> Iterator[House]:
    made = House(engine)
    yield made
    made.commits.close()


def writers(engine: Engine) -> list[int]:
    """Return how many jobs each transaction stored."""
    with engine.connect() as connection:
        return sorted(connection.scalars(text("SELECT count(*) FROM jobs GROUP BY xmin::text")))


def test_submissions_that_wait_share_a_transaction(engine: Engine, house: House) -> None:
    answers = house.together(*[submission() for _ in range(50)])
    house.commits.close()

    assert all(isinstance(answer, Acceptance) for answer in answers)
    assert writers(engine) == [50]
    assert len(house.rung) == 50
    assert house.count("penstock_group_commit_size_count") == 1
    assert house.count("penstock_group_commit_size_sum") == 50


def test_a_group_has_a_largest_size(engine: Engine, house: House) -> None:
    house.together(*[submission() for _ in range(LARGEST_GROUP + 5)])

    assert writers(engine) == [5, LARGEST_GROUP]


def test_what_the_window_has_no_room_for_is_stored_and_not_rung(engine: Engine) -> None:
    house = House(engine, window=10)

    answers = house.together(*[submission(*[new_job() for _ in range(6)]) for _ in range(3)])
    alone = house.commits.submit_alone(submission(*[new_job(priority=9) for _ in range(11)]))
    house.commits.close()

    assert all(isinstance(answer, Acceptance) for answer in [*answers, alone])
    assert house.rung == []
    with engine.connect() as connection:
        assert upkeep.count_unrung(connection, 100) == scenes.stored(engine) == 29


def test_a_full_backlog_refuses_what_comes_and_keeps_what_it_has(engine: Engine) -> None:
    house = House(engine, window=1, backlog=5)
    house.commits.submit_alone(submission(*[new_job() for _ in range(5)]))
    house.now += LOOK_EVERY
    house.commits.submit_alone(submission(*[new_job(queue="bulk") for _ in range(5)]))
    known = scenes.stored(engine)

    with pytest.raises(BacklogFull):
        house.commits.submit_alone(submission())
    with pytest.raises(BacklogFull):
        house.together(submission())
    house.commits.close()

    assert scenes.stored(engine) == known


@pytest.fixture
def hot(database_url: str) -> Iterator[Engine]:
    """An engine as the API commits with: it waits a second for a lock."""
    settings = DatabaseSettings(database_url=SecretStr(database_url))
    opened = open_engine(settings, application_name="tests", pool_size=2, hot=True)
    yield opened
    opened.dispose()


def test_a_neighbour_whose_key_a_hung_transaction_holds_is_turned_away_alone(engine: Engine, hot: Engine) -> None:
    house = House(hot)
    held = submission(key="held")

    with engine.connect() as hung:
        accept(hung, [submission(key="held")])
        answers = house.what_becomes_of(submission(), held, submission(key="other"))
        hung.rollback()
    house.commits.close()

    assert [type(answer) for answer in answers] == [Acceptance, OperationalError, Acceptance]
    assert is_held(answers[1])  # type: ignore[arg-type]  # the line above has just said so
    assert len(house.rung) == 2
    assert scenes.stored(engine) == 2
    assert isinstance(house.commits.submit_alone(held), Acceptance)


def test_a_large_submission_whose_key_a_hung_transaction_holds_is_turned_away(engine: Engine, hot: Engine) -> None:
    house = House(hot)

    with engine.connect() as hung:
        accept(hung, [submission(key="held")])
        with pytest.raises(OperationalError) as raised:
            house.commits.submit_alone(submission(key="held"))
        hung.rollback()

    assert is_held(raised.value)
    assert house.rung == []


def test_a_neighbour_whose_data_postgresql_refuses_is_refused_alone(engine: Engine, house: House) -> None:
    bad = submission(new_job(payload=OVERFLOW), key="k")

    answers = house.together(submission(), bad, submission(key="other"))
    house.commits.close()

    assert [type(answer) for answer in answers] == [Acceptance, InvalidPayload, Acceptance]
    assert scenes.stored(engine) == 2
    assert len(house.rung) == 2


def test_a_neighbour_whose_unique_key_is_taken_is_refused_alone(engine: Engine, house: House) -> None:
    answers = house.together(
        submission(new_job(unique_key="u")), submission(new_job(unique_key="u")), submission(new_job())
    )

    assert sorted(type(answer).__name__ for answer in answers) == ["Acceptance", "Acceptance", UniqueKeyTaken.__name__]
    assert scenes.stored(engine) == 2


def test_twins_in_one_group_get_one_answer(engine: Engine, house: House) -> None:
    answers = house.together(submission(key="k"), submission(key="k"), submission(key="k"))
    house.commits.close()

    assert [answer.replayed for answer in answers if isinstance(answer, Acceptance)] == [False, True, True]
    assert scenes.stored(engine) == len(house.rung) == 1
    assert house.count("penstock_jobs_replayed_total") == 2


def test_what_is_not_due_is_not_rung(house: House) -> None:
    house.together(submission(new_job(delay=scenes.LONG)), submission())
    house.commits.close()

    assert len(house.rung) == 1


def test_a_house_that_closes_commits_what_waits_and_takes_no_more(engine: Engine) -> None:
    house = House(engine)
    (answer,) = house.together(submission())
    assert isinstance(answer, Acceptance)
    house.commits.close()

    with pytest.raises(Overloaded):
        asyncio.run(house.commits.submit(submission()))


def test_a_client_that_has_left_does_not_disturb_the_others(engine: Engine, house: House) -> None:
    async def leave() -> Answer:
        staying = asyncio.create_task(house.commits.submit(submission()))
        leaving = asyncio.create_task(house.commits.submit(submission()))
        await asyncio.sleep(0)
        leaving.cancel()
        house.commits.start()
        return await staying

    assert isinstance(asyncio.run(leave()), Acceptance)
    assert scenes.stored(engine) == 2


def test_an_error_that_nobody_foresaw_reaches_all_of_the_group_and_the_next_one_works(
    engine: Engine, house: House
) -> None:
    async def submit() -> Sequence[object]:
        bad = Submission((NewJob(task="demo.noop", payload="{}", queue="q" * 101),))  # what a CHECK refuses
        waiting = [asyncio.create_task(house.commits.submit(one)) for one in (bad, submission())]
        await asyncio.sleep(0)
        house.commits.start()
        failed = await asyncio.gather(*waiting, return_exceptions=True)
        return [*failed, await house.commits.submit(submission())]

    first, second, third = asyncio.run(submit())

    assert isinstance(first, Exception)
    assert second is first
    assert isinstance(third, Acceptance)
    assert scenes.stored(engine) == 1


def test_a_lock_that_is_not_had_in_time_is_tried_for_again(engine: Engine, database_url: str) -> None:
    impatient = connect_to(database_url)
    holder = engine.connect()
    failures: list[str] = []

    @event.listens_for(impatient, "connect")
    def hurry(connection: Any, _record: Any) -> None:
        connection.execute("SET lock_timeout = 50")
        connection.commit()

    @event.listens_for(impatient, "handle_error")
    def let_go(context: ExceptionContext) -> None:
        failures.append(type(context.original_exception).__name__)
        holder.rollback()

    holder.execute(text("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE"))
    (answer,) = commit(impatient, [submission()], quiet=())
    impatient.dispose()
    holder.close()

    assert isinstance(answer, Acceptance)
    assert failures == ["LockNotAvailable"]


# Over HTTP


@contextmanager
def stalled(person: Person) -> Iterator[None]:
    """Hold every commit of jobs back for as long as the block lasts."""
    with transaction(person.engine) as connection:
        connection.execute(text("LOCK TABLE jobs IN SHARE MODE"))
        yield


def waiting(api: Api, count: int) -> None:
    """Return when so many submissions wait for the commit that is under way."""
    commits: GroupCommit = api.app.state.commits
    eventually(lambda: len(commits._waiting) == count, 10, f"{count} submissions wait")


def send(pool: ThreadPoolExecutor, person: Person, count: int) -> list[Future[httpx.Response]]:
    """Submit from so many threads."""
    return [pool.submit(person.submit) for _ in range(count)]


def test_who_comes_during_a_commit_goes_with_the_next(database_url: str, broker_url: str) -> None:
    with running_api(database_url, broker_url) as api, ThreadPoolExecutor(40) as pool:
        person = api.person()
        with stalled(person):
            first = send(pool, person, 1)
            scenes.wait_for_lock(person.engine)
            rest = send(pool, person, 39)
            waiting(api, 39)

        assert {one.result().status_code for one in [*first, *rest]} == {202}
        assert writers(person.engine) == [1, 39]


def test_nobody_waits_for_company(person: Person) -> None:
    seconds = []
    for _ in range(15):
        began = time.perf_counter()
        assert person.submit().status_code == 202
        seconds.append(time.perf_counter() - began)

    # There is no timer: the quickest of some is a round trip and a commit, even on a busy machine.
    assert min(seconds) < 0.02
    with person.engine.connect() as connection:
        query = text("SELECT count(DISTINCT xmin::text) FROM jobs WHERE tenant = :tenant")
        assert connection.scalar(query, {"tenant": person.tenant}) == 15


def test_more_than_may_wait_are_sent_away_at_once(database_url: str, broker_url: str) -> None:
    with running_api(database_url, broker_url, waiting_limit=3) as api, ThreadPoolExecutor(8) as pool:
        person = api.person()
        with stalled(person):
            first = send(pool, person, 1)
            scenes.wait_for_lock(person.engine)
            rest = send(pool, person, 3)
            waiting(api, 3)

            began = time.monotonic()
            problem(person.submit(), 503, "overloaded")
            assert time.monotonic() - began < 1
            assert person.http.get("/health").status_code == 200

        assert {one.result().status_code for one in [*first, *rest]} == {202}
        assert person.stored() == 4
