"""IANA time zones from the `tzdata` package alone, so that no answer depends on the host's own zone files."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache, lru_cache
from importlib import resources
from typing import Final
from zoneinfo import ZoneInfo

import tzdata

from jobs.calendar.refusal import InvalidTiming

ZONE_DATA_VERSION: Final[str] = tzdata.IANA_VERSION
"""The release of the IANA database that decides, such as `2026f`."""

#: "Factory" is IANA's name for a clock that nobody has set.
ZONES: Final = frozenset((resources.files("tzdata") / "zones").read_text(encoding="utf-8").split()) - {"Factory"}

_LOOK: Final = timedelta(days=3)
"""How far apart a zone is looked at. No zone has ever changed its clock twice within six days."""

_SECOND: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of UTC, `start` included and `end` not, in which a zone keeps one offset. Naive UTC and naive wall."""

    start: datetime
    end: datetime
    offset: timedelta
    offset_before: timedelta
    """Of the stretch before; the same as `offset` where the table begins."""
    offset_after: timedelta
    wall_start: datetime = field(init=False)
    wall_end: datetime = field(init=False)
    repeated_until: datetime = field(init=False)
    """Walls before this one were shown before `start` too."""
    repeats_from: datetime = field(init=False)
    """Walls from this one on are shown again after `end`."""

    def __post_init__(self) -> None:
        """Work out the walls once: they are asked for at every step."""
        object.__setattr__(self, "wall_start", self.start + self.offset)
        object.__setattr__(self, "wall_end", self.end + self.offset)
        object.__setattr__(self, "repeated_until", self.start + max(self.offset, self.offset_before))
        object.__setattr__(self, "repeats_from", self.end + min(self.offset, self.offset_after))

    @property
    def follows_gap(self) -> bool:
        """Whether the clock jumped forward at `start`."""
        return self.offset > self.offset_before

    def is_shown_twice(self, wall: datetime) -> bool:
        """Tell whether a wall of this stretch belongs to a repeated hour."""
        return wall < self.repeated_until or wall >= self.repeats_from


def parse_zone(name: str) -> str:
    """Return the name if it is one of the IANA database; raise InvalidTiming otherwise."""
    if name in ZONES:
        return name
    if not name.strip():
        raise InvalidTiming("zone", "is empty; write an IANA name such as Europe/Berlin, or UTC")
    by_lower = {zone.lower(): zone for zone in ZONES}
    near = difflib.get_close_matches(name.lower(), sorted(by_lower), n=1, cutoff=0.75)
    cure = f"did you mean {by_lower[near[0]]}?" if near else "write a name such as Europe/Berlin, or UTC"
    raise InvalidTiming("zone", f"`{name[:80]}` is not a name of the IANA time zone database; {cure}")


def stretch_at(zone: str, at: datetime) -> Stretch:
    """Return the stretch of the zone that holds the naive UTC instant `at`."""
    for stretch in _stretches(zone, at.year):
        if at < stretch.end:
            return stretch
    raise AssertionError("the stretches of a year reach into the next")


@lru_cache(maxsize=4096)
def _stretches(zone: str, year: int) -> Sequence[Stretch]:
    first, last = datetime(year - 1, 1, 1), datetime(year + 2, 1, 1)
    changes = [at for near in (year - 1, year, year + 1) for at in _changes(zone, near) if first < at < last]
    starts = [first, *changes]
    offsets = [_offset(zone_rules(zone), start) for start in starts]
    found = [
        Stretch(start, end, offset, before, after)
        for start, end, offset, before, after in zip(
            starts, [*changes, last], offsets, [offsets[0], *offsets], [*offsets[1:], offsets[-1]], strict=False
        )
    ]
    return [stretch for stretch in found if stretch.end.year >= year and stretch.start.year <= year]


@lru_cache(maxsize=4096)
def _changes(zone: str, year: int) -> Sequence[datetime]:
    """Return when the offset changed in that year."""
    rules = zone_rules(zone)
    end = datetime(year + 1, 1, 1)
    found, at = [], datetime(year, 1, 1)
    offset = _offset(rules, at)
    while at < end:
        following = min(at + _LOOK, end)
        if _offset(rules, following) != offset:
            found.append(_change_between(rules, at, following))
            offset = _offset(rules, following)
        at = following
    return found


def _change_between(rules: tzinfo, before: datetime, after: datetime) -> datetime:
    offset = _offset(rules, before)
    while after - before > _SECOND:
        middle = before + (after - before) // _SECOND // 2 * _SECOND
        before, after = (middle, after) if _offset(rules, middle) == offset else (before, middle)
    return after


def _offset(rules: tzinfo, at: datetime) -> timedelta:
    offset = at.replace(tzinfo=UTC).astimezone(rules).utcoffset()
    assert offset is not None  # noqa: S101  a ZoneInfo always knows
    return offset


@cache
def zone_rules(zone: str) -> ZoneInfo:
    """Return what the packaged data say of a zone; `ZoneInfo(name)` would ask the host first."""
    with resources.files("tzdata").joinpath("zoneinfo", *zone.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=zone)
