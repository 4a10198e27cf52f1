"""What is accepted, what is refused, and that nothing is ever half-done."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, func, select, update

from jobs import intake
from jobs.database import transaction
from jobs.errors import IdempotencyKeyReused, InvalidJob, RefusedError, UniqueKeyTaken
from jobs.model import DEFAULT_TENANT, Acceptance, NewJob, Submission, new_job_id
from jobs.state import JobState
from jobs.tables import events, idempotency_keys
from tests.factories import new_job, retry, settle, submission
from tests.integration.jobs import scenes

AHEAD = timedelta(hours=1)


def test_a_job_is_stored_as_it_was_asked_for(engine: Engine) -> None:
    asked = new_job(
        task="billing.charge", payload='{"amount": "1.50", "note": "ümläut \\u00e9"}', queue="critical", priority=9,
        unique_key="order-1", tags=("a", "b"), retry='{"max_retries": 7}', time_limit_seconds=30.0,
        soft_time_limit_seconds=20.0, submitter="key-1", request_id="request-1", traceparent="00-1-2-01",
        replay_of=new_job_id(), expires_at=datetime.now(UTC) + AHEAD,
    )  # fmt: skip
    (receipt,) = scenes.accepted(engine, asked)
    found = scenes.row(engine, asked.id)

    for name in ("task", "queue", "priority", "unique_key", "time_limit_seconds", "soft_time_limit_seconds",
                 "submitter", "request_id", "traceparent", "replay_of", "expires_at", "tenant"):  # fmt: skip
        assert found[name] == getattr(asked, name), name
    assert found["payload"] == json.loads(asked.payload)
    assert found["retry"] == {"max_retries": 7}
    assert found["tags"] == ["a", "b"]
    assert (found["attempt"], found["event_count"], found["version"]) == (0, 1, 1)
    assert (receipt.id, receipt.task, receipt.queue, receipt.priority) == (asked.id, "billing.charge", "critical", 9)
    assert (receipt.created_at, receipt.run_at) == (found["created_at"], found["run_at"])
    scenes.assert_sound(engine, asked.id)


@pytest.mark.parametrize(
    "tag", ["plain", "", "NULL", "null", "with, comma", "{braces}", '"quoted"', "back\\slash", "line\nbreak", "tab\t",
            "\x01\x1f\x7f", "ümläut 🎉", " spaces ", "\\n", "'; DROP TABLE jobs; --"],
)  # fmt: skip
def test_a_tag_comes_back_as_it_was_given(engine: Engine, tag: str) -> None:
    job_id = scenes.queued(engine, tags=(tag, "other"))

    assert scenes.row(engine, job_id)["tags"] == [tag, "other"]


def test_a_job_without_a_date_is_ready_at_once_and_its_doorbell_counts_as_rung(engine: Engine) -> None:
    (receipt,) = scenes.accepted(engine, new_job())
    found = scenes.row(engine, receipt.id)

    assert receipt.state is JobState.QUEUED
    assert receipt.run_at == receipt.created_at == found["rung_at"]


def test_a_date_that_has_passed_is_now(engine: Engine) -> None:
    (receipt,) = scenes.accepted(engine, new_job(run_at=datetime.now(UTC) - AHEAD))

    assert receipt.state is JobState.QUEUED
    assert receipt.run_at == receipt.created_at


def test_a_date_ahead_schedules_the_job(engine: Engine) -> None:
    when = datetime.now(UTC) + AHEAD
    (receipt,) = scenes.accepted(engine, new_job(run_at=when))

    assert (receipt.state, receipt.run_at) == (JobState.SCHEDULED, when)
    assert scenes.row(engine, receipt.id)["rung_at"] is None


def test_a_delay_counts_from_the_databases_clock(engine: Engine) -> None:
    (receipt,) = scenes.accepted(engine, new_job(delay=AHEAD))

    assert receipt.state is JobState.SCHEDULED
    assert receipt.run_at == receipt.created_at + AHEAD


def test_no_delay_at_all_is_ready_at_once(engine: Engine) -> None:
    (receipt,) = scenes.accepted(engine, new_job(delay=timedelta(0)))

    assert receipt.state is JobState.QUEUED


@pytest.mark.parametrize(
    ("run_in", "expires_in", "good"),
    [
        (None, timedelta(seconds=-1), False),
        (None, AHEAD, True),
        (AHEAD, AHEAD, False),
        (AHEAD, AHEAD / 2, False),
        (AHEAD, AHEAD * 2, True),
        (-AHEAD, timedelta(seconds=-1), False),
        (-AHEAD, AHEAD, True),
    ],
)
def test_a_job_may_not_expire_before_it_may_run(
    engine: Engine, run_in: timedelta | None, expires_in: timedelta, *, good: bool
) -> None:
    now = datetime.now(UTC)
    job = new_job(run_at=now + run_in if run_in else None, expires_at=now + expires_in)

    (answer,) = scenes.submit(engine, submission(new_job(), job))

    if good:
        assert isinstance(answer, Acceptance)
    else:
        assert isinstance(answer, InvalidJob)
        assert answer.index == 1
        assert answer.errors[0]["field"] == "expires_at"
        assert scenes.stored(engine) == 0


def test_a_request_for_nothing_is_refused_and_spoils_no_other(engine: Engine) -> None:
    nothing, keyed, something = scenes.submit(
        engine, Submission(()), Submission((), submission(key="k").idempotency), submission()
    )

    assert isinstance(nothing, InvalidJob)
    assert isinstance(keyed, InvalidJob)
    assert isinstance(something, Acceptance)


def test_many_requests_share_a_transaction_and_each_gets_its_own_answer(engine: Engine) -> None:
    scenes.queued(engine, unique_key="taken")
    scenes.submit(engine, submission(key="used"))

    answers = scenes.submit(
        engine,
        submission(),
        submission(new_job(unique_key="taken")),
        submission(new_job(expires_at=datetime.now(UTC) - AHEAD)),
        submission(new_job(), new_job(delay=AHEAD), key="fresh"),
        submission(key="used"),
        submission(key="used", fingerprint=b"o" * 32),
        submission(new_job(unique_key="free")),
    )

    assert [type(answer) for answer in answers] == [
        Acceptance, UniqueKeyTaken, InvalidJob, Acceptance, Acceptance, IdempotencyKeyReused, Acceptance,
    ]  # fmt: skip
    assert [answer.replayed for answer in answers if isinstance(answer, Acceptance)] == [False, False, True, False]
    assert scenes.stored(engine) == 2 + 1 + 2 + 1


def test_only_new_jobs_that_are_ready_are_rung(engine: Engine) -> None:
    scenes.submit(engine, submission(key="used"))
    ready = new_job(task="a.b", queue="critical", priority=8)
    answers = scenes.submit(
        engine,
        submission(ready, new_job(delay=AHEAD)),
        submission(key="used"),
        submission(new_job(expires_at=datetime.now(UTC) - AHEAD)),
    )

    (bell,) = intake.doorbells(answers)

    assert (bell.id, bell.task, bell.queue, bell.priority) == (ready.id, "a.b", "critical", 8)


def test_nothing_is_true_before_the_commit(engine: Engine) -> None:
    with engine.connect() as connection:
        intake.accept(connection, [submission(key="k")])
        connection.rollback()

    assert scenes.stored(engine) == 0
    (answer,) = scenes.submit(engine, submission(key="k"))
    assert isinstance(answer, Acceptance)
    assert not answer.replayed


# Idempotency keys


def test_the_same_request_again_gets_the_same_receipts(engine: Engine) -> None:
    (first,) = scenes.submit(engine, submission(new_job(), new_job(delay=AHEAD, priority=2), key="k"))
    (again,) = scenes.submit(engine, submission(new_job(), new_job(delay=AHEAD, priority=2), key="k"))

    assert isinstance(first, Acceptance)
    assert isinstance(again, Acceptance)
    assert again.receipts == first.receipts
    assert (first.replayed, again.replayed) == (False, True)
    assert scenes.stored(engine) == 2


def test_another_request_under_the_same_key_is_refused(engine: Engine) -> None:
    scenes.submit(engine, submission(key="k"))
    (answer,) = scenes.submit(engine, submission(key="k", fingerprint=b"o" * 32))

    assert isinstance(answer, IdempotencyKeyReused)
    assert scenes.stored(engine) == 1


def test_each_tenant_has_its_own_keys(engine: Engine) -> None:
    answers = [
        answer for tenant in ("a", "b") for answer in scenes.submit(engine, submission(new_job(tenant=tenant), key="k"))
    ]

    assert [isinstance(answer, Acceptance) and answer.replayed for answer in answers] == [False, False]
    assert scenes.stored(engine) == 2


def test_one_key_twice_in_one_call_makes_one_job(engine: Engine) -> None:
    first, again, other = scenes.submit(
        engine, submission(key="k"), submission(key="k"), submission(key="k", fingerprint=b"o" * 32)
    )

    assert isinstance(first, Acceptance)
    assert isinstance(again, Acceptance)
    assert again.receipts == first.receipts
    assert (first.replayed, again.replayed) == (False, True)
    assert isinstance(other, IdempotencyKeyReused)
    assert scenes.stored(engine) == 1


def test_one_key_twice_in_one_call_gets_one_refusal_twice(engine: Engine) -> None:
    scenes.queued(engine, unique_key="taken")
    answers = scenes.submit(
        engine,
        submission(new_job(unique_key="taken"), key="k"),
        submission(new_job(unique_key="taken"), key="k"),
    )

    assert [type(answer) for answer in answers] == [UniqueKeyTaken, UniqueKeyTaken]
    assert scenes.stored(engine) == 1


def test_a_key_is_free_again_after_its_day(engine: Engine) -> None:
    scenes.submit(engine, submission(key="k"))
    with transaction(engine) as connection:
        connection.execute(update(idempotency_keys).values(expires_at=func.now()))
    (answer,) = scenes.submit(engine, submission(key="k", fingerprint=b"o" * 32))
    (again,) = scenes.submit(engine, submission(key="k", fingerprint=b"o" * 32))

    assert isinstance(answer, Acceptance)
    assert isinstance(again, Acceptance)
    assert (answer.replayed, again.replayed) == (False, True)
    assert scenes.stored(engine) == 2


def test_a_key_is_kept_for_a_day(engine: Engine) -> None:
    scenes.submit(engine, submission(key="k"))
    with engine.connect() as connection:
        kept = connection.scalar(select(idempotency_keys.c.expires_at - idempotency_keys.c.created_at))

    assert kept == timedelta(hours=24)


def test_a_refused_request_leaves_its_key_free(engine: Engine) -> None:
    holder = scenes.running(engine, unique_key="order-1")
    (refused,) = scenes.submit(engine, submission(new_job(unique_key="order-1"), key="k"))
    scenes.finish(engine, settle(holder))
    (accepted,) = scenes.submit(engine, submission(new_job(unique_key="order-1"), key="k"))

    assert isinstance(refused, UniqueKeyTaken)
    assert isinstance(accepted, Acceptance)
    assert not accepted.replayed


def test_a_request_that_was_accepted_is_answered_the_same_after_its_job_expired(engine: Engine) -> None:
    soon = datetime.now(UTC) + AHEAD
    job = new_job(expires_at=soon)
    (first,) = scenes.submit(engine, submission(job, key="k"))
    late = new_job(expires_at=datetime.now(UTC) - AHEAD)  # what the same body means once the hour has passed
    (again, other) = scenes.submit(engine, submission(late, key="k"), submission(late, key="k", fingerprint=b"o" * 32))

    assert isinstance(first, Acceptance)
    assert isinstance(again, Acceptance)
    assert again.receipts == first.receipts
    assert again.replayed
    assert isinstance(other, IdempotencyKeyReused)


def test_a_request_that_cannot_be_accepted_takes_no_key(engine: Engine) -> None:
    (refused,) = scenes.submit(engine, submission(new_job(expires_at=datetime.now(UTC) - AHEAD), key="k"))
    (accepted,) = scenes.submit(engine, submission(key="k", fingerprint=b"o" * 32))

    assert isinstance(refused, InvalidJob)
    assert isinstance(accepted, Acceptance)


def test_an_expired_key_answers_for_nothing(engine: Engine) -> None:
    scenes.submit(engine, submission(key="k"))
    with transaction(engine) as connection:
        connection.execute(update(idempotency_keys).values(expires_at=func.now()))
    (answer,) = scenes.submit(engine, submission(new_job(expires_at=datetime.now(UTC) - AHEAD), key="k"))

    assert isinstance(answer, InvalidJob)


# Unique keys


def test_a_unique_key_is_taken_while_its_job_is_unfinished(engine: Engine) -> None:
    for holder in (
        scenes.queued(engine, unique_key="queued"),
        scenes.scheduled(engine, unique_key="scheduled"),
        scenes.running(engine, unique_key="running").job_id,
        scenes.ended(engine, retry(), unique_key="retrying"),
    ):
        key = scenes.row(engine, holder)["unique_key"]
        (answer,) = scenes.submit(engine, submission(new_job(unique_key=key)))

        assert isinstance(answer, UniqueKeyTaken)
        assert (answer.index, answer.facts["existing_job_id"]) == (0, str(holder))
    assert scenes.stored(engine) == 4


def test_each_tenant_has_its_own_unique_keys(engine: Engine) -> None:
    answers = scenes.submit(
        engine, *(submission(new_job(unique_key="k", tenant=tenant)) for tenant in ("a", DEFAULT_TENANT))
    )

    assert all(isinstance(answer, Acceptance) for answer in answers)


def test_one_unique_key_twice_in_a_batch_refuses_the_batch_at_the_second(engine: Engine) -> None:
    (answer,) = scenes.submit(engine, submission(new_job(unique_key="k"), new_job(), new_job(unique_key="k")))

    assert isinstance(answer, UniqueKeyTaken)
    assert answer.index == 2
    assert scenes.stored(engine) == 0


def test_of_two_requests_for_one_unique_key_the_first_gets_it(engine: Engine) -> None:
    mine, other = new_job(unique_key="k"), new_job(unique_key="k")
    first, second = scenes.submit(engine, submission(mine), submission(other))

    assert isinstance(first, Acceptance)
    assert isinstance(second, UniqueKeyTaken)
    assert second.facts["existing_job_id"] == str(mine.id)


def test_a_request_that_was_refused_stands_in_nobodys_way(engine: Engine) -> None:
    scenes.queued(engine, unique_key="taken")
    refused, accepted = scenes.submit(
        engine,
        submission(new_job(unique_key="free"), new_job(unique_key="taken"), key="a"),
        submission(new_job(unique_key="free"), key="b"),
    )

    assert isinstance(refused, UniqueKeyTaken)
    assert isinstance(accepted, Acceptance)
    assert scenes.stored(engine) == 2


def test_a_thousand_jobs_with_one_refused_in_the_middle_leave_nothing(engine: Engine) -> None:
    taken = scenes.queued(engine, unique_key="taken")
    batch = [new_job(unique_key=f"order-{n}") for n in range(1000)]
    batch[617] = new_job(unique_key="taken")

    (refused,) = scenes.submit(engine, submission(*batch, key="k"))

    assert isinstance(refused, UniqueKeyTaken)
    assert (refused.index, refused.facts["existing_job_id"]) == (617, str(taken))
    assert scenes.stored(engine) == 1
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(events)) == 1
        assert connection.scalar(select(func.count()).select_from(idempotency_keys)) == 0
    batch[617] = new_job()
    (accepted,) = scenes.submit(engine, submission(*batch, key="k"))
    assert isinstance(accepted, Acceptance)
    assert [receipt.id for receipt in accepted.receipts] == [job.id for job in batch]
    assert scenes.stored(engine) == 1001


# What PostgreSQL cannot keep


@pytest.mark.parametrize(
    ("field", "job"),
    [
        ("payload", new_job(payload='{"a": ["\\u0000"]}')),
        ("payload", new_job(payload='{"\\u0000": 1}')),
        ("payload", new_job(payload='{"a": "\\ud83d"}')),
        ("payload", new_job(payload='{"a": "\x00"}')),
        ("tags", new_job(tags=("good", "b\x00d"))),
        ("unique_key", new_job(unique_key="\ud800")),
        ("request_id", new_job(request_id="\x00")),
    ],
)
def test_a_text_that_cannot_be_stored_is_refused_and_spoils_no_other(engine: Engine, field: str, job: NewJob) -> None:
    good, bad = scenes.submit(engine, submission(), submission(new_job(), job))

    assert isinstance(good, Acceptance)
    assert isinstance(bad, RefusedError)
    assert (bad.index, bad.errors[0]["field"]) == (1, field)


@pytest.mark.parametrize("payload", ['{"a": "\\\\u0000"}', '{"a": "\\ud83d\\ude00"}', '{"a": "\\u0001\\\\ud800"}'])
def test_a_text_that_only_looks_like_it_is_stored(engine: Engine, payload: str) -> None:
    job_id = scenes.queued(engine, payload=payload)

    assert scenes.row(engine, job_id)["payload"] == json.loads(payload)
