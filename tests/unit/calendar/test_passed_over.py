"""What a rule passes over at a change of the clock, and that it is told as well as what runs."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, product

import pytest

from jobs.calendar.cron import parse_cron
from jobs.calendar.instants import next_instants
from jobs.calendar.passed_over import instants_passed_over, with_passed_over
from jobs.calendar.timing import Every, Once, OnFold, OnGap, Rule
from tests.unit.calendar import oracle
from tests.unit.calendar.comparing import plain
from tests.unit.calendar.oracle import Film, PlainCron

SPRING, AUTUMN = datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)
DAY = timedelta(days=1)


def passed(rule: Rule, day: datetime) -> list[str]:
    """Return what is passed over on a day of UTC: `01:00 gap`."""
    return [f"{one.at:%H:%M} {one.mark}" for one in instants_passed_over(rule, day, day + DAY)]


def berlin(text: str, on_gap: OnGap = "skip", on_fold: OnFold = "once") -> Rule:
    return Rule(parse_cron(text), "Europe/Berlin", on_gap=on_gap, on_fold=on_fold)


@pytest.mark.parametrize(
    ("text", "in_spring", "in_autumn"),
    [
        ("30 2 * * *", ["01:00 gap"], ["01:30 fold"]),
        ("0,30 2 * * *", ["01:00 gap"], ["01:00 fold", "01:30 fold"]),
        ("*/30 2 * * *", ["01:00 gap"], []),
        ("0 2,3 * * *", [], ["01:00 fold"]),
        ("15 * * * *", [], []),
        ("30 4 * * *", [], []),
    ],
)
def test_what_a_rule_leaves_out_is_what_a_generous_one_would_run(
    text: str, in_spring: list[str], in_autumn: list[str]
) -> None:
    assert (passed(berlin(text), SPRING), passed(berlin(text), AUTUMN)) == (in_spring, in_autumn)


@pytest.mark.parametrize(
    "rule",
    [
        berlin("30 2 * * *", "run", "both"),
        Rule(parse_cron("30 2 * * *"), on_gap="skip"),
        Rule(Every(60, SPRING), "Europe/Berlin", on_gap="skip"),
        Rule(Once(datetime(2026, 10, 25, 0, 30, tzinfo=UTC)), "Europe/Berlin", on_gap="skip"),
    ],
    ids=["runs everything", "a clock without changes", "an interval", "an instant"],
)
def test_a_rule_that_leaves_nothing_out_passes_nothing_over(rule: Rule) -> None:
    assert list(instants_passed_over(rule, SPRING - 400 * DAY, AUTUMN + 400 * DAY)) == []


def test_one_date_on_a_wall_that_comes_twice_passes_over_the_second() -> None:
    rule = Rule(Once(datetime(2026, 10, 25, 2, 30)), "Europe/Berlin")

    assert passed(rule, AUTUMN) == ["01:30 fold"]
    assert [one.is_passed_over for one in with_passed_over(rule, AUTUMN)] == [False, True]


def test_both_bounds_of_the_rule_and_of_the_span_hold() -> None:
    second = AUTUMN + timedelta(hours=1, minutes=30)
    rule = berlin("30 2 * * *")
    ended = Rule(rule.timing, rule.zone, end_at=second - timedelta(seconds=1))

    assert [one.at for one in instants_passed_over(rule, second - timedelta(seconds=1), second)] == [second]
    assert list(instants_passed_over(rule, second, second + DAY)) == []
    assert list(instants_passed_over(rule, AUTUMN, second - timedelta(seconds=1))) == []
    assert passed(ended, AUTUMN) == []


def test_over_the_years_each_change_is_met_once_wherever_the_span_is_cut() -> None:
    rule = berlin("15,45 2 * * *")
    first, last = datetime(2019, 6, 1, tzinfo=UTC), datetime(2027, 6, 1, tzinfo=UTC)
    cuts = [first + number * timedelta(days=37, hours=5) for number in range(80)]

    whole = list(instants_passed_over(rule, first, last))
    pieces = [one for since, until in pairwise([*cuts, last]) for one in instants_passed_over(rule, since, until)]

    assert len(whole) == 8 + 2 * 8
    assert pieces == whole


def test_what_runs_and_what_is_passed_over_come_in_their_order() -> None:
    found = list(islice(with_passed_over(berlin("30 2 * * *"), AUTUMN - DAY), 4))

    assert [one.at for one in found] == sorted(one.at for one in found)
    assert [(one.mark, one.is_passed_over) for one in found] == [
        (None, False),
        ("fold", False),
        ("fold", True),
        (None, False),
    ]


CRONS = ["30 2 * * *", "0,30 0-4 * * *", "17 */2 * * *", "5 * * * *"]


@pytest.mark.parametrize("zone", oracle.clocks()[::12])
def test_the_calendar_passes_over_what_the_oracle_misses(zone: str) -> None:
    for change, text in product(
        oracle.changes(zone, datetime(2018, 1, 1, tzinfo=UTC), datetime(2022, 1, 1, tzinfo=UTC)), CRONS
    ):
        film = Film(zone, change - timedelta(hours=6), change + timedelta(hours=6), margin=timedelta(hours=30))
        rule = Rule(parse_cron(text), zone, on_gap="skip")

        found = plain(instants_passed_over(rule, film.start - film.tick / 2, film.end))

        cron = PlainCron(text)
        given = oracle.instants(film, cron, on_gap="skip")
        generous = oracle.instants(film, cron, on_gap="run", on_fold="both")
        assert found == [one for one in generous if one not in given], (zone, change, text)
        assert plain(next_instants(rule, film.start - film.tick / 2, until=film.end)) == given
