"""Every gap and fold of every IANA zone from 2015 to 2037, against a walk minute by minute.

Here a few expressions meet each change; `python -m tests.unit.calendar.sweep` tries all of them.
"""

import random
from datetime import UTC, datetime, timedelta

import pytest

from jobs.calendar.cron import parse_cron
from jobs.calendar.timing import Rule
from tests.unit.calendar.comparing import backwards, forwards
from tests.unit.calendar.crons import TEMPLATES, around, random_cron
from tests.unit.calendar.oracle import Film, PlainCron, changes, clocks, instants

FIRST, LAST = datetime(2015, 1, 1, tzinfo=UTC), datetime(2038, 1, 1, tzinfo=UTC)
NEAR = timedelta(hours=4)
PARTS = 16


@pytest.mark.parametrize("part", range(PARTS))
def test_the_instants_around_every_gap_and_fold_are_those_of_the_walk(part: int) -> None:
    compared = 0

    for number, zone in enumerate(clocks()[part::PARTS]):
        for turn, change in enumerate(changes(zone, FIRST, LAST), number):
            film = Film(zone, change - NEAR, change + NEAR)
            texts = around(zone, change)
            source = random.Random(f"{zone} {change}")  # text is hashed alike in every process
            for text in (texts[turn % len(TEMPLATES)], texts[turn * 7 % len(TEMPLATES)], random_cron(source)):
                agrees(
                    film, text, on_gap=source.choice(["run", "run", "skip"]), on_fold=source.choice(["once", "both"])
                )
                compared += 1

    assert compared > 100


def agrees(film: Film, text: str, *, on_gap: str, on_fold: str) -> None:
    rule = Rule(parse_cron(text), film.zone, on_gap=on_gap, on_fold=on_fold)
    expected = instants(film, PlainCron(text), on_gap=on_gap, on_fold=on_fold)
    assert forwards(film, rule) == expected, (film.zone, text, on_gap, on_fold)
    assert backwards(film, rule) == expected, (film.zone, text, on_gap, on_fold)
