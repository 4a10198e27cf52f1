"""The clock rules a second time, as slow and plain as can be; nothing here comes from the calendar under test.

A film holds what a zone's clock shows at every tick of UTC. The rules of docs/explanation/clock-rules.md are then
read off tick by tick.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
WEEKDAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
MACROS = {"@daily": "0 0 * * *", "@hourly": "0 * * * *", "@weekly": "0 0 * * 0", "@monthly": "0 0 1 * *"}

Seen = tuple[datetime, datetime, str | None]
"""An instant: UTC, wall, mark."""


@cache
def clocks() -> list[str]:
    """Return one name of each set of zone data; many zones are other names of the same."""
    folder = resources.files("tzdata")
    by_content: dict[bytes, str] = {}
    for zone in sorted((folder / "zones").read_text().split()):
        by_content.setdefault((folder / "zoneinfo" / zone).read_bytes(), zone)
    return [zone for zone in by_content.values() if zone != "Factory"]


@cache
def clock(zone: str) -> ZoneInfo:
    with (resources.files("tzdata") / "zoneinfo" / zone).open("rb") as file:
        return ZoneInfo.from_file(file, key=zone)


def wall_at(zone: str, at: datetime) -> datetime:
    return at.astimezone(clock(zone)).replace(tzinfo=None, fold=0)


class Film:
    """What the zone's clock shows from `start` to `end`, a margin around them included."""

    def __init__(
        self,
        zone: str,
        start: datetime,
        end: datetime,
        *,
        tick: timedelta = MINUTE,
        margin: timedelta = timedelta(hours=4),
    ) -> None:
        self.zone, self.start, self.end, self.tick = zone, start, end, tick
        self.frames: list[tuple[datetime, datetime]] = []
        at = start - margin
        while at < end + margin:
            self.frames.append((at, wall_at(zone, at)))
            at += tick
        self._ticks: list[tuple[datetime, datetime, bool, list[datetime]]] = []
        self.times_shown = Counter(wall for _, wall in self.frames)
        offsets = [wall - at.replace(tzinfo=None) for at, wall in self.frames[:: timedelta(hours=1) // tick]]
        assert max(offsets) - min(offsets) < margin, "a clock was moved further than the film looks around"

    def __iter__(self) -> Iterator[tuple[datetime, datetime, bool, list[datetime]]]:
        """Give each tick from start to end: UTC, wall, whether it was shown before, and the walls just jumped over."""
        if not self._ticks:
            self._ticks = list(self._walk())
        return iter(self._ticks)

    def _walk(self) -> Iterator[tuple[datetime, datetime, bool, list[datetime]]]:
        shown: set[datetime] = set()
        before: datetime | None = None
        for at, wall in self.frames:
            if self.start <= at <= self.end:
                yield at, wall, wall in shown, self._jumped_over(before, wall)
            shown.add(wall)
            before = wall

    def _jumped_over(self, before: datetime | None, wall: datetime) -> list[datetime]:
        missing = []
        if before is not None:
            expected = before + self.tick
            while expected < wall:
                if self.times_shown[expected] == 0:
                    missing.append(expected)
                expected += self.tick
        return missing


@dataclass
class PlainCron:
    """A cron expression as sets of numbers, and a day's test that reads like the manual page."""

    text: str

    def __post_init__(self) -> None:
        fields = MACROS.get(self.text, self.text).upper().split()
        if len(fields) == 5:
            fields.insert(0, "0")
        second, minute, hour, self.of_month, month, self.of_week = fields
        self.seconds = plain_set(second, 0, 59)
        self.minutes = plain_set(minute, 0, 59)
        self.hours = plain_set(hour, 0, 23)
        self.months = plain_set(month, 1, 12, ["", *MONTHS])
        self.follows_real_time = minute[0] == "*" or hour[0] == "*"
        self.day_matches = cache(self._day_matches)

    def matches(self, wall: datetime) -> bool:
        return (
            wall.minute in self.minutes
            and wall.hour in self.hours
            and wall.second in self.seconds
            and self.day_matches(wall.date())
        )

    def _day_matches(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        of_month = any(of_month_matches(term, day) for term in self.of_month.split(","))
        of_week = any(of_week_matches(term, day) for term in self.of_week.split(","))
        if self.of_month[0] == "*" or self.of_week[0] == "*":
            return of_month and of_week
        return of_month or of_week


def plain_set(text: str, low: int, high: int, names: list[str] | None = None) -> set[int]:
    found: set[int] = set()
    for term in text.split(","):
        bounds, _, step = term.partition("/")
        first, _, last = bounds.partition("-")
        if first == "*":
            begin, end = low, high
        else:
            begin = plain_number(first, names)
            end = plain_number(last, names) if last else (high if step else begin)
        found.update(number for number in range(begin, end + 1) if (number - begin) % int(step or 1) == 0)
    return found


def plain_number(text: str, names: list[str] | None) -> int:
    return names.index(text) if names and text in names else int(text)


def of_month_matches(term: str, day: date) -> bool:
    rest = [day + timedelta(days=more) for more in range(1, 31)]
    later = [one for one in rest if (one.year, one.month) == (day.year, day.month)]
    if term == "L":
        return not later
    if term == "LW":
        return day.isoweekday() <= 5 and all(one.isoweekday() > 5 for one in later)
    return day.day in plain_set(term, 1, 31)


def of_week_matches(term: str, day: date) -> bool:
    weekday = day.isoweekday() % 7
    if "#" in term:
        name, nth = term.split("#")
        return plain_number(name, WEEKDAYS) % 7 == weekday and (day.day + 6) // 7 == int(nth)
    if term.endswith("L"):
        is_last = (day + timedelta(days=7)).month != day.month
        return plain_number(term[:-1], WEEKDAYS) % 7 == weekday and is_last
    return weekday in {number % 7 for number in plain_set(term, 0, 7, WEEKDAYS)}


def instants(film: Film, cron: PlainCron, *, on_gap: str = "run", on_fold: str = "once") -> list[Seen]:
    """Return what the rules say of each tick of the film."""
    makes_up = on_gap == "run" and not (cron.follows_real_time and cron.hours == set(range(24)))
    found: list[Seen] = []
    for at, wall, shown_before, jumped_over in film:
        counts = not shown_before or on_fold == "both" or cron.follows_real_time
        if counts and cron.matches(wall):
            found.append((at, wall, "fold" if film.times_shown[wall] > 1 else None))
        elif makes_up and any(cron.matches(lost) for lost in jumped_over):
            found.append((at, wall, "gap"))
    return found


def changes(zone: str, first: datetime, last: datetime) -> list[datetime]:
    """Return the minute of UTC at which each change of the zone's offset took effect: found by day, hour and minute."""
    return [
        minute
        for day in _steps_with_change(zone, first, last, timedelta(days=1))
        for hour in _steps_with_change(zone, day, day + timedelta(days=1), timedelta(hours=1))
        for minute in [one + MINUTE for one in _steps_with_change(zone, hour, hour + timedelta(hours=1), MINUTE)]
    ]


def _steps_with_change(zone: str, first: datetime, last: datetime, step: timedelta) -> list[datetime]:
    rules, found, at = clock(zone), [], first
    offset = at.astimezone(rules).utcoffset()
    while at < last:
        later = (at + step).astimezone(rules).utcoffset()
        if later != offset:
            found.append(at)
        at, offset = at + step, later
    return found
