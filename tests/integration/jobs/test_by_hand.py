"""A job now, and jobs for a span of the past: what people ask a schedule for besides its timing."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from jobs.calendar.refusal import InvalidTiming
from jobs.database import transaction
from jobs.errors import IdempotencyKeyReused, NotFound
from jobs.model import Idempotency, JobId
from jobs.planning import by_hand, history
from jobs.planning.model import LARGEST_LIMIT
from jobs.planning.words import Overlap
from jobs.state import JobState
from tests.factories import success
from tests.integration.jobs import scenes
from tests.integration.jobs.timetable import (
    NAME,
    backfill,
    change,
    decided,
    due,
    fire,
    fire_waiting,
    get,
    jobs_of,
    missed,
    pause,
    put,
    trigger,
)

HOUR = timedelta(hours=1)
KEY = Idempotency("key", b"f" * 32)


def test_a_trigger_makes_a_job_now_and_leaves_the_timing_alone(engine: Engine) -> None:
    before = put(engine, every_seconds=3600, payload='{"a": 1}')

    occurrence = trigger(engine)

    job = scenes.row(engine, occurrence["job_id"])
    assert (occurrence["decision"], occurrence["reason"]) == ("fired", "triggered")
    assert (job["state"], job["payload"], job["submitter"]) == (JobState.QUEUED, {"a": 1}, "somebody")
    assert job["rung_at"] is not None, "whoever triggers rings"
    assert get(engine) == before


def test_a_trigger_returns_the_doorbell(engine: Engine) -> None:
    put(engine)

    with transaction(engine) as connection:
        occurrence, bells, is_old = by_hand.trigger(connection, NAME, by_hand.Asker())

    assert ([bell.id for bell in bells], is_old) == ([occurrence["job_id"]], False)


def test_a_paused_schedule_can_be_triggered(engine: Engine) -> None:
    put(engine)
    pause(engine)

    assert trigger(engine)["decision"] == "fired"


def test_the_same_trigger_twice_is_one(engine: Engine) -> None:
    put(engine, overlap=Overlap.SKIP)

    first, second = trigger(engine, key=KEY), trigger(engine, key=KEY)

    assert second == first
    assert scenes.stored(engine) == 1
    with pytest.raises(IdempotencyKeyReused):
        trigger(engine, key=Idempotency("key", b"g" * 32))


def finish(engine: Engine, job_id: JobId) -> None:
    (attempt,) = scenes.start(engine, job_id)
    scenes.end(engine, attempt, success())


def in_the_way(engine: Engine, decision: str) -> None:
    """A schedule whose next trigger comes to `decision`."""
    changes: dict[str, dict[str, Any]] = {
        "skipped": {"overlap": Overlap.SKIP},
        "waiting": {"overlap": Overlap.WAIT},
        "refused": {"unique_key": "taken"},
    }
    put(engine, **changes[decision])
    trigger(engine)


@pytest.mark.parametrize("came_to", ["skipped", "waiting", "refused"])
def test_the_same_trigger_twice_is_one_also_where_it_made_no_job(engine: Engine, came_to: str) -> None:
    in_the_way(engine, came_to)
    first = trigger(engine, key=KEY)
    assert came_to in {first["decision"], first["reason"]}

    finish(engine, jobs_of(engine)[0])
    second = trigger(engine, key=KEY)

    assert second == first
    assert len(decided(engine)) == 2
    assert trigger(engine)["job_id"] or came_to == "waiting", "without the key nothing is in the way"
    with pytest.raises(IdempotencyKeyReused):
        trigger(engine, key=Idempotency("key", b"g" * 32))


def test_the_same_trigger_again_gets_the_job_that_the_first_one_waited_for(engine: Engine) -> None:
    in_the_way(engine, "waiting")
    first = trigger(engine, key=KEY)
    finish(engine, jobs_of(engine)[0])
    fire_waiting(engine)

    second = trigger(engine, key=KEY)

    assert (second["id"], second["decision"]) == (first["id"], "fired")
    assert second["job_id"]


def test_a_key_that_has_expired_is_free_again(engine: Engine) -> None:
    in_the_way(engine, "skipped")
    first = trigger(engine, key=KEY)
    change(engine, "UPDATE idempotency_keys SET expires_at = now()")

    assert [trigger(engine, key=KEY)["id"] == first["id"] for _ in range(2)] == [False, False]
    assert len(decided(engine)) == 3, "the second one of these is the first one's again"


def test_two_triggers_are_two(engine: Engine) -> None:
    put(engine)

    assert trigger(engine)["job_id"] != trigger(engine)["job_id"]


def test_a_backfill_makes_the_jobs_that_are_missing(engine: Engine) -> None:
    schedule = missed(engine, 1)
    last = schedule.definition.anchor_at
    assert last is not None
    fire(engine)

    done = backfill(engine, last - 3 * HOUR, last)

    assert [one.instant.at for one in done] == [last - hours * HOUR for hours in (3, 2, 1, 0)]
    assert [one.is_new for one in done] == [True, True, True, False]
    assert all(one.occurrence and one.occurrence["job_id"] for one in done)
    assert decided(engine) == [("fired", "backfilled")] * 3 + [("fired", "caught_up")]
    assert get(engine).decided_until == last


def test_a_backfill_again_makes_nothing(engine: Engine) -> None:
    last = missed(engine, 1).definition.anchor_at
    assert last is not None
    first = backfill(engine, last - HOUR, last)

    again = backfill(engine, last - HOUR, last)

    assert [one.occurrence for one in again] == [one.occurrence for one in first]
    assert scenes.stored(engine) == 2
    fire(engine)
    assert scenes.stored(engine) == 2


def test_what_was_skipped_can_be_had_after_all(engine: Engine) -> None:
    last = missed(engine, 3).definition.anchor_at
    assert last is not None
    fire(engine)
    assert decided(engine) == [("skipped", "superseded"), ("fired", "caught_up")]

    backfill(engine, last - 2 * HOUR, last)

    assert sorted(decided(engine)) == [
        ("fired", "backfilled"),
        ("fired", "backfilled"),
        ("fired", "caught_up"),
        ("skipped", "superseded"),
    ]


def test_a_dry_run_does_nothing(engine: Engine) -> None:
    last = missed(engine, 1).definition.anchor_at
    assert last is not None

    planned = backfill(engine, last - HOUR, last, dry_run=True)

    assert [(one.is_new, one.occurrence) for one in planned] == [(True, None), (True, None)]
    assert scenes.stored(engine) == 0
    assert decided(engine) == []


def test_a_backfill_heeds_neither_overlap_nor_pause(engine: Engine) -> None:
    last = missed(engine, 1, overlap=Overlap.SKIP).definition.anchor_at
    assert last is not None
    pause(engine)

    backfill(engine, last - HOUR, last)

    assert decided(engine) == [("fired", "backfilled")] * 2
    assert len(get(engine).open_jobs) == 2, "the next instant minds them"


def test_a_span_must_lie_in_the_past_and_have_a_bounded_number_of_instants(engine: Engine) -> None:
    put(engine, every_seconds=1)
    now = scenes.database_now(engine)

    for first, last in (
        (now, now - HOUR),
        (now, now + HOUR),
        (now - timedelta(seconds=LARGEST_LIMIT + 5), now - timedelta(seconds=1)),
    ):
        with pytest.raises(InvalidTiming) as caught:
            backfill(engine, first, last)
        assert caught.value.field == "to"
    assert scenes.stored(engine) == 0


def test_a_backfill_that_intake_refuses_says_so(engine: Engine) -> None:
    last = missed(engine, 1, unique_key="only one").definition.anchor_at
    assert last is not None

    refused, made = sorted(
        backfill(engine, last - HOUR, last), key=lambda one: one.occurrence["decision"] if one.occurrence else "",
        reverse=True,
    )  # fmt: skip

    assert refused.occurrence is not None
    assert made.occurrence is not None
    assert (refused.occurrence["reason"], made.occurrence["reason"]) == ("refused", "backfilled")


def test_what_is_not_there_can_be_neither_triggered_nor_backfilled(engine: Engine) -> None:
    now = scenes.database_now(engine)

    with pytest.raises(NotFound):
        trigger(engine)
    with pytest.raises(NotFound):
        backfill(engine, now - HOUR, now)


# Forgetting


def test_what_was_decided_long_ago_is_forgotten_and_what_waits_is_not(engine: Engine) -> None:
    for name in ("old", "waiting", "new"):
        due(engine, name=name)
    fire(engine)
    change(
        engine,
        "UPDATE occurrences SET decided_at = now() - interval '9 days', "
        "id = overlay(id::text placing '01000000' from 1)::uuid "  # an id of many years ago
        "WHERE schedule_id IN (SELECT id FROM schedules WHERE name <> 'new')",
    )
    change(
        engine,
        "UPDATE occurrences SET decision = 'waiting', job_id = NULL "
        "WHERE schedule_id = (SELECT id FROM schedules WHERE name = 'waiting')",
    )

    with transaction(engine) as connection:
        gone = [history.prune(connection, keep=timedelta(days=1), limit=10) for _ in range(2)]

    assert gone == [1, 0]
    assert [decided(engine, name) for name in ("old", "waiting", "new")] == [
        [],
        [("waiting", "on_time")],
        [("fired", "on_time")],
    ]
