"""A round of a beat: what is due becomes a job once; what was missed is made up for or said to be skipped."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from jobs.database import transaction
from jobs.planning import by_hand, editing, firing, store
from jobs.planning.words import CatchUp
from tests.factories import new_job
from tests.integration.jobs import scenes
from tests.integration.jobs.timetable import (
    NAME,
    change,
    decided,
    definition,
    due,
    fire,
    get,
    history,
    jobs_of,
    missed,
    put,
)

HOUR = timedelta(hours=1)
ON_TIME = ("fired", "on_time")


def test_a_due_instant_becomes_a_job_and_the_schedule_moves_on(engine: Engine) -> None:
    wishes = {"payload": '{"message": "hello"}', "priority": 7, "tags": ("a", "b"), "queue": "bulk"}
    due(engine, **wishes, retry='{"max_retries": 9}', time_limit_seconds=30.0)

    outcome = fire(engine)

    (occurrence,) = history(engine)
    job = scenes.row(engine, occurrence["job_id"])
    assert decided(engine) == [ON_TIME]
    assert (job["state"], job["payload"], job["priority"]) == ("queued", {"message": "hello"}, 7)
    assert (job["tags"], job["queue"], job["retry"]) == (["a", "b"], "bulk", {"max_retries": 9})
    assert (job["time_limit_seconds"], job["rung_at"]) == (30, None)
    assert get(engine).decided_until == occurrence["instant"]
    assert get(engine).next_at == occurrence["instant"] + HOUR
    assert scenes.told(engine, job["id"]) == ["accept"]
    assert not outcome.is_full


def test_nothing_is_fired_before_its_time_nor_twice(engine: Engine) -> None:
    put(engine, every_seconds=3600)
    assert fire(engine).told == []

    due(engine)
    fire(engine)
    assert fire(engine).told == []

    assert len(jobs_of(engine)) == 1


def test_the_job_is_known_by_its_schedule_and_instant(engine: Engine) -> None:
    due(engine, instant_as="at", payload='{"message": "hello", "at": "to be replaced"}')

    fire(engine)

    (occurrence,) = history(engine)
    job = scenes.row(engine, occurrence["job_id"])
    assert job["payload"] == {"message": "hello", "at": occurrence["instant"].isoformat().replace("+00:00", "Z")}
    assert job["request_id"] == f"schedule.{NAME}.{occurrence['instant']:%Y%m%dT%H%M%SZ}"


def test_a_job_expires_so_long_after_it_was_made(engine: Engine) -> None:
    due(engine, expires_after_seconds=90.0)

    fire(engine)

    job = scenes.row(engine, jobs_of(engine)[0])
    assert job["expires_at"] - job["created_at"] == timedelta(seconds=90)


def test_jitter_moves_the_run_and_not_the_instant(engine: Engine) -> None:
    schedule = due(engine, jitter_seconds=3000.0, seconds_ago=1)
    with transaction(engine) as connection:
        store.change(connection, schedule)

    fire(engine)

    delayed = get(engine)
    assert delayed.next_at is not None
    assert delayed.definition.anchor_at is not None
    offset = delayed.next_at - delayed.definition.anchor_at
    assert timedelta(seconds=5) < offset < timedelta(seconds=3000), "or this hash of an id was one in six hundred"
    assert decided(engine) == []


def test_a_schedule_that_is_over_fires_no_more(engine: Engine) -> None:
    schedule = due(engine)
    with transaction(engine) as connection:
        ended = replace(schedule.definition, end_at=schedule.definition.anchor_at)
        store.change(connection, replace(schedule, definition=ended))

    fire(engine)

    assert decided(engine) == [ON_TIME]
    assert get(engine).next_at is None


def test_a_single_date_fires_once(engine: Engine) -> None:
    soon = scenes.database_now(engine) + timedelta(minutes=1)
    put(engine, once=soon.isoformat())
    put_back = get(engine)
    assert put_back.next_at == soon

    with transaction(engine) as connection:  # it is a minute and a second later now
        connection.execute(text("UPDATE schedules SET once = :at, next_at = now()"), {"at": _earlier(engine, 1)})
        connection.execute(text("UPDATE schedules SET decided_until = now() - interval '5 s'"))
    fire(engine)

    assert decided(engine) == [ON_TIME]
    assert get(engine).next_at is None


def _earlier(engine: Engine, seconds: float) -> str:
    return (scenes.database_now(engine) - timedelta(seconds=seconds)).isoformat()


def test_a_thousand_schedules_are_fired_in_batches(engine: Engine) -> None:
    with transaction(engine) as connection:
        for number in range(30):
            editing.put(connection, f"s{number}", _hourly, editing.ANYBODY)
        connection.execute(text("UPDATE schedules SET decided_until = now() - interval '30 min', next_at = now()"))

    rounds = [fire(engine, limit=12) for _ in range(3)]

    assert [len(one.told) for one in rounds] == [12, 12, 6]
    assert [one.is_full for one in rounds] == [True, True, False]


def _hourly(_found: object, now: Any) -> Any:
    return definition(every_seconds=3600, anchor_at=now - timedelta(minutes=10))


def test_what_was_missed_is_on_record_with_its_reason(engine: Engine) -> None:
    missed(engine, 4)

    fire(engine)

    assert decided(engine) == [("skipped", "superseded"), ("fired", "caught_up")]
    skipped, fired = history(engine)
    assert skipped["count"] == 3
    assert skipped["through_at"] == skipped["instant"] + 2 * HOUR == fired["instant"] - HOUR


def test_all_that_was_missed_is_made_up_for_the_oldest_first(engine: Engine) -> None:
    missed(engine, 4, catch_up=CatchUp.ALL)

    fire(engine)

    assert decided(engine) == [("fired", "caught_up")] * 4
    assert jobs_of(engine) == sorted(jobs_of(engine)), "in the order of their making"


def test_nothing_is_made_up_for_where_that_is_not_wanted(engine: Engine) -> None:
    missed(engine, 4, catch_up=CatchUp.NONE)

    fire(engine)

    assert [(row["reason"], row["count"]) for row in history(engine)] == [("missed", 4)]
    assert scenes.stored(engine) == 0


def test_what_is_missed_is_for_the_schedule_to_say_first(engine: Engine) -> None:
    due(engine, seconds_ago=90, catch_up=CatchUp.NONE, missed_after_seconds=3600.0)
    due(engine, seconds_ago=5, name="strict", catch_up=CatchUp.NONE, missed_after_seconds=2.0)

    fire(engine)

    assert (decided(engine), decided(engine, "strict")) == ([("fired", "late")], [("skipped", "missed")])


def test_what_is_missed_is_for_the_beat_to_say(engine: Engine) -> None:
    due(engine, seconds_ago=90, catch_up=CatchUp.NONE)

    fire(engine, missed_after=timedelta(minutes=2))

    assert decided(engine) == [("fired", "late")]


def test_a_long_outage_is_made_up_for_in_several_rounds(engine: Engine) -> None:
    missed(engine, 250, every=1, seconds_ago=100, catch_up=CatchUp.ALL, catch_up_limit=1000)

    rounds = [fire(engine) for _ in range(3)]

    assert [one.is_full for one in rounds] == [True, True, True]
    assert len(jobs_of(engine)) == 300
    assert len(set(jobs_of(engine))) == 300


def test_one_round_decides_about_a_bounded_number_of_instants(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firing, "INSTANTS", 8)
    for number in range(4):
        missed(engine, 5, name=f"s{number}", catch_up=CatchUp.ALL)

    first, second = fire(engine), fire(engine)

    assert (len(first.told), first.is_full) == (10, True)
    assert (len(second.told), second.is_full) == (10, False)


def test_a_job_that_intake_refuses_is_told_and_holds_up_nobody(engine: Engine) -> None:
    (holder,) = scenes.accepted(engine, new_job(unique_key="only one"))
    due(engine, name="refused", unique_key="only one")
    due(engine, name="other")

    fire(engine)

    (row,) = history(engine, "refused")
    assert (row["decision"], row["reason"], row["job_id"]) == ("skipped", "refused", None)
    assert str(holder.id) in row["detail"]
    assert decided(engine, "other") == [ON_TIME]


def test_an_instant_that_was_fired_before_its_turn_is_not_fired_again(engine: Engine) -> None:
    schedule = due(engine)
    at = schedule.definition.anchor_at
    assert at is not None
    with transaction(engine) as connection:
        by_hand.backfill(connection, NAME, by_hand.Asker(), first=at, last=at, dry_run=False)

    outcome = fire(engine)

    assert outcome.told == []
    assert decided(engine) == [("fired", "backfilled")]
    assert get(engine).decided_until == at


def test_a_timing_that_cannot_be_read_is_put_off_and_holds_up_nobody(engine: Engine) -> None:
    due(engine, name="strange")
    due(engine, name="other")
    with transaction(engine) as connection:
        connection.execute(text("UPDATE schedules SET zone = 'Mars/Olympus' WHERE name = 'strange'"))

    fire(engine)

    assert decided(engine, "other") == [ON_TIME]
    assert decided(engine, "strange") == []
    postponed = get(engine, "strange").next_at
    assert postponed is not None
    assert postponed > scenes.database_now(engine) + timedelta(seconds=30)


def test_new_zone_data_is_heeded_when_the_schedule_is_looked_at(engine: Engine) -> None:
    put(engine, cron="0 12 * * *", zone="Europe/Berlin")
    before = get(engine).next_at
    with transaction(engine) as connection:  # as if the clocks of Berlin had been set otherwise when it was stored
        connection.execute(text("UPDATE schedules SET next_at = now() - interval '1 s'"))

    fire(engine)

    assert decided(engine) == []
    assert get(engine).next_at == before


def test_schedules_that_were_planned_by_older_zone_data_are_planned_anew(engine: Engine) -> None:
    put(engine, "by-the-wall", cron="0 12 * * *", zone="Europe/Berlin")
    put(engine, "in-utc", cron="0 12 * * *")
    put(engine, "by-elapsed-time", every_seconds=3600, zone="Europe/Berlin")
    before = get(engine, "by-the-wall").next_at
    change(engine, "UPDATE schedules SET zone_data = '2001a', next_at = next_at + interval '1 h'")

    looked_at = [look_again(engine) for _ in range(2)]

    assert looked_at == [1, 0]
    assert get(engine, "by-the-wall").next_at == before


def test_what_newer_zone_data_has_planned_is_left_alone(engine: Engine) -> None:
    put(engine, cron="0 12 * * *", zone="Europe/Berlin")
    change(engine, "UPDATE schedules SET zone_data = '9999z', next_at = next_at + interval '1 h'")

    assert look_again(engine) == 0


def look_again(engine: Engine) -> int:
    with transaction(engine) as connection:
        return firing.look_again(connection)


def test_lateness_is_counted_from_the_time_at_which_it_was_due(engine: Engine) -> None:
    due(engine, seconds_ago=5)

    (told,) = fire(engine).told

    assert told.late_seconds is not None
    assert 5 <= told.late_seconds < 60


def test_the_second_pass_of_a_fold_is_on_record(engine: Engine) -> None:
    put(engine, cron="30 2 * * *", zone="Europe/Berlin", catch_up=CatchUp.NONE)
    since_autumn = "decided_until = '2024-10-26T12:00Z', next_at = '2024-10-27T00:30Z'"
    change(engine, f"UPDATE schedules SET {since_autumn}")

    fire(engine)

    fold = next(row for row in history(engine) if row["reason"] == "fold")
    assert fold["instant"] == datetime(2024, 10, 27, 1, 30, tzinfo=UTC)
    assert (fold["decision"], fold["count"], fold["job_id"]) == ("skipped", 1, None)


def test_a_fold_that_is_at_hand_is_looked_at_in_its_time(engine: Engine) -> None:
    before = put(engine, cron="30 2 * * *", zone="Europe/Berlin")
    first, second = datetime(2090, 10, 29, 0, 30, tzinfo=UTC), datetime(2090, 10, 29, 1, 30, tzinfo=UTC)
    with transaction(engine) as connection:
        store.change(connection, replace(before, decided_until=first, next_at=None))
    change(engine, "UPDATE schedules SET zone_data = '2000a', next_at = now()")

    with transaction(engine) as connection:
        firing.look_again(connection)

    assert get(engine).next_at == second


def test_an_edit_tells_of_what_a_change_of_the_clock_had_taken_away(engine: Engine) -> None:
    put(engine, cron="30 2 * * *", zone="Europe/Berlin", on_gap="skip")
    change(engine, "UPDATE schedules SET decided_until = '2024-03-30T12:00Z'")

    put(engine, cron="30 3 * * *", zone="Europe/Berlin")

    assert ("skipped", "gap") in decided(engine)
