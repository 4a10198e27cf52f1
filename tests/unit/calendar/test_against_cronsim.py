"""A second opinion: cronsim, which means to do what Debian's cron does, around the changes of four years."""

import random
from datetime import UTC, datetime, timedelta
from itertools import islice

from cronsim import CronSim

from jobs.calendar.cron import parse_cron
from jobs.calendar.instants import next_instants, previous_instants
from jobs.calendar.timing import Rule
from tests.unit.calendar.crons import around, random_cron
from tests.unit.calendar.oracle import changes, clock, clocks

NEAR = timedelta(hours=5)


def differs_by_rule(text: str) -> bool:
    minute, hour, *_ = text.split()
    return (minute[0] == "*" or hour[0] == "*") and hour != "*"


def test_the_calendar_agrees_with_cronsim_wherever_their_rules_are_the_same() -> None:
    compared = 0

    for number, zone in enumerate(clocks()):
        for change in changes(zone, datetime(2024, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)):
            texts = [text for text in around(zone, change) if not text.startswith("@") and not differs_by_rule(text)]
            for text in texts[number % 4 :: 4]:
                ours = [
                    one.at for one in next_instants(Rule(parse_cron(text), zone), change - NEAR, until=change + NEAR)
                ]
                assert ours == by_cronsim(text, zone, change - NEAR, change + NEAR), (zone, change, text)
                compared += 1

    assert compared > 3000


def test_the_calendar_agrees_with_cronsim_over_decades_without_clock_changes() -> None:
    for seed in range(400):
        source = random.Random(seed)
        text, start = random_cron(source), datetime(2015, 1, 1) + timedelta(minutes=source.randrange(12_000_000))
        rule, at = Rule(parse_cron(text)), start.replace(tzinfo=UTC)

        assert [one.wall for one in next_instants(rule, at, count=4)] == list(islice(CronSim(text, start), 4)), text
        assert [one.wall for one in previous_instants(rule, at, count=4)] == list(
            islice(CronSim(text, start, reverse=True), 4)
        ), text


def by_cronsim(text: str, zone: str, after: datetime, until: datetime) -> list[datetime]:
    found: list[datetime] = []
    for at in CronSim(text, after.astimezone(clock(zone))):
        if at.astimezone(UTC) > until:
            break
        found.append(at.astimezone(UTC))
    return found


def test_where_a_star_names_few_hours_a_gap_loses_the_run_for_cronsim_and_not_here() -> None:
    after, until = datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 3, 29, 12, tzinfo=UTC)

    ours = list(next_instants(Rule(parse_cron("*/30 2 * * *"), "Europe/Berlin"), after, until=until))

    assert by_cronsim("*/30 2 * * *", "Europe/Berlin", after, until) == []
    assert [(one.at.hour, one.mark) for one in ours] == [(1, "gap")]
