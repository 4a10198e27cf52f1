"""The fields of a cron expression, each as a set of numbers in the bits of an integer.

The dialect is that of Debian's crontab(5) with the additions that cronsim and croniter share: `L` and `LW` for
the day of the month, `5L` and `5#2` for the weekday, and a step after a single number.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from jobs.calendar.refusal import InvalidTiming

_MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_TERM: Final = re.compile(r"(?P<first>[^-/]+)(?:-(?P<last>[^-/]+))?(?:/(?P<step>[^-/]+))?")
_LONGEST_NUMBER: Final = 4


@dataclass(frozen=True, slots=True)
class Field:
    """What one field may hold."""

    name: str
    low: int
    high: int
    names: Mapping[str, int] = field(default_factory=dict)
    also: str = ""
    """What may stand there besides numbers, as people are told."""
    takes_any_step: bool = False
    """`*/100,1-7 * MON` is a known way to say the first Monday; `*/90` minutes is a mistake."""

    def refuse(self, message: str) -> InvalidTiming:
        """Return the error that names this field."""
        return InvalidTiming(f"cron.{self.name}", message)

    @property
    def allowed(self) -> str:
        """What may stand in the field, for a person."""
        return f"write {self.low} to {self.high}{self.also}, `*`, a range `a-b`, a step `*/n`, or a list of these"


SECOND: Final = Field("second", 0, 59)
MINUTE: Final = Field("minute", 0, 59)
HOUR: Final = Field("hour", 0, 23)
DAY_OF_MONTH: Final = Field(
    "day_of_month", 1, 31, also=", `L` for the last day, `LW` for the last Monday to Friday", takes_any_step=True
)
MONTH: Final = Field("month", 1, 12, {name: at for at, name in enumerate(_MONTHS, 1)}, " or JAN to DEC")
DAY_OF_WEEK: Final = Field(
    "day_of_week",
    0,
    7,
    {name: at for at, name in enumerate(_WEEKDAYS)},
    " (0 and 7 are Sunday) or SUN to SAT, `5#2` for the second Friday, `5L` for the last Friday",
    takes_any_step=True,
)


def bits(numbers: range) -> int:
    """Return the numbers as a set of bits."""
    return sum(1 << number for number in numbers)


def terms(kind: Field, text: str) -> list[str]:
    """Return the members of the list that a field is."""
    members = text.split(",")
    if not all(members):
        raise kind.refuse(f"`{text}` has a comma with nothing on one side; remove it")
    return members


def numbers_of(kind: Field, term: str) -> int:
    """Return the numbers of `*`, `a`, `a-b` and their steps as bits."""
    parts = _TERM.fullmatch(term)
    if parts is None:
        raise kind.refuse(f"`{term}` cannot be read; {kind.allowed}")
    first, last, step = parts["first"], parts["last"], parts["step"]
    if first == "*":
        if last is not None:
            raise kind.refuse(f"`{term}` is a range from `*`; write the first number instead of `*`")
        low, high = kind.low, kind.high
    else:
        low = number(kind, first, term)
        high = _end(kind, low, last, term) if last is not None else (low if step is None else kind.high)
    if low > high:
        raise kind.refuse(
            f"`{term}` runs backwards; write it as two ranges, one up to {kind.high}, one from {kind.low}"
        )
    return bits(range(low, high + 1, _step(kind, step, term) if step is not None else 1))


def _end(kind: Field, low: int, last: str, term: str) -> int:
    high = number(kind, last, term)
    # SUN is 0, but whoever writes FRI-SUN means the Sunday at the week's end.
    return high + kind.high if kind is DAY_OF_WEEK and last == "SUN" and high < low else high


def number(kind: Field, text: str, term: str) -> int:
    """Return the number or name that `text` is."""
    if text in kind.names:
        return kind.names[text]
    if not (text.isascii() and text.isdigit()) or len(text) > _LONGEST_NUMBER:
        raise kind.refuse(f"`{text}`{_within(text, term)} cannot be read; {_cure(text) or kind.allowed}")
    value = int(text)
    if not kind.low <= value <= kind.high:
        raise kind.refuse(f"`{text}`{_within(text, term)} lies outside {kind.low} to {kind.high}")
    return value


def _within(text: str, term: str) -> str:
    return "" if text == term else f" in `{term}`"


def _cure(text: str) -> str | None:
    if text == "?":
        return "write `*`"
    if text == "H":
        return "write a number, or `*` and a jitter"
    return None


def _step(kind: Field, text: str, term: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > _LONGEST_NUMBER or int(text) == 0:
        raise kind.refuse(f"the step of `{term}` is not a whole number from 1; write for example `*/2`")
    if int(text) > kind.high and not kind.takes_any_step:
        raise kind.refuse(
            f"the step of `{term}` reaches past {kind.high}, so that it would match once; "
            f"write one number, or use an interval for elapsed time"
        )
    return int(text)
