"""Changing a job's course: cancel, retry, replay, discard."""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from jobs.state import FINAL, JobState
from tests import factories
from tests.integration.api.problems import fields, problem
from tests.integration.jobs import scenes
from tests.services.api import Person


def queued(person: Person, **wishes: Any) -> uuid.UUID:
    """Return a job that waits for a worker."""
    return person.accepted(**wishes)


def scheduled(person: Person, **wishes: Any) -> uuid.UUID:
    """Return a job that waits for its hour."""
    return person.accepted(delay_seconds=1000, **wishes)


def running(person: Person, **wishes: Any) -> uuid.UUID:
    """Return a job that an attempt works on."""
    (attempt,) = scenes.start(person.engine, person.accepted(**wishes))
    return attempt.job_id


def _ended(verdict: Any) -> Callable[..., uuid.UUID]:
    def ended(person: Person, **wishes: Any) -> uuid.UUID:
        (attempt,) = scenes.start(person.engine, person.accepted(**wishes))
        assert scenes.end(person.engine, attempt, verdict) is not None
        return attempt.job_id

    return ended


succeeded, failed, retrying = _ended(factories.success()), _ended(factories.failure()), _ended(factories.retry())


def cancelled(person: Person, **wishes: Any) -> uuid.UUID:
    """Return a job that was cancelled while it waited."""
    job_id = person.accepted(**wishes)
    assert person.post(f"/jobs/{job_id}/cancel").status_code == 202
    return job_id


def expired(person: Person, **wishes: Any) -> uuid.UUID:
    """Return a job that was not started in time."""
    job_id = person.accepted(**wishes)
    now = scenes.database_now(person.engine)
    scenes.change(person.engine, job_id, state="expired", finished_at=now, rung_at=None)
    return job_id


IN = {
    JobState.QUEUED: queued, JobState.SCHEDULED: scheduled, JobState.RUNNING: running, JobState.RETRYING: retrying,
    JobState.SUCCEEDED: succeeded, JobState.FAILED: failed, JobState.CANCELLED: cancelled, JobState.EXPIRED: expired,
}  # fmt: skip


# Cancel


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.SCHEDULED, JobState.RETRYING])
def test_a_waiting_job_is_cancelled_at_once(person: Person, state: JobState) -> None:
    job_id = IN[state](person)

    answer = person.post(f"/jobs/{job_id}/cancel")

    assert answer.status_code == 202
    assert answer.json()["state"] == "cancelled"
    assert answer.json()["finished_at"] is not None
    assert scenes.told(person.engine, job_id)[-1] == "cancel"


def test_a_running_job_is_asked_to_stop(person: Person) -> None:
    job_id = running(person)

    answer = person.post(f"/jobs/{job_id}/cancel")

    assert answer.status_code == 202
    assert answer.json()["state"] == "running"
    assert answer.json()["cancel_requested_at"] is not None


def test_a_cancel_that_is_asked_for_twice_is_one(person: Person) -> None:
    waiting, at_work = cancelled(person), running(person)

    assert person.post(f"/jobs/{waiting}/cancel").status_code == 202
    assert person.post(f"/jobs/{at_work}/cancel").json() == person.post(f"/jobs/{at_work}/cancel").json()
    assert scenes.told(person.engine, waiting).count("cancel") == 1
    assert scenes.told(person.engine, at_work).count("cancel_requested") == 1


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED, JobState.EXPIRED])
def test_a_finished_job_cannot_be_cancelled(person: Person, state: JobState) -> None:
    job_id = IN[state](person)

    assert problem(person.post(f"/jobs/{job_id}/cancel"), 409, "wrong-state")["state"] == state


# Retry


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED, JobState.RETRYING])
def test_the_same_job_is_sent_to_work_again(person: Person, state: JobState) -> None:
    job_id = IN[state](person)

    answer = person.post(f"/jobs/{job_id}/retry")

    assert answer.status_code == 200
    assert (answer.json()["id"], answer.json()["state"], answer.json()["error_count"]) == (str(job_id), "queued", 0)
    assert len(scenes.start(person.engine, job_id)) == 1


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.SCHEDULED, JobState.RUNNING, JobState.SUCCEEDED])
def test_a_job_that_has_no_need_of_it_is_not_retried(person: Person, state: JobState) -> None:
    job_id = IN[state](person)

    assert problem(person.post(f"/jobs/{job_id}/retry"), 409, "wrong-state")["state"] == state


def test_a_retry_needs_its_unique_key_to_be_free(person: Person) -> None:
    job_id = failed(person, unique_key="u")
    person.accepted(unique_key="u")

    problem(person.post(f"/jobs/{job_id}/retry"), 409, "unique-key-taken")
    assert scenes.state(person.engine, job_id) is JobState.FAILED


def test_a_retried_dead_letter_is_off_the_list(person: Person) -> None:
    job_id = failed(person)
    person.post(f"/jobs/{job_id}/retry")

    assert person.get("/dead-letters").json()["dead_letters"] == []


# Replay


@pytest.mark.parametrize("state", sorted(FINAL))
def test_a_finished_job_is_submitted_again_as_a_new_one(person: Person, state: JobState) -> None:
    job_id = IN[state](person, priority=8, tags=["a"], retry={"max_retries": 7}, queue="bulk")

    answer = person.post(f"/jobs/{job_id}/replay")
    made = answer.json()["id"]
    row = scenes.row(person.engine, made)

    assert answer.status_code == 201
    assert answer.headers["location"] == f"/api/v1/jobs/{made}"
    assert made != str(job_id)
    assert (row["priority"], row["tags"], row["retry"], row["queue"]) == (8, ["a"], {"max_retries": 7}, "bulk")
    assert (row["replay_of"], row["tenant"], row["submitter"]) == (job_id, person.tenant, person.key_id)
    assert row["request_id"] == answer.headers["x-request-id"]
    assert scenes.state(person.engine, job_id) is state


@pytest.mark.parametrize("state", sorted(set(JobState) - FINAL))
def test_an_unfinished_job_is_not_replayed(person: Person, state: JobState) -> None:
    job_id = IN[state](person)

    assert problem(person.post(f"/jobs/{job_id}/replay"), 409, "wrong-state")["state"] == state
    problem(person.post(f"/dead-letters/{job_id}/replay"), 404, "not-found")
    assert person.stored() == 1


def test_a_replay_may_have_another_payload(person: Person) -> None:
    job_id = failed(person, task="demo.echo", payload={"message": "old"})

    made = person.post(f"/jobs/{job_id}/replay", json={"payload": {"message": "new"}}).json()["id"]

    assert scenes.row(person.engine, made)["payload"] == {"message": "new"}
    assert scenes.row(person.engine, job_id)["payload"] == {"message": "old"}


@pytest.mark.parametrize(
    ("body", "slug", "wrong"),
    [
        ({"payload": {"massage": "x"}}, "invalid-payload", ["payload.message", "payload.massage"]),
        ({"payload": {"message": "\0"}}, "invalid-payload", ["payload"]),
        ({"payload": "x"}, "invalid-request", ["payload"]),
        ({"priority": 3}, "invalid-request", ["priority"]),
    ],
)
def test_a_replay_with_a_wrong_payload_leaves_the_dead_letter_open(
    person: Person, body: dict[str, Any], slug: str, wrong: list[str]
) -> None:
    job_id = failed(person, task="demo.echo", payload={"message": "old"})

    for kind in ("jobs", "dead-letters"):
        assert fields(problem(person.post(f"/{kind}/{job_id}/replay", json=body), 422, slug)) == wrong
    assert person.stored() == 1
    assert len(person.get("/dead-letters").json()["dead_letters"]) == 1


def test_a_replay_needs_its_unique_key_to_be_free(person: Person) -> None:
    job_id = failed(person, unique_key="u")
    holder = person.accepted(unique_key="u")

    body = problem(person.post(f"/dead-letters/{job_id}/replay"), 409, "unique-key-taken")

    assert body["existing_job_id"] == str(holder)
    assert "index" not in body
    assert len(person.get("/dead-letters").json()["dead_letters"]) == 1


@pytest.mark.parametrize("content", [b"nonsense", b"[" * 100, b"\xff"])
def test_a_replay_with_a_body_that_is_no_json_is_refused(person: Person, content: bytes) -> None:
    problem(person.send(content, f"/api/v1/jobs/{failed(person)}/replay"), 400, "malformed-body")


def test_a_replay_with_an_empty_body_is_like_one_without(person: Person) -> None:
    spellings: list[dict[str, Any]] = [{"content": b""}, {"json": {}}, {"json": {"payload": None}}]
    for options in spellings:
        assert person.post(f"/jobs/{failed(person)}/replay", **options).status_code == 201


# Dead letters


@pytest.mark.parametrize("kind", ["jobs", "dead-letters"])
def test_a_replayed_dead_letter_is_off_the_list_and_tells_where_it_went(person: Person, kind: str) -> None:
    job_id = failed(person)

    made = person.post(f"/{kind}/{job_id}/replay").json()["id"]
    told = person.get(f"/jobs/{job_id}/events").json()["events"][-1]

    assert person.get("/dead-letters").json()["dead_letters"] == []
    assert (told["name"], told["facts"]) == ("replayed", {"replayed_as": made})
    scenes.assert_sound(person.engine, job_id)


def test_a_dead_letter_is_replayed_once_but_its_job_as_often_as_anyone_likes(person: Person) -> None:
    job_id = failed(person)

    assert person.post(f"/dead-letters/{job_id}/replay").status_code == 201
    problem(person.post(f"/dead-letters/{job_id}/replay"), 404, "not-found")
    assert person.stored() == 2
    assert person.post(f"/jobs/{job_id}/replay").status_code == 201
    assert person.stored() == 3


def test_of_many_who_replay_one_dead_letter_at_once_one_does(person: Person) -> None:
    job_id = failed(person)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: person.post(f"/dead-letters/{job_id}/replay"), range(8)))

    assert sorted(answer.status_code for answer in answers) == [201] + [404] * 7
    assert person.stored() == 2


def test_a_replay_under_a_key_is_answered_again_though_the_letter_is_closed(person: Person) -> None:
    job_id = failed(person)
    first, second = [person.post(f"/dead-letters/{job_id}/replay", headers={"Idempotency-Key": "r"}) for _ in range(2)]

    assert (first.status_code, second.status_code) == (201, 201)
    assert first.content == second.content
    assert second.headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.CANCELLED])
def test_what_is_no_dead_letter_is_not_found_among_them(person: Person, state: JobState) -> None:
    job_id = IN[state](person)

    problem(person.post(f"/dead-letters/{job_id}/replay"), 404, "not-found")
    problem(person.http.delete(f"/api/v1/dead-letters/{job_id}"), 404, "not-found")
    assert person.stored() == 1


def test_a_discarded_dead_letter_is_off_the_list_and_its_job_stays_readable(person: Person) -> None:
    job_id = failed(person)

    answer = person.http.delete(f"/api/v1/dead-letters/{job_id}")

    assert (answer.status_code, answer.content) == (204, b"")
    problem(person.http.delete(f"/api/v1/dead-letters/{job_id}"), 404, "not-found")
    assert person.get("/dead-letters").json()["dead_letters"] == []
    assert person.get(f"/jobs/{job_id}").json()["state"] == "failed"
    assert scenes.told(person.engine, job_id)[-1] == "discarded"
