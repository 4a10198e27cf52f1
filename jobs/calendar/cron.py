"""Cron expressions: reading them, and the wall-clock times that they match."""

import calendar
from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, datetime
from typing import Final

from jobs.calendar.days import Days
from jobs.calendar.fields import (
    DAY_OF_MONTH,
    HOUR,
    MINUTE,
    MONTH,
    SECOND,
    Field,
    bits,
    numbers_of,
    terms,
)
from jobs.calendar.refusal import InvalidTiming

SEARCH_YEARS: Final = 50
"""How far apart two matches may be. The rarest date, a 29 February on one weekday, comes back within 40 years."""

LONGEST: Final = 256

_MACROS: Final = {
    "@HOURLY": "0 * * * *",
    "@DAILY": "0 0 * * *",
    "@MIDNIGHT": "0 0 * * *",
    "@WEEKLY": "0 0 * * 0",
    "@MONTHLY": "0 0 1 * *",
    "@YEARLY": "0 0 1 1 *",
    "@ANNUALLY": "0 0 1 1 *",
}
_EVERY_HOUR: Final = bits(range(24))
_FIVE, _SIX = 5, 6
_FEBRUARY: Final = 2


@dataclass(frozen=True, slots=True)
class Cron:
    """A set of wall-clock times, to the second. Fields are sets of numbers as bits."""

    text: str
    second: int
    minute: int
    hour: int
    month: int
    days: Days
    follows_real_time: bool
    """Its minute or hour begins with `*`: it runs in both passes of a repeated hour, as in Debian's cron(8)."""

    @property
    def runs_every_hour(self) -> bool:
        """Whether it follows real time through all 24 hours, so that a gap makes it miss nothing."""
        return self.follows_real_time and self.hour == _EVERY_HOUR

    def at_or_after(self, wall: datetime) -> datetime | None:
        """Return the first match from `wall` on (naive, whole seconds); None if there is none for SEARCH_YEARS."""
        if self._days(wall.year, wall.month) >> wall.day & 1:
            time = self._time_from(wall.hour, wall.minute, wall.second)
            if time is not None:
                return _on(wall, *time)
        year, month, day = wall.year, wall.month, wall.day + 1
        while year <= min(wall.year + SEARCH_YEARS, MAXYEAR):
            days = self._days(year, month) >> day << day
            if days:
                return _on(wall.replace(year=year, month=month, day=lowest(days)), *self._first_time)
            later = self.month >> (month + 1) << (month + 1)
            year, month, day = (year, lowest(later), 1) if later else (year + 1, lowest(self.month), 1)
        return None

    def at_or_before(self, wall: datetime) -> datetime | None:
        """Return the last match up to `wall` (naive, whole seconds); None if there is none for SEARCH_YEARS."""
        if self._days(wall.year, wall.month) >> wall.day & 1:
            time = self._time_until(wall.hour, wall.minute, wall.second)
            if time is not None:
                return _on(wall, *time)
        year, month, below = wall.year, wall.month, (1 << wall.day) - 1
        while year >= max(wall.year - SEARCH_YEARS, MINYEAR):
            days = self._days(year, month) & below
            if days:
                return _on(wall.replace(year=year, month=month, day=highest(days)), *self._last_time)
            earlier = self.month & ((1 << month) - 1)
            year, month, below = (year, highest(earlier), -1) if earlier else (year - 1, highest(self.month), -1)
        return None

    def _days(self, year: int, month: int) -> int:
        if not self.month >> month & 1:
            return 0
        first_weekday, length = calendar.monthrange(year, month)
        return self.days.within((first_weekday + 1) % 7, length)

    @property
    def _first_time(self) -> tuple[int, int, int]:
        return lowest(self.hour), lowest(self.minute), lowest(self.second)

    @property
    def _last_time(self) -> tuple[int, int, int]:
        return highest(self.hour), highest(self.minute), highest(self.second)

    def _time_from(self, hour: int, minute: int, second: int) -> tuple[int, int, int] | None:
        if self.hour >> hour & 1:
            seconds = self.second >> second << second
            if self.minute >> minute & 1 and seconds:
                return hour, minute, lowest(seconds)
            minutes = self.minute >> (minute + 1) << (minute + 1)
            if minutes:
                return hour, lowest(minutes), lowest(self.second)
        hours = self.hour >> (hour + 1) << (hour + 1)
        return (lowest(hours), lowest(self.minute), lowest(self.second)) if hours else None

    def _time_until(self, hour: int, minute: int, second: int) -> tuple[int, int, int] | None:
        if self.hour >> hour & 1:
            seconds = self.second & ((2 << second) - 1)
            if self.minute >> minute & 1 and seconds:
                return hour, minute, highest(seconds)
            minutes = self.minute & ((1 << minute) - 1)
            if minutes:
                return hour, highest(minutes), highest(self.second)
        hours = self.hour & ((1 << hour) - 1)
        return (highest(hours), highest(self.minute), highest(self.second)) if hours else None


def _on(day: datetime, hour: int, minute: int, second: int) -> datetime:
    return day.replace(hour=hour, minute=minute, second=second)


def lowest(numbers: int) -> int:
    """Return the smallest number of a set of bits that is not empty."""
    return (numbers & -numbers).bit_length() - 1


def highest(numbers: int) -> int:
    """Return the largest number of a set of bits that is not empty."""
    return numbers.bit_length() - 1


def parse_cron(text: str) -> Cron:
    """Return what a cron expression says; raise InvalidTiming that names the field and the cure.

    Five fields: minute, hour, day of month, month, day of week. Six: the second stands first, as in Quartz,
    Spring and cronsim. Names and macros may be written in either case.
    """
    fields = _split(text)
    try:
        return _parse(text, fields)
    except InvalidTiming as refused:
        if len(text.split()) == _SIX and _is_valid(text, [fields[-1], *fields[:-1]]):
            raise InvalidTiming(refused.field, f"{refused.message}; of six fields, the second is the first") from None
        raise


def _parse(text: str, fields: list[str]) -> Cron:
    second, minute, hour, day_of_month, month, day_of_week = fields
    cron = Cron(
        text=" ".join(text.split()),
        second=_numbers(SECOND, second),
        minute=_numbers(MINUTE, minute),
        hour=_numbers(HOUR, hour),
        month=_numbers(MONTH, month),
        days=Days.parse(day_of_month, day_of_week),
        follows_real_time=minute.startswith("*") or hour.startswith("*"),
    )
    if not any(_may_have_days(cron, number) for number in range(1, 13)):
        raise DAY_OF_MONTH.refuse(
            f"`{day_of_month}` with month `{month}` and weekday `{day_of_week}` is a date that never comes; "
            "write a day that one of these months has"
        )
    return cron


def _is_valid(text: str, fields: list[str]) -> bool:
    try:
        _parse(text, fields)
    except InvalidTiming:
        return False
    return True


def _split(text: str) -> list[str]:
    if len(text) > LONGEST:
        raise InvalidTiming("cron", f"is longer than {LONGEST} characters; split it into several schedules")
    fields = (text.upper() if text.isascii() else text).split()  # capitals of other scripts may be ASCII letters
    if len(fields) == 1 and fields[0].startswith("@"):
        if fields[0] not in _MACROS:
            known = ", ".join(sorted(_MACROS)).lower()
            raise InvalidTiming("cron", f"`{text.strip()}` is not known; write one of {known}, or five fields")
        fields = _MACROS[fields[0]].split()
    if len(fields) == _FIVE:
        return ["0", *fields]
    if len(fields) == _SIX:
        return fields
    raise InvalidTiming(
        "cron",
        f"has {len(fields)} fields; write five (minute hour day-of-month month day-of-week), "
        "or six with the second first",
    )


def _numbers(kind: Field, text: str) -> int:
    numbers = 0
    for term in terms(kind, text):
        numbers |= numbers_of(kind, term)
    return numbers


def _may_have_days(cron: Cron, month: int) -> bool:
    # Over the years, every month begins on every weekday, February in leap years too.
    _, longest = calendar.monthrange(2000, month)
    lengths = (28, 29) if month == _FEBRUARY else (longest,)
    return bool(cron.month >> month & 1) and any(
        cron.days.within(first_weekday, length) for length in lengths for first_weekday in range(7)
    )
