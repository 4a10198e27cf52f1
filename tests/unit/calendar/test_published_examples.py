"""What Debian's manual pages, cronsim and croniter publish as examples, as facts to agree with.

Sources: crontab(5) and cron(8) of Debian's cron 3.0pl1; "How Debian Cron Handles DST Transitions" on the Healthchecks
blog, 2021; README and tests of cronsim 2.8 (its clock changes are those of Riga in 2021); README of croniter 7.0.
"""

from datetime import UTC, datetime, timedelta

import pytest

from jobs.calendar.cron import parse_cron
from jobs.calendar.instants import next_instants, previous_instant
from jobs.calendar.timing import Rule

Example = tuple[str, str, list[str]]
"""Expression, the wall-clock time after which to look, and the times that follow."""

DEBIAN: list[Example] = [
    ("5 0 * * *", "2026-01-01 00:05", ["2026-01-02 00:05", "2026-01-03 00:05"]),
    ("15 14 1 * *", "2026-01-01 14:15", ["2026-02-01 14:15", "2026-03-01 14:15"]),
    ("0 22 * * 1-5", "2026-01-02 21:00", ["2026-01-02 22:00", "2026-01-05 22:00", "2026-01-06 22:00"]),
    ("23 0-23/2 * * *", "2026-01-01 00:00", ["2026-01-01 00:23", "2026-01-01 02:23", "2026-01-01 04:23"]),
    ("5 4 * * sun", "2026-01-01 00:00", ["2026-01-04 04:05", "2026-01-11 04:05"]),
    ("0 */4 1 * mon", "2026-01-01 20:00", ["2026-01-05 00:00", "2026-01-05 04:00", "2026-01-05 08:00"]),
    ("0 0 */2 * sun", "2026-01-01 00:00", ["2026-01-11 00:00", "2026-01-25 00:00", "2026-02-01 00:00"]),
    ("0 4 8-14 * *", "2026-01-01 00:00", ["2026-01-08 04:00", "2026-01-09 04:00"]),
    ("30 4 1,15 * 5", "2026-01-01 00:00", ["2026-01-01 04:30", "2026-01-02 04:30", "2026-01-09 04:30"]),
    ("0 10 * * *", "2026-01-01 00:00", ["2026-01-01 10:00"]),
    ("0 8-11 * * *", "2026-01-01 09:30", ["2026-01-01 10:00", "2026-01-01 11:00", "2026-01-02 08:00"]),
    ("@hourly", "2026-01-01 00:00", ["2026-01-01 01:00"]),
    ("@daily", "2026-01-01 00:00", ["2026-01-02 00:00"]),
    ("@midnight", "2026-01-01 00:00", ["2026-01-02 00:00"]),
    ("@weekly", "2026-01-01 00:00", ["2026-01-04 00:00"]),
    ("@monthly", "2026-01-01 00:00", ["2026-02-01 00:00"]),
    ("@yearly", "2026-01-01 00:00", ["2027-01-01 00:00"]),
    ("@annually", "2026-01-01 00:00", ["2027-01-01 00:00"]),
]

CRONSIM: list[Example] = [
    ("0 0 * 2 MON#5", "2020-01-01 00:00", [f"{year}-02-29 00:00" for year in (2044, 2072, 2112, 2140, 2168)]),
    ("1 1 L * *", "2020-01-01 00:00", ["2020-01-31 01:01", "2020-02-29 01:01"]),
    ("* * l * *", "2020-01-01 00:00", ["2020-01-31 00:00"]),
    ("0 0 LW * *", "2020-01-01 00:00", ["2020-01-31 00:00", "2020-02-28 00:00"]),
    ("1 1 * * 5L", "2020-01-01 00:00", ["2020-01-31 01:01", "2020-02-28 01:01", "2020-03-27 01:01"]),
    ("1 1 * * 0L", "2020-01-01 00:00", ["2020-01-26 01:01"]),
    ("1 1 * * 7L", "2020-01-01 00:00", ["2020-01-26 01:01"]),
    ("0 0 * * 6L", "2020-01-01 00:00", ["2020-01-25 00:00"]),
    ("1 1 * * 1#2", "2020-01-01 00:00", ["2020-01-13 01:01"]),
    ("0 0 * * MON#1", "2020-01-01 00:00", ["2020-01-06 00:00"]),
    ("1 1 1-7 * */7", "2020-01-01 00:00", ["2020-01-05 01:01", "2020-02-02 01:01", "2020-03-01 01:01"]),
    ("1 1 */100,1-7 * MON", "2020-01-01 00:00", ["2020-01-06 01:01", "2020-02-03 01:01", "2020-03-02 01:01"]),
    ("5/15 * * * *", "2020-01-01 00:00", ["2020-01-01 00:05", "2020-01-01 00:20", "2020-01-01 00:35"]),
    ("0 0 * * sun-tue", "2020-01-01 00:00", ["2020-01-05 00:00", "2020-01-06 00:00", "2020-01-07 00:00"]),
    ("0 0 * * */2", "2020-01-01 00:00", ["2020-01-02 00:00", "2020-01-04 00:00", "2020-01-05 00:00"]),
    ("0 0 * JAN *", "2020-01-31 12:00", ["2021-01-01 00:00"]),
    ("*/15 * * * * *", "2020-01-01 00:00", ["2020-01-01 00:00:15", "2020-01-01 00:00:30"]),
]

CRONITER: list[Example] = [
    ("*/5 * * * *", "2010-01-25 04:46", ["2010-01-25 04:50", "2010-01-25 04:55", "2010-01-25 05:00"]),
    ("2 4 1 * wed", "2010-01-25 04:46", ["2010-01-27 04:02", "2010-02-01 04:02", "2010-02-03 04:02"]),
    ("2 4 * * mon,fri", "2010-01-25 04:46", ["2010-01-29 04:02", "2010-02-01 04:02", "2010-02-05 04:02"]),
    ("0 0 * * sat#1,sun#2", "2010-01-25 04:46", ["2010-02-06 00:00"]),
    ("0 0 * * 5#3,5L", "2010-01-25 04:46", ["2010-01-29 00:00", "2010-02-19 00:00"]),
    ("0 0 l * *", "2024-01-30 00:00", ["2024-01-31 00:00", "2024-02-29 00:00"]),
    ("0 0 l * *", "2023-02-01 00:00", ["2023-02-28 00:00"]),
    ("1 1 */32,1-7 * 2", "2024-07-12 00:00", ["2024-08-06 01:01", "2024-09-03 01:01"]),
    ("15,25 * * * * *", "2012-04-06 13:26:10", ["2012-04-06 13:26:15", "2012-04-06 13:26:25", "2012-04-06 13:27:15"]),
    (
        "0 0 */7 * *",
        "2024-07-11 00:00",
        ["2024-07-15 00:00", "2024-07-22 00:00", "2024-07-29 00:00", "2024-08-01 00:00"],
    ),
    ("0 0 30 1,2 *", "2024-01-01 00:00", ["2024-01-30 00:00", "2025-01-30 00:00"]),
    ("0 0 29 2 *", "2024-01-01 00:00", ["2024-02-29 00:00", "2028-02-29 00:00"]),
]


@pytest.mark.parametrize(("text", "after", "expected"), [*DEBIAN, *CRONSIM, *CRONITER])
def test_an_expression_means_what_others_publish(text: str, after: str, expected: list[str]) -> None:
    rule = Rule(parse_cron(text))

    found = list(next_instants(rule, datetime.fromisoformat(f"{after}+00:00"), count=len(expected)))

    assert [instant.wall for instant in found] == [datetime.fromisoformat(wall) for wall in expected]


@pytest.mark.parametrize(
    ("text", "before", "expected"),
    [
        ("0 0 * 2 MON#5", "2020-01-01", "2016-02-29"),  # cronsim
        ("0 0 1 * *", "2010-08-25", "2010-08-01"),  # croniter
        ("0 0 1 * *", "2010-08-01", "2010-07-01"),  # croniter
    ],
)
def test_the_time_before_is_what_others_publish(text: str, before: str, expected: str) -> None:
    last = previous_instant(Rule(parse_cron(text)), datetime.fromisoformat(f"{before}T00:00+00:00"))

    assert last is not None
    assert last.wall == datetime.fromisoformat(expected)


IN_SPRING = "2021-03-28"
"""In Riga, 03:00 to 04:00 does not exist; UTC+2 becomes UTC+3."""
IN_AUTUMN = "2021-10-31"
"""In Riga, 03:00 to 04:00 is shown twice; UTC+3 becomes UTC+2."""

ENUMERATED = ",".join(map(str, range(24)))
ODD_HOURS = "1,3,5,7,9,11,13,15,17,19,21,23"

RIGA: list[tuple[str, str, str, list[str]]] = [
    ("0 * * * *", IN_SPRING, "01:30", ["02:00+2", "04:00+3"]),
    ("0 * * * *", IN_AUTUMN, "01:30", ["02:00+3", "03:00+3", "03:00+2", "04:00+2"]),
    ("*/30 * * * *", IN_SPRING, "02:10", ["02:30+2", "04:00+3", "04:30+3"]),
    ("*/30 * * * *", IN_AUTUMN, "02:10", ["02:30+3", "03:00+3", "03:30+3", "03:00+2", "03:30+2", "04:00+2"]),
    ("*/15 * * * *", IN_SPRING, "02:40", ["02:45+2", "04:00+3"]),
    ("0 */2 * * *", IN_SPRING, "01:30", ["02:00+2", "04:00+3", "06:00+3"]),
    ("0 */2 * * *", IN_AUTUMN, "01:30", ["02:00+3", "04:00+2", "06:00+2"]),
    ("30 */2 * * *", IN_SPRING, "01:30", ["02:30+2", "04:30+3"]),
    ("30 */2 * * *", IN_AUTUMN, "01:30", ["02:30+3", "04:30+2"]),
    ("0 */3 * * *", IN_AUTUMN, "01:30", ["03:00+3", "03:00+2", "06:00+2"]),
    ("0 1,2,3,4,5 * * *", IN_SPRING, "01:30", ["02:00+2", "04:00+3", "05:00+3"]),
    ("0 1,2,3,4,5 * * *", IN_AUTUMN, "01:30", ["02:00+3", "03:00+3", "04:00+2"]),
    ("30 1,2,3,4,5 * * *", IN_SPRING, "01:30", ["02:30+2", "04:00+3", "04:30+3"]),
    ("30 1,2,3,4,5 * * *", IN_AUTUMN, "01:30", ["02:30+3", "03:30+3", "04:30+2"]),
    ("0 3 * * *", IN_SPRING, "00:00", ["04:00+3"]),
    ("0 3 * * *", IN_AUTUMN, "01:30", ["03:00+3"]),
    ("0 4 * * *", IN_SPRING, "00:00", ["04:00+3"]),
    ("0 4 * * *", IN_AUTUMN, "00:00", ["04:00+2"]),
    (f"0 {ENUMERATED} * * *", IN_SPRING, "01:30", ["02:00+2", "04:00+3", "05:00+3"]),
    (f"0 {ENUMERATED} * * *", IN_AUTUMN, "01:30", ["02:00+3", "03:00+3", "04:00+2"]),
    (f"0 {ODD_HOURS} * * *", IN_SPRING, "00:30", ["01:00+2", "04:00+3", "05:00+3"]),
    (f"0 {ODD_HOURS} * * *", IN_AUTUMN, "00:30", ["01:00+3", "03:00+3", "05:00+2"]),
    ("0 1-5 * * *", IN_SPRING, "01:30", ["02:00+2", "04:00+3", "05:00+3"]),
    ("0 1-5 * * *", IN_AUTUMN, "01:30", ["02:00+3", "03:00+3", "04:00+2"]),
    ("15 3 * * *", IN_SPRING, "00:00", ["04:00+3"]),
    ("15 3 * * *", IN_AUTUMN, "00:00", ["03:15+3"]),
    ("* * * * *", IN_SPRING, "02:58", ["02:59+2", "04:00+3"]),
    ("* * * * *", IN_AUTUMN, "03:58", ["03:59+3", "03:00+2", "03:01+2"]),
    ("* 1-6 * * *", IN_SPRING, "02:58", ["02:59+2", "04:00+3"]),
    ("* 1-6 * * *", IN_AUTUMN, "03:58", ["03:59+3", "03:00+2", "03:01+2"]),
]


@pytest.mark.parametrize(("text", "day", "after", "expected"), RIGA)
def test_a_clock_change_is_met_as_debians_cron_meets_it(text: str, day: str, after: str, expected: list[str]) -> None:
    offset_before = 2 if day == IN_SPRING else 3
    rule = Rule(parse_cron(text), "Europe/Riga")

    found = list(next_instants(rule, instant(day, f"{after}+{offset_before}"), count=len(expected)))

    assert [one.at for one in found] == [instant(day, time) for time in expected]


def instant(day: str, time: str) -> datetime:
    """Return `03:00+2` of the day in UTC."""
    wall, _, hours = time.partition("+")
    return datetime.fromisoformat(f"{day}T{wall}").replace(tzinfo=UTC) - timedelta(hours=int(hours))


def test_a_job_at_half_past_one_runs_at_two_when_one_is_skipped_and_once_when_it_is_shown_twice() -> None:
    """The worked example of the Healthchecks blog, with the clock of London."""
    rule = Rule(parse_cron("30 1 * * *"), "Europe/London")

    in_spring = next(next_instants(rule, datetime(2021, 3, 27, 12, tzinfo=UTC)))
    in_autumn = list(
        next_instants(rule, datetime(2021, 10, 30, 12, tzinfo=UTC), until=datetime(2021, 10, 31, 12, tzinfo=UTC))
    )

    assert (in_spring.at, in_spring.wall) == (datetime(2021, 3, 28, 1, tzinfo=UTC), datetime(2021, 3, 28, 2))
    assert [one.at for one in in_autumn] == [datetime(2021, 10, 31, 0, 30, tzinfo=UTC)]
