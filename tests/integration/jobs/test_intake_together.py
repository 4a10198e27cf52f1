"""Many requests at the same moment: one key makes one job, and nobody waits for ever."""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import Engine

from jobs import intake
from jobs.database import transaction
from jobs.errors import IdempotencyKeyReused, UniqueKeyTaken
from jobs.intake import Answer
from jobs.model import Acceptance, JobId
from tests.factories import new_job, submission
from tests.integration.jobs import scenes
from tests.services.databases import connected

CROWD = 200


def test_two_hundred_requests_with_one_key_make_one_job(database_url: str) -> None:
    with connected(database_url, pool_size=8) as engine:
        gate = Barrier(CROWD)

        def ask(_: int) -> Answer:
            gate.wait(30)
            (answer,) = scenes.submit(engine, submission(key="k"))
            return answer

        with ThreadPoolExecutor(CROWD) as crowd:
            answers = list(crowd.map(ask, range(CROWD)))

        acceptances = [answer for answer in answers if isinstance(answer, Acceptance)]
        assert len(acceptances) == CROWD
        assert len({answer.receipts for answer in acceptances}) == 1
        assert Counter(answer.replayed for answer in acceptances) == {False: 1, True: CROWD - 1}
        assert scenes.stored(engine) == 1


def test_of_many_requests_for_one_unique_key_one_gets_it(engine: Engine) -> None:
    gate = Barrier(8)

    def ask(_: int) -> Answer:
        gate.wait(30)
        (answer,) = scenes.submit(engine, submission(new_job(unique_key="k")))
        return answer

    with ThreadPoolExecutor(8) as crowd:
        answers = list(crowd.map(ask, range(8)))

    winner, *_ = [answer for answer in answers if isinstance(answer, Acceptance)]
    refusals = [answer for answer in answers if isinstance(answer, UniqueKeyTaken)]
    assert len(refusals) == 7
    assert {refusal.facts["existing_job_id"] for refusal in refusals} == {str(winner.receipts[0].id)}


def test_a_second_request_waits_for_the_first_and_takes_the_key_when_it_fails(engine: Engine) -> None:
    with engine.connect() as first:
        intake.accept(first, [submission(key="k")])
        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(scenes.submit, engine, submission(key="k", fingerprint=b"o" * 32))
            scenes.wait_for_lock(engine)
            first.rollback()
            (answer,) = second.result(30)

    assert isinstance(answer, Acceptance)
    assert not answer.replayed


def test_a_second_request_waits_for_the_first_and_learns_what_it_made(engine: Engine) -> None:
    with engine.connect() as first:
        (made,) = intake.accept(first, [submission(key="k")])
        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(scenes.submit, engine, submission(key="k"), submission(key="k", fingerprint=b"o" * 32))
            scenes.wait_for_lock(engine)
            first.commit()
            answer, other = second.result(30)

    assert isinstance(made, Acceptance)
    assert answer == Acceptance(made.receipts, replayed=True)
    assert isinstance(other, IdempotencyKeyReused)


@pytest.mark.parametrize("commit", [True, False])
def test_whether_a_cut_commit_happened_is_known_once_its_transaction_has_ended(engine: Engine, *, commit: bool) -> None:
    def look(job_id: JobId) -> bool:
        with transaction(engine) as connection:
            return intake.was_committed(connection, job_id)

    job = new_job()
    with engine.connect() as cut_off, ThreadPoolExecutor(1) as pool:
        intake.accept(cut_off, [submission(job)])
        looking = pool.submit(look, job.id)
        scenes.wait_for_lock(engine)
        cut_off.commit() if commit else cut_off.rollback()

        assert looking.result(30) is commit
    assert look(job.id) is commit
    assert scenes.stored(engine) == commit


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("keyed", [True, False])
def test_overlapping_keys_in_any_order_never_lock_each_other_out(engine: Engine, seed: int, *, keyed: bool) -> None:
    gate = Barrier(6)

    def ask(thread: int) -> int:
        chance, accepted = random.Random(seed * 100 + thread), 0
        gate.wait(30)
        for _ in range(15):
            asked = [
                submission(
                    *(new_job(unique_key=f"u{chance.randrange(12)}") for _ in range(chance.randint(1, 3))),
                    key=f"k{chance.randrange(12)}" if keyed else None,
                )
                for _ in range(chance.randint(1, 8))
            ]
            accepted += sum(isinstance(answer, Acceptance) for answer in scenes.submit(engine, *asked))
        return accepted

    with ThreadPoolExecutor(6) as crowd:
        accepted = sum(crowd.map(ask, range(6)))

    assert accepted > 0
    assert 0 < scenes.stored(engine) <= 12, "each unique key once at the most"
