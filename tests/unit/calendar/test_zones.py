"""Zone data come from the locked package, whatever the host has, and are read completely."""

import struct
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import resources
from itertools import pairwise
from pathlib import Path

import pytest
import tzdata

from jobs.calendar.zones import ZONE_DATA_VERSION, ZONES, stretch_at, zone_rules
from tests.unit.calendar.oracle import clocks


def test_the_hosts_zone_files_decide_nothing(tmp_path: Path) -> None:
    false = tmp_path / "Europe" / "Berlin"
    false.parent.mkdir()
    false.write_bytes((resources.files("tzdata") / "zoneinfo" / "Asia" / "Tokyo").read_bytes())
    zoneinfo.reset_tzpath([str(tmp_path)])
    try:
        zone_rules.cache_clear()
        told_by_host = zoneinfo.ZoneInfo.no_cache("Europe/Berlin").utcoffset(datetime(2026, 1, 1))
        ours = zone_rules("Europe/Berlin").utcoffset(datetime(2026, 1, 1))
    finally:
        zoneinfo.reset_tzpath()

    assert told_by_host == timedelta(hours=9)
    assert ours == timedelta(hours=1)


def test_the_release_of_the_zone_data_is_known() -> None:
    assert ZONE_DATA_VERSION == tzdata.IANA_VERSION


@pytest.mark.parametrize(
    "zone", ["UTC", "Etc/GMT-14", "Europe/Berlin", "America/Argentina/San_Luis", "EST5EDT", "Zulu"]
)
def test_a_name_of_any_depth_is_known(zone: str) -> None:
    assert zone in ZONES
    assert stretch_at(zone, datetime(2026, 1, 1)).start < datetime(2026, 1, 1)


def transitions(zone: str) -> Iterator[tuple[datetime, timedelta, timedelta]]:
    """Yield the changes of offset that the zone's file lists: instant, offset before and after (RFC 9636)."""
    data = (resources.files("tzdata") / "zoneinfo" / zone).read_bytes()
    utc_marks, standard_marks, leaps, times, types, letters = struct.unpack_from(">6l", data, 20)
    second = 44 + times * 5 + types * 6 + letters + leaps * 8 + standard_marks + utc_marks
    *_, times, types, _letters = struct.unpack_from(">6l", data, second + 20)
    at = struct.unpack_from(f">{times}q", data, second + 44)
    kinds = data[second + 44 + 8 * times :][:times]
    offsets = [struct.unpack_from(">l", data, second + 44 + 9 * times + 6 * kind)[0] for kind in range(types)]
    before = offsets[0]
    for instant, kind in zip(at, kinds, strict=True):
        if offsets[kind] != before:
            yield (
                datetime(1970, 1, 1) + timedelta(seconds=instant),
                timedelta(seconds=before),
                timedelta(seconds=offsets[kind]),
            )
        before = offsets[kind]


def test_no_zone_changed_its_clock_twice_within_six_days_or_by_two_days() -> None:
    """The calendar looks at every third day, and expects no more than that."""
    for zone in clocks():
        changes = list(transitions(zone))
        assert all(abs(after - before) < timedelta(days=2) for _, before, after in changes), zone
        assert all(later[0] - earlier[0] > timedelta(days=6) for earlier, later in pairwise(changes)), zone


def test_no_change_of_any_zones_file_is_overlooked() -> None:
    seen = 0

    for zone in clocks():
        for at, before, after in transitions(zone):
            if datetime(1900, 1, 1) < at < datetime(2040, 1, 1):
                stretch = stretch_at(zone, at)
                assert (stretch.start, stretch.offset_before, stretch.offset) == (at, before, after), zone
                seen += 1

    assert seen > 10_000


def test_changes_that_follow_a_rule_for_ever_are_found_beyond_the_file() -> None:
    spring = stretch_at("Europe/Berlin", datetime(2999, 7, 1))

    assert spring.start == datetime(2999, 3, 31, 1)
    assert spring.end == datetime(2999, 10, 27, 1)
    assert spring.offset == timedelta(hours=2)


def test_a_zone_without_changes_has_one_offset() -> None:
    for year in (1950, 2026, 2500):
        stretch = stretch_at("UTC", datetime(year, 12, 31, 23, 59))
        assert (stretch.offset_before, stretch.offset, stretch.offset_after) == (timedelta(0),) * 3
        assert stretch.end > datetime(year + 1, 1, 1)


def test_the_clock_of_a_stretch_is_the_clock_of_the_zone() -> None:
    for zone in sorted(ZONES)[::20]:
        for hour in range(0, 24 * 366, 7):
            at = datetime(2026, 1, 1) + timedelta(hours=hour)
            wall = at.replace(tzinfo=UTC).astimezone(zone_rules(zone)).replace(tzinfo=None)
            assert at + stretch_at(zone, at).offset == wall
