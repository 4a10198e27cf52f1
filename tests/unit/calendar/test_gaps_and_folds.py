"""The rules for times that do not exist or exist twice, on clock changes of every kind that there has been."""

from datetime import UTC, datetime, timedelta

import pytest

from jobs.calendar.cron import parse_cron
from jobs.calendar.instants import next_instant, next_instants, previous_instant, previous_instants
from jobs.calendar.timing import Once, OnFold, OnGap, Rule


def day(text: str, zone: str, date: str, *, on_gap: OnGap = "run", on_fold: OnFold = "once") -> list[str]:
    """Return the runs of a cron on one day of the zone's clock: `03:00 gap`, `02:30 fold`."""
    start = datetime.fromisoformat(date)
    rule = Rule(parse_cron(text), zone, on_gap=on_gap, on_fold=on_fold)
    around = next_instants(
        rule, (start - timedelta(days=2)).replace(tzinfo=UTC), until=(start + timedelta(days=3)).replace(tzinfo=UTC)
    )
    return [
        f"{one.wall:%H:%M} {one.mark or ''}".strip() for one in around if start <= one.wall < start + timedelta(days=1)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30 2 * * *", ["03:00 gap"]),
        ("0,30 2 * * *", ["03:00 gap"]),  # several missing times are one run
        ("*/30 2 * * *", ["03:00 gap"]),  # written with a star, too
        ("* 2 * * *", ["03:00 gap"]),
        ("30 2,3 * * *", ["03:00 gap", "03:30"]),
        ("0 2,3 * * *", ["03:00"]),  # the first time after the gap is meant itself: one run, and no stand-in
        ("0 */2 * * *", ["00:00", "03:00 gap", *(f"{hour:02}:00" for hour in range(4, 24, 2))]),
        ("0 1-4 * * *", ["01:00", "03:00", "04:00"]),
        ("15 1-4 * * *", ["01:15", "03:00 gap", "03:15", "04:15"]),
        ("15 * * * *", [f"{hour:02}:15" for hour in range(24) if hour != 2]),  # every hour: nothing is missed
        ("15 0-23 * * *", ["00:15", "01:15", "03:00 gap", *(f"{hour:02}:15" for hour in range(3, 24))]),
        ("30 2 29 3 *", ["03:00 gap"]),
        ("30 2 30 3 *", []),
        ("30 2 L * *", []),
        ("30 2 * * 7L", ["03:00 gap"]),
    ],
)
def test_a_gap_of_an_hour_in_berlin(text: str, expected: list[str]) -> None:
    assert day(text, "Europe/Berlin", "2026-03-29") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30 2 * * *", []),
        ("0,30 2 * * *", []),
        ("0 2,3 * * *", ["03:00"]),
        ("15 * * * *", [f"{hour:02}:15" for hour in range(24) if hour != 2]),
    ],
)
def test_a_gap_is_skipped_on_request(text: str, expected: list[str]) -> None:
    assert day(text, "Europe/Berlin", "2026-03-29", on_gap="skip") == expected


@pytest.mark.parametrize(
    ("text", "once", "both"),
    [
        ("30 2 * * *", ["02:30 fold"], ["02:30 fold"] * 2),
        ("0 1-4 * * *", ["01:00", "02:00 fold", "03:00", "04:00"], ["01:00", *["02:00 fold"] * 2, "03:00", "04:00"]),
        ("0 2,3 * * *", ["02:00 fold", "03:00"], ["02:00 fold", "02:00 fold", "03:00"]),
        ("*/30 2 * * *", ["02:00 fold", "02:30 fold"] * 2, ["02:00 fold", "02:30 fold"] * 2),  # follows real time
        ("0 */12 * * *", ["00:00", "12:00"], ["00:00", "12:00"]),
        ("59 1 * * *", ["01:59"], ["01:59"]),
        ("0 3 * * *", ["03:00"], ["03:00"]),
    ],
)
def test_a_fold_of_an_hour_in_berlin(text: str, once: list[str], both: list[str]) -> None:
    assert day(text, "Europe/Berlin", "2026-10-25") == once
    assert day(text, "Europe/Berlin", "2026-10-25", on_fold="both") == both


def test_every_hour_runs_every_real_hour_through_a_fold() -> None:
    rule = Rule(parse_cron("0 * * * *"), "America/New_York")

    found = list(next_instants(rule, datetime(2026, 11, 1, 3, 30, tzinfo=UTC), count=6))

    assert [one.at for one in found] == [datetime(2026, 11, 1, hour, tzinfo=UTC) for hour in range(4, 10)]
    assert [one.wall.hour for one in found] == [0, 1, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("zone", "date", "text", "expected"),
    [
        # Samoa crossed the date line: 30 December 2011 did not exist. Its daily run falls on the 31st's own.
        ("Pacific/Apia", "2011-12-31", "0 0 * * *", ["00:00"]),
        ("Pacific/Apia", "2011-12-30", "0 9 * * *", []),
        ("Pacific/Apia", "2011-12-31", "0 9 * * *", ["00:00 gap", "09:00"]),
        ("Pacific/Apia", "2011-12-31", "0 9 30 12 *", ["00:00 gap"]),
        ("Pacific/Apia", "2011-12-31", "0 9 * * FRI", ["00:00 gap"]),
        ("Pacific/Apia", "2011-12-31", "0 */6 * * *", ["00:00", "06:00", "12:00", "18:00"]),
        ("Pacific/Kwajalein", "1993-08-22", "30 12 * * *", ["00:00 gap", "12:30"]),
        ("Pacific/Kiritimati", "1995-01-01", "0 12 31 12 *", ["00:00 gap"]),
        # Half an hour.
        ("Australia/Lord_Howe", "2026-10-04", "15 2 * * *", ["02:30 gap"]),
        ("Australia/Lord_Howe", "2026-10-04", "45 2 * * *", ["02:45"]),
        ("Australia/Lord_Howe", "2026-10-04", "0 1-3 * * *", ["01:00", "02:30 gap", "03:00"]),
        ("Australia/Lord_Howe", "2026-04-05", "45 1 * * *", ["01:45 fold"]),
        ("Australia/Lord_Howe", "2026-04-05", "15 1 * * *", ["01:15"]),
        ("Australia/Lord_Howe", "2026-04-05", "*/30 1 * * *", ["01:00", "01:30 fold", "01:30 fold"]),
        # Midnight itself is missing, or shown twice.
        ("Africa/Cairo", "2026-04-24", "0 0 * * *", ["01:00 gap"]),
        ("Africa/Cairo", "2026-04-24", "@daily", ["01:00 gap"]),
        ("Africa/Cairo", "2026-04-24", "0 */12 * * *", ["01:00 gap", "12:00"]),
        ("Africa/Cairo", "2026-10-29", "30 23 * * *", ["23:30 fold"]),
        ("America/Sao_Paulo", "2018-11-04", "0 0 * * *", ["01:00 gap"]),
        ("America/Sao_Paulo", "2019-11-03", "0 0 * * *", ["00:00"]),  # summer time had been abolished
        ("America/Havana", "2012-11-04", "30 0 * * *", ["00:30 fold"]),
        # Morocco pauses its summer time for Ramadan: a fold and a gap within five weeks, the other way round.
        ("Africa/Casablanca", "2026-02-15", "30 2 * * *", ["02:30 fold"]),
        ("Africa/Casablanca", "2026-03-22", "30 2 * * *", ["03:00 gap"]),
        # Three hours, and two.
        ("Antarctica/Casey", "2018-03-11", "30 2 * * *", ["02:30 fold"]),
        ("Antarctica/Casey", "2020-10-04", "0 0 * * *", ["00:00"]),
        ("Antarctica/Casey", "2020-10-04", "1 0 * * *", ["03:01 gap"]),
        ("Antarctica/Casey", "2020-10-04", "0 1,2,3 * * *", ["03:01 gap"]),
        ("Antarctica/Troll", "2026-03-29", "0 1,2,3 * * *", ["03:00"]),
        ("Antarctica/Vostok", "2023-12-18", "0 1 * * *", ["01:00 fold"]),
        # Winter as the exception: the law of Ireland calls its summer time standard.
        ("Europe/Dublin", "2026-03-29", "30 1 * * *", ["02:00 gap"]),
        # Offsets of odd seconds: Liberia moved forward by 44 minutes and 30 seconds at midnight.
        ("Africa/Monrovia", "1972-01-07", "10 0 * * *", ["00:44 gap"]),
        ("Africa/Monrovia", "1972-01-07", "44 0 * * *", ["00:44 gap"]),
        ("Africa/Monrovia", "1972-01-07", "45 0 * * *", ["00:45"]),
        # New offsets, not summer time.
        ("Asia/Pyongyang", "2018-05-04", "45 23 * * *", []),
        ("Asia/Pyongyang", "2018-05-05", "45 23 * * *", ["00:00 gap", "23:45"]),
        ("Europe/Volgograd", "2020-12-27", "30 1 * * *", ["01:30 fold"]),
        ("America/Caracas", "2016-05-01", "45 2 * * *", ["03:00 gap"]),
    ],
)
def test_a_clock_change_of_another_kind(zone: str, date: str, text: str, expected: list[str]) -> None:
    assert day(text, zone, date) == expected


def test_a_stand_in_for_a_gap_may_stand_at_an_odd_second() -> None:
    rule = Rule(parse_cron("10 0 * * *"), "Africa/Monrovia")

    found = next_instant(rule, datetime(1972, 1, 7, tzinfo=UTC))

    assert found is not None
    assert (found.at, found.wall, found.mark) == (
        datetime(1972, 1, 7, 0, 44, 30, tzinfo=UTC),
        datetime(1972, 1, 7, 0, 44, 30),
        "gap",
    )


@pytest.mark.parametrize(
    ("zone", "wall", "on_gap", "on_fold", "expected"),
    [
        ("Europe/Berlin", "2026-06-01T09:30", "run", "once", ["2026-06-01T07:30"]),
        ("Europe/Berlin", "2026-03-29T02:30", "run", "once", ["2026-03-29T01:00"]),
        ("Europe/Berlin", "2026-03-29T02:30", "skip", "once", []),
        ("Europe/Berlin", "2026-10-25T02:30", "run", "once", ["2026-10-25T00:30"]),
        ("Europe/Berlin", "2026-10-25T02:30", "run", "both", ["2026-10-25T00:30", "2026-10-25T01:30"]),
        ("Pacific/Apia", "2011-12-30T12:00", "run", "once", ["2011-12-30T10:00"]),
    ],
)
def test_one_date_on_a_wall_follows_the_rules_too(
    zone: str, wall: str, on_gap: OnGap, on_fold: OnFold, expected: list[str]
) -> None:
    rule = Rule(Once(datetime.fromisoformat(wall)), zone, on_gap=on_gap, on_fold=on_fold)

    found = list(next_instants(rule, datetime(2000, 1, 1, tzinfo=UTC)))

    assert [one.at for one in found] == [datetime.fromisoformat(f"{at}+00:00") for at in expected]


def test_a_cron_that_only_ever_meets_gaps_ends_when_they_are_skipped() -> None:
    rule = Rule(parse_cron("30 2 * 3 7L"), "Europe/Berlin", on_gap="skip")

    assert next_instant(rule, datetime(2026, 1, 1, tzinfo=UTC)) is None


def test_a_search_from_between_the_two_showings_of_a_yearly_time_finds_both() -> None:
    rule = Rule(parse_cron("45 2 25 10 *"), "Europe/Berlin", on_fold="both")
    between = datetime(2026, 10, 25, 1, 15, tzinfo=UTC)  # 02:15 for the second time

    first, second = previous_instant(rule, between), next_instant(rule, between)

    assert first is not None
    assert second is not None
    assert (first.at, second.at) == (between - timedelta(minutes=30), between + timedelta(minutes=30))


def test_a_stand_in_for_a_gap_lies_inside_the_bounds_or_is_not_given() -> None:
    rule = Rule(parse_cron("30 2 * * *"), "Europe/Berlin")
    stands_in = datetime(2026, 3, 29, 1, tzinfo=UTC)
    second, noon = timedelta(seconds=1), timedelta(hours=12)

    assert [one.at for one in next_instants(rule, stands_in - second, until=stands_in)] == [stands_in]
    assert [one.at for one in previous_instants(rule, stands_in + second, since=stands_in)] == [stands_in]
    assert list(next_instants(rule, stands_in, until=stands_in + noon)) == []
    assert list(previous_instants(rule, stands_in + noon, since=stands_in + second)) == []
    assert list(previous_instants(rule, stands_in, since=stands_in - second)) == []
