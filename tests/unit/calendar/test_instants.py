"""Instants of rules on ordinary days and across clock changes, as a person would work them out."""

from datetime import UTC, datetime

from jobs.calendar.cron import parse_cron
from jobs.calendar.instants import next_instant, next_instants, previous_instant
from jobs.calendar.timing import Instant, Rule


def test_a_time_that_the_clock_jumps_over_runs_once_at_the_first_time_after() -> None:
    rule = Rule(parse_cron("30 2 * * *"), "Europe/Berlin")

    found = list(next_instants(rule, datetime(2026, 3, 28, 12, tzinfo=UTC), count=2))

    assert found == [
        Instant(datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 3, 29, 3), "gap"),
        Instant(datetime(2026, 3, 30, 0, 30, tzinfo=UTC), datetime(2026, 3, 30, 2, 30)),
    ]


def test_a_time_that_is_shown_twice_runs_at_the_first() -> None:
    rule = Rule(parse_cron("30 2 * * *"), "Europe/Berlin")

    found = list(next_instants(rule, datetime(2026, 10, 24, 12, tzinfo=UTC), count=2))

    assert found == [
        Instant(datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 2, 30), "fold"),
        Instant(datetime(2026, 10, 26, 1, 30, tzinfo=UTC), datetime(2026, 10, 26, 2, 30)),
    ]


def test_the_previous_instant_is_found_without_a_walk_from_the_start() -> None:
    rule = Rule(parse_cron("0 0 29 2 *"), "Europe/Berlin")

    last = previous_instant(rule, datetime(2104, 2, 28, tzinfo=UTC))

    assert last == Instant(datetime(2096, 2, 28, 23, tzinfo=UTC), datetime(2096, 2, 29))
    assert next_instant(rule, last.at) == Instant(datetime(2104, 2, 28, 23, tzinfo=UTC), datetime(2104, 2, 29))
