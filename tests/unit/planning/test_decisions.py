"""What a look at the clock comes to: what is due, what was missed, and what overlaps."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.calendar.instants import next_instants
from jobs.calendar.passed_over import instants_passed_over
from jobs.model import new_job_id
from jobs.planning.decisions import (
    AT_ONCE,
    COUNTED,
    LATE_AFTER,
    Due,
    Wanted,
    due_at,
    look,
    next_look_at,
    next_run_at,
    settle,
)
from jobs.planning.model import Definition, Occurrence, Schedule
from jobs.planning.words import CatchUp, Decision, Overlap, Source, Why

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
MISSED_AFTER = timedelta(seconds=60)
ALL = {"catch_up": CatchUp.ALL}


def schedule(since: datetime, **changes: Any) -> Schedule:
    timing: dict[str, Any] = {} if "cron" in changes else {"every_seconds": 600, "anchor_at": NOON}
    return Schedule(
        id=new_job_id(),
        tenant="default",
        name="s",
        source=Source.API,
        origin=None,
        submitter=None,
        definition=Definition(**{"task": "demo.noop", "queue": "default"} | timing | changes),
        paused_at=None,
        decided_until=since,
        next_at=since,
        open_jobs=(),
        version=1,
        created_at=since,
        updated_at=since,
    )


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


def at_noon(since: datetime, **changes: Any) -> Due:
    return look(schedule(since, **changes), NOON, MISSED_AFTER)


def told(due: Due) -> list[tuple[str, int | None, datetime, datetime]]:
    """Return what was skipped: why, how many, from when to when."""
    return [(one.reason, one.count, one.instant, one.last) for one in due.skipped]


def test_what_is_due_is_wanted_and_the_next_one_is_known() -> None:
    due = at_noon(NOON - minutes(5))

    assert due == Due((Wanted(NOON, Why.ON_TIME),), (), NOON, NOON + minutes(10))


def test_before_its_time_nothing_is_wanted() -> None:
    assert at_noon(NOON) == Due((), (), NOON, NOON + minutes(10))


def test_an_instant_is_on_time_then_late_then_missed() -> None:
    one = schedule(NOON - minutes(5), catch_up=CatchUp.NONE)
    tick = timedelta(microseconds=1)

    def reasons(late: timedelta) -> list[Why]:
        due = look(one, NOON + late, MISSED_AFTER)
        return [each.reason for each in (*due.wanted, *due.skipped)]

    assert reasons(timedelta(0)) == reasons(LATE_AFTER) == [Why.ON_TIME]
    assert reasons(LATE_AFTER + tick) == reasons(MISSED_AFTER - tick) == [Why.LATE]
    assert reasons(MISSED_AFTER) == [Why.MISSED]


@pytest.mark.parametrize(("own", "reason"), [(5, Why.MISSED), (30, Why.LATE), (3600, Why.LATE)])
def test_a_schedule_may_say_itself_when_an_instant_was_missed(own: float, reason: Why) -> None:
    tolerant = schedule(NOON - minutes(5), catch_up=CatchUp.NONE, missed_after_seconds=own)

    due = look(tolerant, NOON + timedelta(seconds=min(own, 500)) - timedelta(seconds=own > 5), timedelta(seconds=20))

    assert [each.reason for each in (*due.wanted, *due.skipped)] == [reason]


def test_what_an_edit_left_is_late_too() -> None:
    due = look(replace(schedule(NOON), kept=(NOON,)), NOON + MISSED_AFTER / 2, MISSED_AFTER)

    assert due.wanted == (Wanted(NOON, Why.LATE),)


def test_several_that_are_on_time_are_all_wanted_in_their_order() -> None:
    due = at_noon(NOON - timedelta(seconds=3), every_seconds=1)

    assert [one.at for one in due.wanted] == [NOON - timedelta(seconds=left) for left in (2, 1, 0)]
    assert due.decided_until == NOON


@pytest.mark.parametrize(
    ("catch_up", "wanted", "skipped"),
    [
        (CatchUp.NONE, [], [(Why.MISSED, 7, NOON - minutes(65), NOON - minutes(5))]),
        (CatchUp.LATEST, [NOON - minutes(5)], [(Why.SUPERSEDED, 6, NOON - minutes(65), NOON - minutes(15))]),
        (CatchUp.ALL, [NOON - minutes(left) for left in (65, 55, 45, 35, 25, 15, 5)], []),
    ],
)
def test_what_was_missed_is_made_up_for_as_the_schedule_says(
    catch_up: CatchUp, wanted: list[datetime], skipped: list[Any]
) -> None:
    due = at_noon(NOON - minutes(70), anchor_at=NOON - minutes(5), catch_up=catch_up)

    assert due.wanted == tuple(Wanted(at, Why.CAUGHT_UP) for at in wanted)
    assert told(due) == skipped
    assert (due.decided_until, due.next_at) == (NOON - minutes(5), NOON + minutes(5))


def test_the_latest_that_was_missed_gives_way_to_one_that_is_on_time() -> None:
    due = at_noon(NOON - minutes(25))

    assert due.wanted == (Wanted(NOON, Why.ON_TIME),)
    assert told(due) == [(Why.SUPERSEDED, 2, NOON - minutes(20), NOON - minutes(10))]


@pytest.mark.parametrize("catch_up", [CatchUp.LATEST, CatchUp.ALL])
def test_beyond_the_window_nothing_is_made_up_for(catch_up: CatchUp) -> None:
    due = at_noon(NOON - minutes(70), anchor_at=NOON - minutes(5), catch_up=catch_up, catch_up_window_seconds=290)

    assert due.wanted == ()
    assert told(due) == [(Why.TOO_OLD, 7, NOON - minutes(65), NOON - minutes(5))]
    assert due.next_at == NOON + minutes(5)


def test_of_all_the_newest_are_made_up_for_the_oldest_of_them_first() -> None:
    due = at_noon(
        NOON - minutes(125),
        anchor_at=NOON - minutes(5),
        **ALL,
        catch_up_limit=2,
        catch_up_window_seconds=3600,
    )

    assert [one.at for one in due.wanted] == [NOON - minutes(15), NOON - minutes(5)]
    assert told(due) == [
        (Why.TOO_OLD, 6, NOON - minutes(115), NOON - minutes(65)),
        (Why.OVER_LIMIT, 4, NOON - minutes(55), NOON - minutes(25)),
    ]


def test_more_than_one_transaction_takes_are_left_to_the_next() -> None:
    before = schedule(NOON - timedelta(hours=1), every_seconds=1, **ALL, catch_up_limit=1000)

    first = look(before, NOON, MISSED_AFTER)
    second = look(replace(before, decided_until=first.decided_until), NOON, MISSED_AFTER)

    assert len(first.wanted) == len(second.wanted) == AT_ONCE
    assert first.wanted[0].at == NOON - MISSED_AFTER - timedelta(seconds=999)
    assert second.wanted[0].at == first.wanted[-1].at + timedelta(seconds=1)
    assert first.next_at is not None
    assert first.next_at <= NOON
    assert second.skipped == ()


def test_more_than_are_counted_are_told_without_their_number() -> None:
    due = at_noon(NOON - timedelta(days=1), every_seconds=1, catch_up=CatchUp.NONE)

    assert COUNTED < 86_400
    last = NOON - MISSED_AFTER
    assert told(due) == [(Why.MISSED, None, NOON - timedelta(days=1) + timedelta(seconds=1), last)]


def test_jitter_delays_and_never_misses() -> None:
    jittered = schedule(NOON - minutes(5), jitter_seconds=300)

    waiting = look(jittered, NOON, MISSED_AFTER)
    assert waiting.wanted == ()
    assert waiting.next_at is not None
    assert NOON <= waiting.next_at < NOON + minutes(5)

    fired = look(jittered, waiting.next_at, MISSED_AFTER)
    assert fired.wanted == (Wanted(NOON, Why.ON_TIME),)


def test_a_jitter_longer_than_the_spacing_holds_up_no_instant_and_runs_are_when_they_were_foretold() -> None:
    current = schedule(NOON, cron="* * * * *", jitter_seconds=3600)
    rule = current.definition.rule
    foretold = [due_at(current.id, rule, one.at) for one in next_instants(rule, NOON, count=60)]

    for number, run in enumerate(foretold, 1):
        before = look(current, run - timedelta(microseconds=1), MISSED_AFTER)
        due = look(current, run, MISSED_AFTER)

        assert (before.wanted, before.next_at) == ((), run)
        assert due.wanted == (Wanted(NOON + minutes(number), Why.ON_TIME),)
        current = replace(current, decided_until=due.decided_until)


def test_an_instant_is_missed_so_long_after_its_run_whatever_its_jitter_might_have_been() -> None:
    jittered = schedule(NOON - minutes(5), jitter_seconds=600, catch_up=CatchUp.NONE)
    run = due_at(jittered.id, jittered.definition.rule, NOON)

    in_time = look(jittered, run + MISSED_AFTER - timedelta(microseconds=1), MISSED_AFTER)
    late = look(jittered, run + MISSED_AFTER, MISSED_AFTER)

    assert [one.at for one in in_time.wanted] == [NOON]
    assert told(late) == [(Why.MISSED, 1, NOON, NOON)]


@given(
    pauses=st.lists(st.floats(0, 400), max_size=20),
    catch_up=st.sampled_from(CatchUp),
    limit=st.integers(1, 20),
    window=st.integers(10, 900),
    jitter=st.sampled_from([0, 5, 20, 90, 3600]),
)
def test_however_often_one_looks_every_instant_is_decided_once(
    pauses: list[float], catch_up: CatchUp, limit: int, window: int, jitter: float
) -> None:
    begun = NOON - timedelta(hours=3)
    wishes = {"catch_up": catch_up, "catch_up_limit": limit, "catch_up_window_seconds": window}
    current = schedule(begun, cron="*/20 * * * * *", **wishes, jitter_seconds=jitter)
    rule, now, decided = current.definition.rule, begun, list[datetime]()
    for pause in pauses:
        now += timedelta(seconds=pause)
        due = look(current, now, MISSED_AFTER)
        decided += [one.at for one in due.wanted]
        for one in due.skipped:
            covered = [found.at for found in next_instants(rule, one.instant - minutes(1) / 60, until=one.last)]
            assert len(covered) == one.count
            decided += covered
        assert due.next_at is None or due.next_at > now or len(due.wanted) == AT_ONCE
        current = replace(current, decided_until=due.decided_until)

    assert sorted(decided) == [one.at for one in next_instants(rule, begun, until=current.decided_until)]


KEPT = tuple(NOON - minutes(left) for left in (50, 40, 30))


@pytest.mark.parametrize(
    ("catch_up", "wanted", "skipped"),
    [
        (CatchUp.NONE, [], [(Why.MISSED, 3, KEPT[0], KEPT[2])]),
        (CatchUp.LATEST, [KEPT[2]], [(Why.SUPERSEDED, 2, KEPT[0], KEPT[1])]),
        (CatchUp.ALL, [*KEPT], []),
    ],
)
def test_what_an_edit_left_is_made_up_for_as_the_schedule_says(
    catch_up: CatchUp, wanted: list[datetime], skipped: list[Any]
) -> None:
    due = look(replace(schedule(NOON, catch_up=catch_up), kept=KEPT), NOON, MISSED_AFTER)

    assert due == Due(tuple(Wanted(at, Why.CAUGHT_UP) for at in wanted), due.skipped, NOON, NOON + minutes(10))
    assert told(due) == skipped


def test_what_an_edit_left_gives_way_to_what_is_due_since() -> None:
    due = look(replace(schedule(NOON - minutes(5)), kept=KEPT), NOON, MISSED_AFTER)

    assert due.wanted == (Wanted(NOON, Why.ON_TIME),)
    assert told(due) == [(Why.SUPERSEDED, 3, KEPT[0], KEPT[2])]


def test_what_an_edit_left_is_not_made_up_for_beyond_the_window() -> None:
    wishes = {"catch_up": CatchUp.ALL, "catch_up_window_seconds": 40 * 60}
    due = look(replace(schedule(NOON, **wishes), kept=KEPT), NOON, MISSED_AFTER)

    assert [one.at for one in due.wanted] == [*KEPT[1:]]
    assert told(due) == [(Why.TOO_OLD, 1, KEPT[0], KEPT[0])]


def test_of_what_an_edit_left_no_more_is_made_up_for_than_the_limit_allows() -> None:
    due = look(replace(schedule(NOON, **ALL, catch_up_limit=2), kept=KEPT), NOON, MISSED_AFTER)

    assert [one.at for one in due.wanted] == [*KEPT[1:]]
    assert told(due) == [(Why.OVER_LIMIT, 1, KEPT[0], KEPT[0])]


def test_what_an_edit_left_waits_for_its_jitter_and_nothing_goes_before_it() -> None:
    jittered = replace(schedule(NOON, jitter_seconds=600), kept=(NOON,))
    run = due_at(jittered.id, jittered.definition.rule, NOON)

    waiting = look(jittered, run - timedelta(microseconds=1), MISSED_AFTER)
    fired = look(jittered, run, MISSED_AFTER)

    assert waiting == Due((), (), NOON, run, (NOON,))
    assert (fired.wanted, fired.kept) == ((Wanted(NOON, Why.ON_TIME),), ())


FOLD = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
GAP = datetime(2026, 3, 29, 1, tzinfo=UTC)
NIGHTLY: dict[str, Any] = {"cron": "30 2 * * *", "zone": "Europe/Berlin", "on_gap": "skip"}


@pytest.mark.parametrize(("passed", "reason"), [(GAP, Why.GAP), (FOLD, Why.FOLD)])
def test_what_a_change_of_the_clock_takes_away_is_told_when_its_time_comes(passed: datetime, reason: Why) -> None:
    before = schedule(passed - timedelta(minutes=30), **NIGHTLY)

    early = look(before, passed - minutes(5), MISSED_AFTER)
    in_time = look(before, passed, MISSED_AFTER)

    assert next_look_at(before) == passed
    assert early == Due((), (), before.decided_until, passed)
    assert (told(in_time), in_time.wanted) == ([(reason, 1, passed, passed)], ())
    assert in_time.decided_until == passed
    assert in_time.next_at == next_run_at(before)
    assert in_time.next_at is not None
    assert in_time.next_at > passed


def test_the_second_showing_of_a_single_date_is_told_too() -> None:
    before = schedule(FOLD - timedelta(hours=2), cron=None, once="2026-10-25T02:30", zone="Europe/Berlin")

    first = look(before, FOLD - timedelta(hours=1), MISSED_AFTER)
    second = look(replace(before, decided_until=first.decided_until), FOLD, MISSED_AFTER)

    assert ([one.reason for one in first.wanted], first.next_at) == ([Why.ON_TIME], FOLD)
    assert (told(second), second.next_at) == ([(Why.FOLD, 1, FOLD, FOLD)], None)


def test_what_a_change_of_the_clock_took_away_is_told_of_an_outage_too() -> None:
    before = schedule(GAP - timedelta(days=1), **NIGHTLY, catch_up=CatchUp.NONE)

    due = look(before, FOLD + timedelta(days=1), MISSED_AFTER)

    assert [one for one in told(due) if one[0] is not Why.MISSED] == [(Why.GAP, 1, GAP, GAP), (Why.FOLD, 1, FOLD, FOLD)]


def test_a_jitter_before_it_does_not_hide_what_is_passed_over() -> None:
    before = schedule(FOLD - timedelta(hours=2), **NIGHTLY, jitter_seconds=3 * 3600)
    first = FOLD - timedelta(hours=1)
    run = due_at(before.id, before.definition.rule, first)

    due = look(before, max(run, FOLD), MISSED_AFTER)

    assert ([one.at for one in due.wanted], told(due)) == ([first], [(Why.FOLD, 1, FOLD, FOLD)])


@given(pauses=st.lists(st.floats(0, 3000), max_size=30), jitter=st.sampled_from([0, 600]))
def test_however_often_one_looks_each_second_pass_is_told_once(pauses: list[float], jitter: float) -> None:
    begun = datetime(2026, 10, 24, 23, tzinfo=UTC)
    current = schedule(
        begun, cron="0,20,40 0-5 * * *", zone="Europe/Berlin", catch_up=CatchUp.ALL, jitter_seconds=jitter
    )
    now, instants = begun, list[datetime]()
    for pause in pauses:
        now += timedelta(seconds=pause)
        due = look(current, now, MISSED_AFTER)
        instants += [one.instant for one in due.skipped if one.reason is Why.FOLD and one.count == 1]
        instants += [at for one in due.skipped if one.reason is Why.FOLD and one.count != 1 for at in covered(one)]
        current = replace(current, decided_until=due.decided_until)

    passed = instants_passed_over(current.definition.rule, begun, current.decided_until)
    assert instants == [one.at for one in passed]


def covered(one: Occurrence) -> list[datetime]:
    return [one.instant + number * minutes(20) for number in range(one.count or 0)]


THREE = [Wanted(NOON + minutes(number), Why.ON_TIME) for number in range(3)]
OVERLAPS: list[tuple[Overlap, bool, bool, list[str]]] = [
    (Overlap.ALLOW, True, False, ["fired", "fired", "fired"]),
    (Overlap.SKIP, False, False, ["fired", "skipped 2 overlap"]),
    (Overlap.SKIP, True, False, ["skipped 3 overlap"]),
    (Overlap.WAIT, False, False, ["fired", "waiting", "skipped 1 overlap"]),
    (Overlap.WAIT, True, False, ["waiting", "skipped 2 overlap"]),
    (Overlap.WAIT, True, True, ["skipped 3 overlap"]),
    (Overlap.WAIT, False, True, ["skipped 3 overlap"]),
    (Overlap.CANCEL, True, False, ["skipped 2 superseded", "fired"]),
]


def worded(one: Occurrence) -> str:
    return f"skipped {one.count} {one.reason}" if one.decision is Decision.SKIPPED else one.decision


@pytest.mark.parametrize(("policy", "busy", "waiting", "expected"), OVERLAPS)
def test_what_overlaps_is_settled_as_the_schedule_says(
    policy: Overlap, busy: bool, waiting: bool, expected: list[str]
) -> None:
    assert [worded(one) for one in settle(policy, THREE, is_busy=busy, is_waiting=waiting)] == expected
    assert settle(policy, [], is_busy=busy, is_waiting=waiting) == []
