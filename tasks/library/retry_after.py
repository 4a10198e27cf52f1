"""Reads the Retry-After field."""

import re
from datetime import UTC, datetime, timedelta

#: A server may ask for no less: a wait of nothing that burns no attempt would be a busy loop.
MIN_WAIT = timedelta(seconds=1)

#: A server may ask for no more.
MAX_WAIT = timedelta(hours=1)

_SECONDS = re.compile(r"[0-9]+", re.ASCII)
_TIME = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
#: The three forms of RFC 9110 section 5.6.7. Names of days are not compared with the date: nothing depends on them.
_DATES = tuple(
    re.compile(pattern, re.ASCII)
    for pattern in (
        rf"[A-Z][a-z]{{2}}, (?P<day>[0-9]{{2}}) (?P<month>[A-Z][a-z]{{2}}) (?P<year>[0-9]{{4}}) {_TIME} GMT",
        rf"[A-Z][a-z]{{5,8}}, (?P<day>[0-9]{{2}})-(?P<month>[A-Z][a-z]{{2}})-(?P<year>[0-9]{{2}}) {_TIME} GMT",
        rf"[A-Z][a-z]{{2}} (?P<month>[A-Z][a-z]{{2}}) (?P<day>[0-9 ][0-9]) {_TIME} (?P<year>[0-9]{{4}})",
    )
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
#: Two-digit years further ahead than this many years mean the century before (RFC 9110 section 5.6.7).
_FAR_FUTURE_YEARS = 50
#: Longer numbers are over the cap, whatever they say; `int` refuses very long ones.
_LONGEST_NUMBER = 9


def parse_retry_after(value: str, now: datetime) -> timedelta | None:
    """Return how long to wait from `now`, from `MIN_WAIT` to `MAX_WAIT`; None when `value` is not well formed.

    `value` is a number of seconds or an HTTP date (RFC 9110 section 10.2.3). A date that is past means `MIN_WAIT`.
    """
    text = value.strip(" \t")
    if _SECONDS.fullmatch(text):
        digits = text.lstrip("0") or "0"
        if len(digits) > _LONGEST_NUMBER:
            return MAX_WAIT
        wait = timedelta(seconds=int(digits))
    else:
        then = parse_http_date(text, now)
        if then is None:
            return None
        wait = then - now
    return max(MIN_WAIT, min(wait, MAX_WAIT))


def parse_http_date(value: str, now: datetime) -> datetime | None:
    """Return the instant that `value` names, or None; `now` settles the century of two-digit years."""
    for pattern in _DATES:
        if parts := pattern.fullmatch(value):
            break
    else:
        return None
    year = int(parts["year"])
    if len(parts["year"]) == len("94"):
        year += now.year // 100 * 100
        if year > now.year + _FAR_FUTURE_YEARS:
            year -= 100
    try:
        return datetime(
            year,
            _MONTHS.index(parts["month"]) + 1,
            int(parts["day"]),
            int(parts["hour"]),
            int(parts["minute"]),
            min(int(parts["second"]), 59),  # a leap second is as good as the second before it
            tzinfo=UTC,
        )
    except ValueError:
        return None
