"""What holds for every rule, from every instant, in every zone."""

import itertools
from datetime import UTC, datetime, timedelta
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.calendar.cron import parse_cron
from jobs.calendar.instants import next_instant, next_instants, previous_instant, previous_instants
from jobs.calendar.refusal import InvalidTiming
from jobs.calendar.timing import Once, Rule
from tests.unit.calendar.comparing import backwards, forwards
from tests.unit.calendar.crons import around, random_cron
from tests.unit.calendar.oracle import Film, PlainCron, changes, clock, clocks, instants

SECOND = timedelta(seconds=1)
ZONE = st.sampled_from(clocks())
AT = st.datetimes(datetime(2015, 1, 1), datetime(2037, 12, 31), timezones=st.just(UTC))
CRON = st.integers(0, 10**9).map(lambda seed: random_cron(Random(seed)))
WAY = {"on_gap": st.sampled_from(["run", "skip"]), "on_fold": st.sampled_from(["once", "both"])}
SECONDS = st.sampled_from(["*", "*/10", "0,30", "59", "7-50/9"])
PATIENT = settings(deadline=None)


@st.composite
def near_a_change(draw: st.DrawFn, *, before: int = 20_000, after: int = 20_000) -> tuple[str, datetime]:
    """A zone and an instant; if the zone's clock changes in that year, within some seconds of a change."""
    zone, at = draw(ZONE), draw(AT)
    year = datetime(at.year, 1, 1, tzinfo=UTC)
    found = changes(zone, year, year.replace(year=at.year + 1))
    if not found:
        return zone, at
    return zone, draw(st.sampled_from(found)) + timedelta(seconds=draw(st.integers(-before, after)))


@st.composite
def rules(draw: st.DrawFn, zone: str, at: datetime) -> Rule:
    """A cron that often meets the change, or a date on the wall that does."""
    way = {name: draw(strategy) for name, strategy in WAY.items()}
    wall = datetime.combine(at.date(), at.time().replace(microsecond=0))
    timing = draw(
        st.one_of(
            CRON.map(parse_cron),
            st.sampled_from(around(zone, at)).map(parse_cron),
            st.integers(-40, 40).map(lambda halves: Once(wall + timedelta(minutes=30 * halves))),
        )
    )
    return Rule(timing, zone, **way)


@PATIENT
@given(data=st.data(), place=near_a_change())
def test_the_previous_of_the_next_is_where_one_was_and_the_other_way_round(
    data: st.DataObject, place: tuple[str, datetime]
) -> None:
    zone, at = place
    rule = data.draw(rules(zone, at))

    first, second = [*next_instants(rule, at, count=2), None, None][:2]
    last = previous_instant(rule, at)

    if first and second:
        assert previous_instant(rule, second.at) == first
        assert next_instant(rule, first.at) == second
    if last:
        assert last.at < at
        assert next_instant(rule, last.at - SECOND / 2) == last


@PATIENT
@given(data=st.data(), place=near_a_change())
def test_a_walk_from_any_instant_gives_the_same_set(data: st.DataObject, place: tuple[str, datetime]) -> None:
    zone, at = place
    rule = data.draw(rules(zone, at))
    end = at + timedelta(hours=30)
    halt = at + timedelta(seconds=data.draw(st.integers(0, 30 * 3600)))

    whole = list(next_instants(rule, at, until=end))

    assert whole == list(next_instants(rule, at, until=halt)) + list(next_instants(rule, halt, until=end))
    assert whole == [one for one in next_instants(rule, halt - timedelta(days=9), until=end) if one.at > at]
    assert whole[::-1] == list(previous_instants(rule, end + SECOND / 2, since=at + SECOND / 2))


@PATIENT
@given(data=st.data(), place=near_a_change())
def test_instants_come_in_order_and_none_twice(data: st.DataObject, place: tuple[str, datetime]) -> None:
    zone, at = place
    rule = data.draw(rules(zone, at))

    found = list(next_instants(rule, at, count=50))

    assert all(earlier.at < later.at for earlier, later in itertools.pairwise(found))
    assert all(at < one.at and one.at.microsecond == 0 for one in found)
    assert all(one.wall == one.at.astimezone(clock(zone)).replace(tzinfo=None, fold=0) for one in found)


@PATIENT
@given(zone=ZONE, at=AT, text=CRON, **WAY)
def test_any_day_of_any_zone_is_as_the_walk_says(zone: str, at: datetime, text: str, on_gap: str, on_fold: str) -> None:
    start = at.replace(second=0, microsecond=0)
    film = Film(zone, start, start + timedelta(hours=18))
    rule = Rule(parse_cron(text), zone, on_gap=on_gap, on_fold=on_fold)

    expected = instants(film, PlainCron(text), on_gap=on_gap, on_fold=on_fold)

    assert forwards(film, rule) == expected
    assert backwards(film, rule) == expected


@settings(deadline=None, max_examples=40)
@given(place=near_a_change(before=1200, after=0), second=SECONDS, data=st.data())
def test_seconds_are_as_a_walk_second_by_second_says(
    place: tuple[str, datetime], second: str, data: st.DataObject
) -> None:
    zone, at = place
    start = at.replace(microsecond=0)
    text = f"{second} {data.draw(st.one_of(CRON, st.sampled_from(around(zone, at)[:12])))}"
    film = Film(zone, start, start + timedelta(minutes=20), tick=SECOND, margin=timedelta(hours=3, minutes=1))
    rule = Rule(parse_cron(text), zone)

    assert forwards(film, rule) == instants(film, PlainCron(text))
    assert backwards(film, rule) == instants(film, PlainCron(text))


@settings(deadline=None, max_examples=60)
@given(
    of_month=st.sampled_from(["*/14", "*/20", "*/28", "*/31", "*/29,31", "31", "30,31", "29", "L", "LW"]),
    month=st.sampled_from(["*", "2", "4", "2,4", "FEB-MAR", "11"]),
    of_week=st.sampled_from(["*", "*/7", "MON", "MON#1", "TUE#2", "3#5", "5L", "0L", "SUN#5"]),
)
def test_a_date_is_refused_if_and_only_if_it_never_comes(of_month: str, month: str, of_week: str) -> None:
    text = f"0 0 {of_month} {month} {of_week}"
    days = (datetime(2000, 1, 1) + timedelta(days=number) for number in range(28 * 366))
    plain = PlainCron(text)
    comes = next((day for day in days if plain.matches(day)), None)

    try:
        found = next_instant(Rule(parse_cron(text)), datetime(1999, 12, 31, 12, tzinfo=UTC))
    except InvalidTiming:
        found = None

    assert (found and found.wall) == comes
