"""What cannot be kept is refused where it is written, with the field's name and a cure."""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest

from jobs.calendar.cron import LONGEST, parse_cron
from jobs.calendar.refusal import InvalidTiming
from jobs.calendar.timing import Every, Once, Rule
from jobs.calendar.zones import parse_zone

BAD_CRONS = [
    ("", "cron"),
    ("   ", "cron"),
    ("*", "cron"),
    ("* * * *", "cron"),
    ("* * * * * * *", "cron"),
    ("0 0 1 1 * 0 2027", "cron"),
    ("@reboot", "cron"),
    ("@every 5m", "cron"),
    ("@dayly", "cron"),
    ("@", "cron"),
    ("every day", "cron"),
    ("* " * LONGEST, "cron"),
    ("60 * * * *", "cron.minute"),
    ("-1 * * * *", "cron.minute"),
    ("1- * * * *", "cron.minute"),
    ("-5-10 * * * *", "cron.minute"),
    ("5-1 * * * *", "cron.minute"),
    ("1-2-3 * * * *", "cron.minute"),
    ("*/0 * * * *", "cron.minute"),
    ("*/-5 * * * *", "cron.minute"),
    ("*/ * * * *", "cron.minute"),
    ("/5 * * * *", "cron.minute"),
    ("*/5/2 * * * *", "cron.minute"),
    ("*/90 * * * *", "cron.minute"),
    ("*/60 * * * *", "cron.minute"),
    ("*/x * * * *", "cron.minute"),
    ("*-10 * * * *", "cron.minute"),
    ("*5 * * * *", "cron.minute"),
    ("** * * * *", "cron.minute"),
    ("1,,2 * * * *", "cron.minute"),
    (",1 * * * *", "cron.minute"),
    ("1, * * * *", "cron.minute"),
    ("1.5 * * * *", "cron.minute"),
    ("1_0 * * * *", "cron.minute"),
    ("+5 * * * *", "cron.minute"),
    ("٣ * * * *", "cron.minute"),  # an Arabic-Indic three
    ("¹ * * * *", "cron.minute"),
    ("1\N{ZERO WIDTH SPACE} * * * *", "cron.minute"),
    ("99999999999999999999 * * * *", "cron.minute"),
    ("H * * * *", "cron.minute"),
    ("? * * * *", "cron.minute"),
    ("L * * * *", "cron.minute"),
    ("JAN * * * *", "cron.minute"),
    ("0x10 * * * *", "cron.minute"),
    ("0;0 * * * *", "cron.minute"),
    ("\x00 * * * *", "cron.minute"),
    ("0 24 * * *", "cron.hour"),
    ("0 1-24 * * *", "cron.hour"),
    ("0 */24 * * *", "cron.hour"),
    ("0 9am * * *", "cron.hour"),
    ("0 0 0 * *", "cron.day_of_month"),
    ("0 0 32 * *", "cron.day_of_month"),
    ("0 0 ? * MON", "cron.day_of_month"),
    ("0 0 15W * *", "cron.day_of_month"),
    ("0 0 W * *", "cron.day_of_month"),
    ("0 0 L-3 * *", "cron.day_of_month"),
    ("0 0 10-L * *", "cron.day_of_month"),
    ("0 0 L/2 * *", "cron.day_of_month"),
    ("0 0 MON * *", "cron.day_of_month"),
    ("0 0 30 2 *", "cron.day_of_month"),
    ("0 0 31 2,4,6,9,11 *", "cron.day_of_month"),
    ("0 0 30-31 FEB *", "cron.day_of_month"),
    ("0 0 */31 * MON#2", "cron.day_of_month"),
    ("0 0 */20 * 1L", "cron.day_of_month"),
    ("0 0 1 0 *", "cron.month"),
    ("0 0 1 13 *", "cron.month"),
    ("0 0 1 JANUARY *", "cron.month"),
    ("0 0 1 DEC-JAN *", "cron.month"),
    ("0 0 1 L *", "cron.month"),
    ("0 0 1 */13 *", "cron.month"),
    ("0 0 * * 8", "cron.day_of_week"),
    ("0 0 * * MONDAY", "cron.day_of_week"),
    ("0 0 * * FRI-MON", "cron.day_of_week"),
    ("0 0 * * L", "cron.day_of_week"),
    ("0 0 * * L5", "cron.day_of_week"),
    ("0 0 * * 5L-6", "cron.day_of_week"),
    ("0 0 * * 8L", "cron.day_of_week"),
    ("0 0 * * 1#0", "cron.day_of_week"),
    ("0 0 * * 1#6", "cron.day_of_week"),
    ("0 0 * * 1#", "cron.day_of_week"),
    ("0 0 * * #1", "cron.day_of_week"),
    ("0 0 * * 1##1", "cron.day_of_week"),
    ("0 0 * * 1-3#2", "cron.day_of_week"),
    ("0 0 * * 5L#1", "cron.day_of_week"),
    ("0 0 * * 1#¹", "cron.day_of_week"),
    ("0 0 * * fr\N{LATIN SMALL LETTER DOTLESS I}", "cron.day_of_week"),  # its capital is an I
    ("60 * * * * *", "cron.second"),
    ("L * * * * *", "cron.second"),
    ("0 0 0 30 2 *", "cron.day_of_month"),
]


@pytest.mark.parametrize(("text", "field"), BAD_CRONS)
def test_a_cron_that_cannot_be_kept_is_refused_by_the_name_of_its_field(text: str, field: str) -> None:
    with pytest.raises(InvalidTiming) as refused:
        parse_cron(text)

    assert refused.value.field == field
    assert refused.value.errors == [{"field": field, "message": refused.value.message}]
    assert any(cure in refused.value.message for cure in ("write", "remove", "lies outside", "split", "only `LW`"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("61 * * * *", "`61` lies outside 0 to 59"),
        ("1,2-70/3 * * * *", "`70` in `2-70/3` lies outside 0 to 59"),
        ("0 0 30 2 *", "`30` with month `2` and weekday `*` is a date that never comes"),
        ("*/90 * * * *", "use an interval for elapsed time"),
        ("0 9 15W * *", "nearest weekday"),
        ("H * * * *", "jitter"),
        ("* * * * * 15,25", "of six fields, the second is the first"),
        ("* * * *", "has 4 fields"),
        ("@nightly", "@daily"),
    ],
)
def test_a_refusal_names_the_offending_part_and_the_cure(text: str, told: str) -> None:
    with pytest.raises(InvalidTiming) as refused:
        parse_cron(text)

    assert told in refused.value.message


BAD_ZONES = [
    "",
    " ",
    "local",
    "localtime",
    "Factory",
    "CEST",
    "PST",
    "IST",
    "EDT",
    "+02:00",
    "UTC+2",
    "Europe",
    "Europe/",
]
BAD_ZONES += ["europe/berlin", "Europe/Berlin ", "Europe/Munich", "../etc/passwd", "/etc/localtime", "posixrules"]
BAD_ZONES += [
    "zone.tab",
    "tzdata.zi",
    "right/UTC",
    "posix/UTC",
    "America\\New_York",
    "Europe/Berlin\x00",
    "Z",
    "x" * 500,
]


@pytest.mark.parametrize("name", BAD_ZONES)
def test_a_zone_that_is_no_iana_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidTiming) as refused:
        parse_zone(name)

    assert refused.value.field == "zone"
    assert len(refused.value.message) < 250


@pytest.mark.parametrize(("name", "meant"), [("europe/berlin", "Europe/Berlin"), ("Europe/Berln", "Europe/Berlin")])
def test_a_zone_that_is_nearly_right_is_named(name: str, meant: str) -> None:
    with pytest.raises(InvalidTiming, match=f"did you mean {meant}"):
        parse_zone(name)


NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
NAIVE = datetime(2026, 6, 1, 12)
DAILY = parse_cron("@daily")

BAD_RULES: list[tuple[str, Callable[[], object]]] = [
    ("seconds", lambda: Every(0, NOON)),
    ("seconds", lambda: Every(0.999, NOON)),
    ("seconds", lambda: Every(-60, NOON)),
    ("seconds", lambda: Every(math.nan, NOON)),
    ("seconds", lambda: Every(math.inf, NOON)),
    ("seconds", lambda: Every(1e12, NOON)),
    ("anchor", lambda: Every(60, NAIVE)),
    ("at", lambda: Once(NAIVE.replace(microsecond=1))),
    ("at", lambda: Once(datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))))),
    ("zone", lambda: Rule(DAILY, "Mars/Olympus")),
    ("on_gap", lambda: Rule(DAILY, on_gap="twice")),  # type: ignore[arg-type]
    ("on_fold", lambda: Rule(DAILY, on_fold="run")),  # type: ignore[arg-type]
    ("start_at", lambda: Rule(DAILY, start_at=NAIVE)),
    ("end_at", lambda: Rule(DAILY, end_at=NAIVE)),
    ("end_at", lambda: Rule(DAILY, start_at=NOON, end_at=NOON - timedelta(seconds=1))),
    ("jitter_seconds", lambda: Rule(DAILY, jitter_seconds=-1)),
    ("jitter_seconds", lambda: Rule(DAILY, jitter_seconds=math.nan)),
    ("jitter_seconds", lambda: Rule(DAILY, jitter_seconds=86401)),
]


@pytest.mark.parametrize("number", range(len(BAD_RULES)))
def test_a_rule_that_cannot_be_kept_is_refused_by_the_name_of_its_attribute(number: int) -> None:
    field, build = BAD_RULES[number]

    with pytest.raises(InvalidTiming) as refused:
        build()

    assert refused.value.field == field


def test_a_rule_may_end_at_the_instant_at_which_it_starts() -> None:
    assert Rule(DAILY, start_at=NOON, end_at=NOON).end_at == NOON
