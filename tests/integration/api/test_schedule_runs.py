"""What a schedule did, will do, and does on request: preview, occurrences, trigger and backfill over HTTP."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from jobs.database import transaction
from jobs.planning import firing
from tests.integration.api.problems import fields, problem
from tests.integration.jobs import scenes
from tests.services.api import Api, Person

PATH = "/api/v1/schedules/hourly"
HOUR = timedelta(hours=1)


def put(person: Person, **wishes: Any) -> dict[str, Any]:
    """Write a schedule: hourly, unless it says otherwise."""
    timing = {} if wishes.keys() & {"cron", "at"} else {"every_seconds": 3600}
    answer = person.http.put(PATH, json={"task": "demo.noop"} | timing | wishes)
    assert answer.status_code in {200, 201}, answer.text
    body: dict[str, Any] = answer.json()
    return body


def fire(person: Person, *, hours_away: float = 0.5) -> None:
    """Have a beat look at this person's schedules after it was away for so long."""
    with transaction(person.engine) as connection:
        connection.execute(
            text("UPDATE schedules SET decided_until = now() - :away, next_at = now() WHERE tenant = :tenant"),
            {"away": timedelta(hours=hours_away), "tenant": person.tenant},
        )
        firing.fire_due(connection)


def occurrences(person: Person, **wanted: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = person.http.get(f"{PATH}/occurrences", params=wanted).json()["occurrences"]
    return found


# Looking ahead


def test_a_preview_shows_the_world_and_the_zone(person: Person) -> None:
    put(person, cron="30 8 * * *", zone="Asia/Kolkata")

    body = person.http.get(f"{PATH}/preview", params={"count": 3, "after": "2026-06-01T00:00:00Z"}).json()

    assert [one["at"] for one in body["instants"]] == [f"2026-06-0{day}T03:00:00Z" for day in (1, 2, 3)]
    assert [one["local"] for one in body["instants"]] == [f"2026-06-0{day}T08:30:00+05:30" for day in (1, 2, 3)]
    assert [one["runs_at"] for one in body["instants"]] == [one["at"] for one in body["instants"]]
    assert body["clock_rules"]["zone"] == "Asia/Kolkata"


def test_a_preview_marks_gaps_and_folds(person: Person) -> None:
    put(person, cron="30 2 * * *", zone="Europe/Berlin", on_fold="both")

    def marks(after: str) -> list[tuple[str, str | None]]:
        body = person.http.get(f"{PATH}/preview", params={"count": 3, "after": after}).json()
        return [(one["local"], one["mark"]) for one in body["instants"]]

    assert marks("2026-03-28T02:00:00Z") == [
        ("2026-03-29T03:00:00+02:00", "gap"),
        ("2026-03-30T02:30:00+02:00", None),
        ("2026-03-31T02:30:00+02:00", None),
    ]
    assert marks("2026-10-24T02:00:00Z") == [
        ("2026-10-25T02:30:00+02:00", "fold"),
        ("2026-10-25T02:30:00+01:00", "fold"),
        ("2026-10-26T02:30:00+01:00", None),
    ]


def test_a_preview_shows_what_is_passed_over_and_that_it_does_not_run(person: Person) -> None:
    put(person, cron="30 2 * * *", zone="Europe/Berlin", on_gap="skip")

    def runs(after: str) -> list[tuple[str, str | None, bool]]:
        body = person.http.get(f"{PATH}/preview", params={"count": 2, "after": after}).json()
        return [(one["at"], one["mark"], one["runs_at"] is not None) for one in body["instants"]]

    assert runs("2026-03-28T02:00:00Z") == [
        ("2026-03-29T01:00:00Z", "gap", False),
        ("2026-03-30T00:30:00Z", None, True),
    ]
    assert runs("2026-10-24T02:00:00Z") == [
        ("2026-10-25T00:30:00Z", "fold", True),
        ("2026-10-25T01:30:00Z", "fold", False),
    ]


def test_the_next_run_that_is_shown_is_none_that_is_passed_over(person: Person) -> None:
    put(person, cron="30 2 * * *", zone="Europe/Berlin")
    with transaction(person.engine) as connection:
        values = {"since": "2090-10-29T00:30:00Z", "tenant": person.tenant}
        connection.execute(text("UPDATE schedules SET decided_until = :since WHERE tenant = :tenant"), values)

    assert person.http.get(PATH).json()["next_at"] == "2090-10-30T01:30:00Z"


def test_a_preview_begins_now_and_has_twenty_instants(person: Person) -> None:
    next_at = put(person, jitter_seconds=600)["next_at"]

    body = person.http.get(f"{PATH}/preview").json()

    assert len(body["instants"]) == 20
    assert body["instants"][0]["runs_at"] == next_at
    assert all(one["at"] <= one["runs_at"] for one in body["instants"])


def test_a_preview_begins_with_the_instant_that_waits_for_its_jitter(person: Person) -> None:
    anchor = datetime.now(UTC) - timedelta(seconds=1)
    put(person, every_seconds=86_400, anchor_at=anchor.isoformat(), jitter_seconds=86_400)
    with transaction(person.engine) as connection:
        connection.execute(text("UPDATE schedules SET decided_until = decided_until - interval '1 minute'"))

    first = person.http.get(f"{PATH}/preview").json()["instants"][0]

    assert datetime.fromisoformat(first["at"]) == anchor
    assert datetime.fromisoformat(first["runs_at"]) > datetime.now(UTC)


def test_a_preview_of_a_paused_schedule_says_that_none_runs(person: Person) -> None:
    put(person)
    running = person.http.get(f"{PATH}/preview").json()
    paused = person.http.post(f"{PATH}/pause").json()

    shown = person.http.get(f"{PATH}/preview").json()

    assert (running["paused_at"], running["pause_reason"]) == (None, None)
    assert (shown["paused_at"], shown["pause_reason"]) == (paused["paused_at"], "paused")


def test_a_trigger_heeds_what_the_client_knows(person: Person) -> None:
    tag = put(person)["etag"]
    put(person, priority=9)

    problem(person.http.post(f"{PATH}/trigger", headers={"If-Match": f'"{tag}"'}), 412, "precondition-failed")
    assert occurrences(person) == []

    now = person.http.get(PATH).headers["etag"]
    assert person.http.post(f"{PATH}/trigger", headers={"If-Match": now}).status_code == 202


def test_a_span_of_history_that_ends_before_it_begins_is_refused(person: Person) -> None:
    put(person)
    span = {"from": "2026-06-02T00:00:00Z", "to": "2026-06-01T00:00:00Z"}

    body = problem(person.http.get(f"{PATH}/occurrences", params=span), 422, "invalid-request")

    assert fields(body) == ["to"]


def test_a_preview_ends_with_its_schedule(person: Person) -> None:
    put(person, at="2090-01-01T00:00:00Z")

    assert len(person.http.get(f"{PATH}/preview").json()["instants"]) == 1


# Looking back


def test_every_decision_is_there_with_its_reason_and_job(person: Person) -> None:
    put(person, anchor_at=(datetime.now(UTC) - timedelta(seconds=5)).isoformat())
    fire(person, hours_away=3.5)

    fired, skipped = occurrences(person)

    assert (fired["decision"], fired["reason"], fired["count"]) == ("fired", "on_time", 1)
    assert person.get(f"/jobs/{fired['job_id']}").json()["task"] == "demo.noop"
    assert (skipped["decision"], skipped["reason"], skipped["count"]) == ("skipped", "superseded", 3)
    assert (skipped["job_id"], occurrences(person, decision="skipped")) == (None, [skipped])
    assert skipped["instant"] < skipped["through_at"] < fired["instant"] < fired["decided_at"]


def test_the_history_outlives_the_schedule_and_the_name_is_free(person: Person) -> None:
    put(person, anchor_at=(datetime.now(UTC) - timedelta(seconds=5)).isoformat())
    fire(person)
    before = occurrences(person)

    assert person.http.delete(PATH).status_code == 204
    problem(person.http.get(PATH), 404, "not-found")
    assert occurrences(person) == before

    again = person.http.put(PATH, json={"task": "demo.noop", "cron": "@daily"}, headers={"If-None-Match": "*"})
    assert (again.status_code, occurrences(person)) == (201, before)
    problem(person.http.get("/api/v1/schedules/never/occurrences"), 404, "not-found")


def test_why_did_it_not_run_then_has_an_answer(person: Person) -> None:
    put(person, every_seconds=60, catch_up={"mode": "none"})
    fire(person, hours_away=1)
    then = (datetime.now(UTC) - HOUR / 2).isoformat()

    (answer,) = occurrences(person, **{"from": then, "to": then})

    assert (answer["decision"], answer["reason"]) == ("skipped", "missed")
    assert answer["instant"] < then < answer["through_at"]


def test_occurrences_come_page_by_page(person: Person) -> None:
    put(person)
    for _ in range(3):
        person.http.post(f"{PATH}/trigger")

    first = person.http.get(f"{PATH}/occurrences", params={"limit": 2}).json()
    second = person.http.get(f"{PATH}/occurrences", params={"limit": 2, "cursor": first["next_cursor"]}).json()

    found = [one["id"] for one in first["occurrences"] + second["occurrences"]]
    assert len(set(found)) == 3
    assert second["next_cursor"] is None


# On request


def test_a_trigger_makes_a_job_now(person: Person) -> None:
    put(person, payload={})

    answer = person.http.post(f"{PATH}/trigger", headers={"X-Request-ID": "mine"})

    body = answer.json()
    assert answer.status_code == 202
    assert (body["decision"], body["reason"]) == ("fired", "triggered")
    job = person.get(f"/jobs/{body['job_id']}").json()
    assert (job["state"], job["submitter"], job["request_id"]) == ("queued", person.key_id, "mine")


def test_a_triggered_job_is_rung_at_once(person: Person) -> None:
    put(person)

    job_id = uuid.UUID(person.http.post(f"{PATH}/trigger").json()["job_id"])

    assert scenes.row(person.engine, job_id)["rung_at"] is not None


def test_a_trigger_that_is_held_up_says_why(person: Person) -> None:
    put(person, overlap="skip")
    person.http.post(f"{PATH}/trigger")

    body = person.http.post(f"{PATH}/trigger").json()

    assert (body["decision"], body["reason"], body["job_id"]) == ("skipped", "overlap", None)


def test_the_same_trigger_twice_is_one(person: Person) -> None:
    put(person)

    first, second = (person.http.post(f"{PATH}/trigger", headers={"Idempotency-Key": "k"}) for _ in range(2))

    assert second.json() == first.json()
    assert ("idempotency-replayed" in first.headers, second.headers["idempotency-replayed"]) == (False, "true")
    assert person.stored() == 1


def test_the_same_trigger_twice_is_one_also_where_a_job_is_in_the_way(person: Person) -> None:
    put(person, overlap="skip")
    person.http.post(f"{PATH}/trigger")

    first, second = (person.http.post(f"{PATH}/trigger", headers={"Idempotency-Key": "k"}) for _ in range(2))

    assert first.json()["decision"] == "skipped"
    assert second.json() == first.json()
    assert ("idempotency-replayed" in first.headers, second.headers["idempotency-replayed"]) == (False, "true")
    assert len(occurrences(person)) == 2


def test_a_job_of_a_backfill_is_known_by_the_request_that_asked_for_it(person: Person) -> None:
    put(person, cron="0 * * * *", instant_as=None)
    span = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}

    made = person.http.post(f"{PATH}/backfill", json=span, headers={"X-Request-ID": "mine"}).json()

    job_id = made["instants"][0]["occurrence"]["job_id"]
    assert person.get(f"/jobs/{job_id}").json()["request_id"] == "mine"


def test_a_backfill_is_planned_made_and_made_once(person: Person) -> None:
    put(person, cron="0 * * * *", instant_as=None)
    span = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T03:00:00Z"}

    planned = person.http.post(f"{PATH}/backfill", json=span | {"dry_run": True}).json()
    assert (planned["dry_run"], person.stored()) == (True, 0)
    made = person.http.post(f"{PATH}/backfill", json=span).json()
    again = person.http.post(f"{PATH}/backfill", json=span).json()

    for one in (planned, made, again):
        assert [instant["at"] for instant in one["instants"]] == [f"2026-01-01T0{hour}:00:00Z" for hour in range(4)]
    assert [one["is_new"] for one in planned["instants"] + made["instants"]] == [True] * 8
    assert [one["occurrence"] for one in planned["instants"]] == [None] * 4
    assert [one["is_new"] for one in again["instants"]] == [False] * 4
    assert [one["occurrence"] for one in again["instants"]] == [one["occurrence"] for one in made["instants"]]
    assert person.stored() == 4


@pytest.mark.parametrize(
    "span",
    [
        {"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"},
        {"from": "2026-01-01T00:00:00Z", "to": "2990-01-01T00:00:00Z"},
        {"from": "2020-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"},
    ],
    ids=["backwards", "in the future", "too many"],
)
def test_a_span_that_cannot_be_filled_is_refused(person: Person, span: dict[str, str]) -> None:
    put(person, cron="0 * * * *")

    body = problem(person.http.post(f"{PATH}/backfill", json=span), 422, "invalid-timing")

    assert fields(body) == ["to"]
    assert person.stored() == 0


def test_decisions_on_request_are_counted(api: Api, person: Person) -> None:
    put(person)
    person.http.post(f"{PATH}/trigger")

    shown = person.http.get("/metrics").text

    assert 'penstock_occurrences_total{decision="fired",reason="triggered"}' in shown
