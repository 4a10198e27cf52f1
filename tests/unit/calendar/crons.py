"""Cron expressions that meet a clock change: fixed ones around its hour, and random ones."""

import random
from datetime import datetime, timedelta

from jobs.calendar.cron import parse_cron
from jobs.calendar.refusal import InvalidTiming
from tests.unit.calendar.oracle import MONTHS, WEEKDAYS, wall_at

TEMPLATES = (
    "{m} {h} * * *",
    "*/30 {h} * * *",
    "0,30 {h} * * *",
    "*/7 {h} * * *",
    "* {h} * * *",
    "{m} {h},{later} * * *",
    "0,{m} {h}-{later} * * *",
    "*/5 {earlier}-{later} * * *",
    "{m} * * * *",
    "0 * * * *",
    "*/20 * * * *",
    "* * * * *",
    "0 */2 * * *",
    "{m} */3 * * *",
    "0 0 * * *",
    "59 23 * * *",
    "{m} 0-23 * * *",
    "{m} {h} {d} {month} *",
    "{m} {h} {d} {number} *",
    "{m} {h} L * *",
    "{m} {h} LW * *",
    "{m} {h} * * {weekday}",
    "{m} {h} * * {weekday}#{nth}",
    "{m} {h} * * {w}L",
    "{m} {h} 13 * {weekday}",
    "{m} {h} */2 * *",
    "{m} {h} */2 * {weekday}",
    "@daily",
    "@hourly",
)
"""Placeholders are filled with a time that the change makes vanish or repeat, and its date."""


def around(zone: str, change: datetime) -> list[str]:
    """Return the templates filled for a change of the zone's offset."""
    wall = disturbed_wall(zone, change)
    facts = {
        "m": wall.minute,
        "h": wall.hour,
        "earlier": max(0, wall.hour - 1),
        "later": min(23, wall.hour + 1),
        "d": wall.day,
        "number": wall.month,
        "month": MONTHS[wall.month - 1],
        "weekday": WEEKDAYS[wall.isoweekday() % 7],
        "w": wall.isoweekday(),
        "nth": (wall.day + 6) // 7,
    }
    return [template.format(**facts) for template in TEMPLATES]


def disturbed_wall(zone: str, change: datetime) -> datetime:
    """Return a wall in the middle of what the change makes vanish or repeat."""
    minute = timedelta(minutes=1)
    undisturbed, shown = wall_at(zone, change - minute) + minute, wall_at(zone, change)
    return min(undisturbed, shown) + (abs(shown - undisturbed) // 2 // minute) * minute


def random_cron(source: random.Random) -> str:
    """Return an expression of five fields, each of any form that the dialect has, with a date that comes."""
    while True:
        text = _random_text(source)
        try:
            parse_cron(text)
        except InvalidTiming:
            continue
        return text


def _random_text(source: random.Random) -> str:
    fields = [
        _numbers(source, 0, 59),
        _numbers(source, 0, 23),
        source.choice(["*", "*", "*", "L", "LW", "*/2", _numbers(source, 1, 28)]),
        source.choice(["*", "*", "*", _numbers(source, 1, 12), source.choice(MONTHS)]),
        source.choice(["*", "*", "*", _numbers(source, 0, 7), _weekday(source), f"{source.randrange(8)}L"]),
    ]
    return " ".join(fields)


def _weekday(source: random.Random) -> str:
    name = source.choice([*WEEKDAYS, *map(str, range(8))])
    return source.choice([name, f"{name}#{source.randint(1, 4)}"])


def _numbers(source: random.Random, low: int, high: int) -> str:
    first, last = sorted(source.sample(range(low, high + 1), 2))
    step = source.randint(1, max(1, high // 2))
    return source.choice(
        [
            "*",
            str(first),
            f"{first},{last}",
            f"{first}-{last}",
            f"{first}-{last}/{step}",
            f"*/{step}",
            f"{first}/{step}",
            f"{first},{last}-{high}",
        ]
    )
