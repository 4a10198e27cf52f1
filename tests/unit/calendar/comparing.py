"""The calendar's answers in the oracle's form."""

from collections.abc import Iterable

from jobs.calendar.instants import next_instants, previous_instants
from jobs.calendar.timing import Instant, Rule
from tests.unit.calendar.oracle import Film, Seen


def plain(found: Iterable[Instant]) -> list[Seen]:
    return [(instant.at, instant.wall, instant.mark) for instant in found]


def forwards(film: Film, rule: Rule) -> list[Seen]:
    return plain(next_instants(rule, film.start - film.tick / 2, until=film.end))


def backwards(film: Film, rule: Rule) -> list[Seen]:
    return plain(previous_instants(rule, film.end + film.tick / 2, since=film.start))[::-1]
