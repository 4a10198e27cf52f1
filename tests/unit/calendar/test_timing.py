"""Intervals, single dates, bounds and jitter."""

from collections import Counter
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.calendar.cron import Cron, parse_cron
from jobs.calendar.instants import next_instant, next_instants, previous_instant, previous_instants, run_at
from jobs.calendar.timing import Every, Instant, Once, Rule

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
INSTANTS = st.datetimes(datetime(1950, 1, 1), datetime(2150, 1, 1), timezones=st.just(UTC))
SECONDS = st.one_of(st.integers(1, 10**7), st.floats(1, 10**5))


def test_an_interval_counts_elapsed_time_across_clock_changes() -> None:
    rule = Rule(Every(3600, datetime(2026, 10, 24, 22, tzinfo=UTC)), "Europe/Berlin")

    found = list(next_instants(rule, datetime(2026, 10, 24, 22, tzinfo=UTC), count=4))

    assert [one.at.hour for one in found] == [23, 0, 1, 2]
    assert [(one.wall.hour, one.mark) for one in found] == [(1, None), (2, "fold"), (2, "fold"), (3, None)]


def test_an_interval_longer_than_a_day_keeps_its_hour_in_utc_and_not_on_the_wall() -> None:
    rule = Rule(Every(86400, datetime(2026, 3, 28, 8, tzinfo=UTC)), "Europe/Berlin")

    found = list(next_instants(rule, datetime(2026, 3, 27, 12, tzinfo=UTC), count=2))

    assert [one.wall for one in found] == [datetime(2026, 3, 28, 9), datetime(2026, 3, 29, 10)]


@given(anchor=INSTANTS, seconds=SECONDS, after=INSTANTS)
def test_an_interval_never_drifts_however_far_from_its_anchor(
    anchor: datetime, seconds: float, after: datetime
) -> None:
    rule = Rule(Every(seconds, anchor))
    interval = timedelta(seconds=seconds)

    found = next_instant(rule, after)

    assert found is not None
    assert (found.at - anchor) % interval == timedelta(0)
    assert after < found.at <= after + interval
    assert previous_instant(rule, found.at) == Instant(found.at - interval, (found.at - interval).replace(tzinfo=None))


def test_an_interval_reaches_behind_its_anchor_unless_it_starts_there() -> None:
    anchored = Rule(Every(60, NOON))
    started = Rule(Every(60, NOON), start_at=NOON)

    assert next_instant(anchored, NOON - timedelta(minutes=5)) == previous_instant(
        anchored, NOON - timedelta(minutes=3)
    )
    assert next(next_instants(started, NOON - timedelta(days=9))).at == NOON
    assert previous_instant(started, NOON) is None


def test_a_single_instant_comes_once() -> None:
    rule = Rule(Once(NOON.astimezone(timezone(timedelta(hours=5)))), "Asia/Kolkata")
    only = Instant(NOON, datetime(2026, 6, 1, 17, 30))

    assert list(next_instants(rule, datetime(1970, 1, 1, tzinfo=UTC))) == [only]
    assert next_instant(rule, NOON) is None
    assert next_instant(rule, NOON - timedelta(microseconds=1)) == only
    assert previous_instant(rule, NOON) is None
    assert previous_instant(rule, NOON + timedelta(microseconds=1)) == only


def test_both_bounds_of_a_rule_are_inside() -> None:
    rule = Rule(parse_cron("0 * * * *"), start_at=NOON, end_at=NOON + timedelta(hours=2))
    hours = [NOON, NOON + timedelta(hours=1), NOON + timedelta(hours=2)]

    assert [one.at for one in next_instants(rule, datetime(2000, 1, 1, tzinfo=UTC))] == hours
    assert [one.at for one in previous_instants(rule, datetime(2040, 1, 1, tzinfo=UTC))] == hours[::-1]
    assert next_instant(rule, NOON + timedelta(hours=2)) is None
    assert previous_instant(rule, NOON) is None


def test_a_bound_between_two_seconds_cuts_where_it_stands() -> None:
    half = timedelta(seconds=0.5)
    rule = Rule(parse_cron("* * * * * *"), start_at=NOON + half, end_at=NOON + timedelta(seconds=3) - half)

    assert [one.at.second for one in next_instants(rule, NOON - timedelta(days=1))] == [1, 2]
    assert [one.at.second for one in previous_instants(rule, NOON + timedelta(days=1))] == [2, 1]


def test_the_walk_is_strict_behind_and_includes_the_end_asked_for() -> None:
    rule = Rule(parse_cron("0 * * * *"))
    later = NOON + timedelta(hours=2)

    assert [one.at.hour for one in next_instants(rule, NOON, until=later)] == [13, 14]
    assert [one.at.hour for one in previous_instants(rule, later, since=NOON)] == [13, 12]
    assert list(next_instants(rule, NOON, count=0)) == []
    assert len(list(next_instants(rule, NOON, until=later, count=1))) == 1
    assert list(next_instants(rule, NOON, until=NOON - timedelta(hours=5))) == []


def test_an_offset_may_be_any_and_is_needed() -> None:
    rule = Rule(parse_cron("0 0 * * *"))

    assert next_instant(rule, NOON.astimezone(timezone(timedelta(hours=-7)))) == next_instant(rule, NOON)
    with pytest.raises(ValueError, match="has no offset"):
        next_instant(rule, NOON.replace(tzinfo=None))


@pytest.mark.parametrize("extreme", [datetime.min, datetime.max], ids=["min", "max"])
@pytest.mark.parametrize("hours", [-12, 0, 14])
def test_the_ends_of_the_calendar_are_answered_too(extreme: datetime, hours: int) -> None:
    bound = extreme.replace(tzinfo=timezone(timedelta(hours=hours)))

    for rule in (Rule(parse_cron("@yearly"), "Asia/Tokyo"), Rule(Every(86400, NOON)), Rule(Once(NOON))):
        first, last = next_instant(rule, bound), previous_instant(rule, bound)
        assert (first is None) == (extreme == datetime.max)
        assert (last is None) == (extreme == datetime.min)


@given(
    seconds=st.floats(0, 86400),
    schedule=st.one_of(st.uuids(), st.text(st.characters(codec="utf-8"))),
    at=INSTANTS,
)
def test_jitter_moves_a_run_by_less_than_its_width_and_always_alike(
    seconds: float, schedule: object, at: datetime
) -> None:
    rule = Rule(parse_cron("@daily"), jitter_seconds=seconds)

    moved = run_at(rule, schedule, at)

    assert timedelta(0) <= moved - at <= timedelta(seconds=seconds)
    assert moved - at < timedelta(seconds=seconds) or seconds < 1e-6
    assert run_at(rule, schedule, at.astimezone(timezone(timedelta(hours=3)))) == moved


def test_jitter_is_the_same_on_every_machine() -> None:
    rule = Rule(parse_cron("@daily"), jitter_seconds=3600)

    assert run_at(rule, "nightly", NOON) == datetime(2026, 6, 1, 12, 51, 12, 517623, tzinfo=UTC)


def test_jitter_is_spread_evenly_over_schedules_and_instants() -> None:
    rule = Rule(parse_cron("@daily"), jitter_seconds=100)
    moves = [
        (run_at(rule, f"schedule-{name}", NOON + timedelta(days=day)) - NOON - timedelta(days=day)).total_seconds()
        for name in range(100)
        for day in range(100)
    ]

    filled = Counter(int(move // 10) for move in moves)

    assert sorted(filled) == list(range(10))
    assert all(850 < count < 1150 for count in filled.values())  # 1000 expected, and 5 standard deviations


def test_jitter_is_not_the_identity_of_an_instant() -> None:
    rule, moved = (Rule(parse_cron("@daily"), jitter_seconds=width) for width in (0, 900))

    assert list(next_instants(rule, NOON, count=5)) == list(next_instants(moved, NOON, count=5))
    assert run_at(rule, "nightly", NOON) == NOON


TIMINGS = st.sampled_from([parse_cron("* * * * *"), parse_cron("0 9,10 * * *"), parse_cron("0 4 1 * MON")])


@given(timing=TIMINGS | st.builds(Every, st.integers(1, 7200), INSTANTS), jitter=st.floats(0, 86400), after=INSTANTS)
def test_jitter_never_reaches_the_next_instant(timing: Cron | Every, jitter: float, after: datetime) -> None:
    rule = Rule(timing, jitter_seconds=jitter)

    found = [one.at for one in next_instants(rule, after, count=5)]

    runs = [run_at(rule, "nightly", at) for at in found]
    assert all(at <= run < following for at, run, following in zip(found, runs, found[1:], strict=False))


def test_jitter_is_capped_for_those_instants_alone_that_another_follows_soon() -> None:
    rule = Rule(parse_cron("0 9,10 * * *"), jitter_seconds=7200)
    nine, ten = ({run_at(rule, name, NOON.replace(hour=hour)).hour for name in range(100)} for hour in (9, 10))

    assert (nine, ten) == ({9}, {10, 11})


def test_the_last_run_of_a_schedule_stays_where_it_was_when_it_gets_an_end() -> None:
    open_ended, ended = (Rule(Every(60, NOON), jitter_seconds=3600, end_at=end) for end in (None, NOON))

    assert run_at(ended, "nightly", NOON) == run_at(open_ended, "nightly", NOON) < NOON + timedelta(minutes=1)
