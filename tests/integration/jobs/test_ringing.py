"""Upkeep rings for jobs that nobody rang for, and for those whose doorbell may have been lost."""

from datetime import timedelta

from sqlalchemy import Engine

from jobs import upkeep
from tests.factories import cancelled, failure, new_job, release, retry, success
from tests.integration.jobs import scenes
from tests.integration.jobs.chores import do, ids, stranded, unrung


def test_what_nobody_rang_for_is_rung_the_most_urgent_first(engine: Engine) -> None:
    made = [unrung(engine, priority=priority) for priority in (1, 9, 5, 9)]
    other = unrung(engine, queue="other")

    first = do(engine, upkeep.claim_unrung, "default", 2)
    rest = do(engine, upkeep.claim_unrung, "default", 10)

    assert [bell.id for bell in first] == [made[1], made[3]]
    assert [bell.id for bell in rest] == [made[2], made[0]]
    assert do(engine, upkeep.claim_unrung, "default") == []
    assert scenes.row(engine, other)["rung_at"] is None
    assert scenes.told(engine, made[0]) == ["accept"]


def test_many_are_rung_in_the_order_of_their_urgency(engine: Engine) -> None:
    receipts = scenes.accepted(engine, *(new_job(priority=n * 7 % 10) for n in range(400)))
    do(engine, upkeep.mark_unrung, [receipt.id for receipt in receipts])

    bells = do(engine, upkeep.claim_unrung, "default", 300)

    assert [bell.priority for bell in bells] == sorted((r.priority for r in receipts), reverse=True)[:300]


def test_a_doorbell_that_started_nothing_is_rung_anew(engine: Engine) -> None:
    forgotten = stranded(engine)
    other, fresh = stranded(engine, queue="other"), scenes.queued(engine)

    assert ids(do(engine, upkeep.claim_stranded, "default")) == {forgotten}
    assert do(engine, upkeep.claim_stranded, "default") == []
    assert ids(do(engine, upkeep.claim_stranded, "other")) == {other}
    assert ids(do(engine, upkeep.claim_stranded, "default", after=timedelta(0))) == {forgotten, fresh}


def test_only_queued_jobs_are_rung(engine: Engine) -> None:
    scenes.scheduled(engine)
    scenes.running(engine)
    for verdict in (success(), failure(), retry(), cancelled()):
        scenes.ended(engine, verdict)

    assert do(engine, upkeep.claim_unrung, "default") == []
    assert do(engine, upkeep.claim_stranded, "default", after=timedelta(0)) == []


def test_a_doorbell_that_did_not_reach_the_broker_is_taken_back(engine: Engine) -> None:
    waiting, begun, done = scenes.queued(engine), scenes.running(engine).job_id, scenes.ended(engine, success())
    before = [scenes.row(engine, job_id) for job_id in (begun, done)]

    do(engine, upkeep.mark_unrung, [waiting, begun, done])

    assert scenes.row(engine, waiting)["rung_at"] is None
    assert [scenes.row(engine, job_id) for job_id in (begun, done)] == before
    assert ids(do(engine, upkeep.claim_unrung, "default")) == {waiting}


def test_what_the_broker_holds_is_counted_by_priority(engine: Engine) -> None:
    for priority in (4, 4, 4, 9):
        scenes.queued(engine, priority=priority)
    scenes.queued(engine, queue="other", priority=2)
    unrung(engine)
    scenes.running(engine)

    assert do(engine, upkeep.rung_by_priority, "default", 1000) == {4: 3, 9: 1}
    assert do(engine, upkeep.rung_by_priority, "other", 1000) == {2: 1}
    assert do(engine, upkeep.rung_by_priority, "unknown", 1000) == {}


def test_a_flooded_broker_is_not_counted_to_its_end(engine: Engine) -> None:
    scenes.accepted(engine, *(new_job(priority=4) for _ in range(30)))

    assert do(engine, upkeep.rung_by_priority, "default", 1) == {4: 20}


def test_the_priorities_that_wait_are_found_one_after_the_other(engine: Engine) -> None:
    for priority in (2, 7, 7):
        unrung(engine, priority=priority)
    unrung(engine, queue="other", priority=9)
    scenes.queued(engine, priority=8)

    found = [do(engine, upkeep.most_urgent_unrung, "default", below) for below in (None, 7, 2)]

    assert found == [7, 2, None]
    assert do(engine, upkeep.most_urgent_unrung, "unknown") is None


def test_one_priority_alone_can_be_rung(engine: Engine) -> None:
    urgent, usual = unrung(engine, priority=9), unrung(engine, priority=4)

    assert ids(do(engine, upkeep.claim_unrung, "default", 10, 4)) == {usual}
    assert ids(do(engine, upkeep.claim_unrung, "default", 10)) == {urgent}


def test_the_backlog_is_counted_no_further_than_asked(engine: Engine) -> None:
    for queue in ("default", "default", "other"):
        unrung(engine, queue=queue)
    scenes.queued(engine)
    scenes.scheduled(engine)

    assert [do(engine, upkeep.count_unrung, limit) for limit in (1, 3, 100)] == [1, 3, 3]


def test_a_released_job_waits_for_upkeep_to_ring(engine: Engine) -> None:
    job_id = scenes.ended(engine, release())

    assert ids(do(engine, upkeep.claim_unrung, "default")) == {job_id}
