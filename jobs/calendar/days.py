"""Which days of a month a cron expression means."""

from dataclasses import dataclass
from typing import Final, Self

from jobs.calendar.fields import DAY_OF_MONTH, DAY_OF_WEEK, Field, number, numbers_of, terms

_EVERY_SEVENTH: Final = sum(1 << day for day in range(1, 36, 7))
_FRIDAY: Final = 5
_WEEK: Final = 7
_MOST_WEEKS: Final = 5


@dataclass(frozen=True, slots=True)
class Days:
    """The day of the month and the weekday together, as Debian's crontab(5) reads them.

    Both fields restricted: either may match. One of them begins with `*`: both have to.
    """

    numbered: int
    is_last: bool
    is_last_weekday: bool
    weekdays: int
    nth_weekdays: tuple[tuple[int, int], ...]
    """(weekday, n): Sunday is 0, the first is 1."""
    last_weekdays: tuple[int, ...]
    both_match: bool

    @classmethod
    def parse(cls, of_month: str, of_week: str) -> Self:
        """Return what the two fields say; raise InvalidTiming."""
        numbered, ends = _parse_of_month(of_month)
        weekdays, nth, last = _parse_of_week(of_week)
        return cls(
            numbered=numbered,
            is_last="L" in ends,
            is_last_weekday="LW" in ends,
            weekdays=weekdays,
            nth_weekdays=tuple(nth),
            last_weekdays=tuple(last),
            both_match=of_month.startswith("*") or of_week.startswith("*"),
        )

    def within(self, first_weekday: int, length: int) -> int:
        """Return the days, as bits, in a month of that length whose first day is that weekday (Sunday is 0)."""
        of_month = self._of_month(first_weekday, length)
        of_week = self._of_week(first_weekday, length)
        days = of_month & of_week if self.both_match else of_month | of_week
        return days & ((2 << length) - 2)

    def _of_month(self, first_weekday: int, length: int) -> int:
        days = self.numbered
        if self.is_last:
            days |= 1 << length
        if self.is_last_weekday:
            weekday = (first_weekday + length - 1) % _WEEK or _WEEK  # Monday is 1, Sunday 7
            days |= 1 << (length - max(0, weekday - _FRIDAY))
        return days

    def _of_week(self, first_weekday: int, length: int) -> int:
        days = 0
        for weekday in range(_WEEK):
            if self.weekdays >> weekday & 1:
                days |= _EVERY_SEVENTH << (weekday - first_weekday) % _WEEK
        for weekday, nth in self.nth_weekdays:
            days |= 1 << 1 + (weekday - first_weekday) % _WEEK + _WEEK * (nth - 1)
        for weekday in self.last_weekdays:
            days |= 1 << length - (first_weekday + length - 1 - weekday) % _WEEK
        return days


def _parse_of_month(text: str) -> tuple[int, set[str]]:
    numbered, ends = 0, set[str]()
    for term in terms(DAY_OF_MONTH, text):
        if term in {"L", "LW"}:
            ends.add(term)
        else:
            _refuse_nearest_weekday(term)
            numbered |= numbers_of(DAY_OF_MONTH, term)
    return numbered, ends


def _refuse_nearest_weekday(term: str) -> None:
    if term.endswith("W"):
        raise DAY_OF_MONTH.refuse(f"`{term}`, the nearest weekday, is not known; only `LW` is, the last of the month")
    if term.startswith("L-"):
        raise DAY_OF_MONTH.refuse(f"`{term}`, days before the last, is not known; write `L` or the days themselves")


def _parse_of_week(text: str) -> tuple[int, list[tuple[int, int]], list[int]]:
    weekdays, nth, last = 0, list[tuple[int, int]](), list[int]()
    for term in terms(DAY_OF_WEEK, text):
        if "#" in term:
            nth.append(_nth(DAY_OF_WEEK, term))
        elif term.endswith("L"):
            last.append(_last(DAY_OF_WEEK, term))
        else:
            weekdays |= numbers_of(DAY_OF_WEEK, term)
    return weekdays | weekdays >> _WEEK & 1, nth, last


def _nth(kind: Field, term: str) -> tuple[int, int]:
    weekday, _, count = term.partition("#")
    if not (count.isascii() and count.isdigit()) or not 1 <= int(count[:3]) <= _MOST_WEEKS:
        raise kind.refuse(f"`{term}` does not say which one; write `5#1` for the first Friday, up to `5#5`")
    return number(kind, weekday, term) % _WEEK, int(count)


def _last(kind: Field, term: str) -> int:
    if term == "L":
        raise kind.refuse(
            "`L` alone does not say which day; write `5L` for the last Friday of the month, `6` for Saturday"
        )
    return number(kind, term[:-1], term) % _WEEK
