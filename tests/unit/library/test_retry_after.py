"""How Retry-After is read."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.library.retry_after import MAX_WAIT, MIN_WAIT, parse_http_date, parse_retry_after

NOW = datetime(1994, 11, 6, 8, 49, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        ("  7 ", 7),
        ("007", 7),
        ("0", 1),
        ("3600", 3600),
        ("3601", 3600),
        ("9" * 5000, 3600),
        ("0" * 5000 + "5", 5),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 37),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 37),
        ("Sun Nov  6 08:49:37 1994", 37),
        ("Sun, 06 Nov 1994 08:49:60 GMT", 59),
        ("Sun, 06 Nov 1994 08:48:37 GMT", 1),
        ("Sun, 06 Nov 1995 08:48:37 GMT", 3600),
    ],
)
def test_a_well_formed_value_is_a_wait_within_bounds(value: str, seconds: int) -> None:
    assert parse_retry_after(value, NOW) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "value",
    ["", "soon", "-1", "+1", "1.5", "1e3", "²", "١٢", "1 2", "Sun, 06 Nov 1994 08:49:37",
     "Sun, 31 Feb 1994 08:49:37 GMT",
     "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 06 Nov 1994 25:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 +0100",
     "Sun, 06 Nov 0000 08:49:37 GMT", "1994-11-06T08:49:37Z", "120\n"],
)  # fmt: skip
def test_anything_else_is_no_wait(value: str) -> None:
    assert parse_retry_after(value, NOW) is None


@pytest.mark.parametrize(
    ("now_year", "two_digits", "year"), [(1994, "94", 1994), (2026, "76", 2076), (2026, "77", 1977), (1999, "49", 1949)]
)
def test_a_year_of_two_digits_is_at_most_fifty_years_ahead(now_year: int, two_digits: str, year: int) -> None:
    found = parse_http_date(f"Sunday, 06-Nov-{two_digits} 08:49:37 GMT", NOW.replace(year=now_year))

    assert found is not None
    assert found.year == year


@given(st.text(max_size=40) | st.text(alphabet="0123456789SunNov:, GMT-", max_size=40))
def test_any_text_is_a_wait_within_bounds_or_none(value: str) -> None:
    wait = parse_retry_after(value, NOW)

    assert wait is None or MIN_WAIT <= wait <= MAX_WAIT


@given(st.integers(min_value=0))
def test_any_number_of_seconds_is_read(seconds: int) -> None:
    assert parse_retry_after(str(min(seconds, 10**18)), NOW) == timedelta(seconds=max(1, min(seconds, 3600)))


@given(st.datetimes(min_value=datetime(1950, 1, 1), max_value=datetime(9999, 1, 1)))  # noqa: DTZ001 - given a zone below
def test_every_http_date_is_read_back(naive: datetime) -> None:
    instant = naive.replace(microsecond=0, tzinfo=UTC)

    assert parse_http_date(format_datetime(instant, usegmt=True), NOW) == instant
