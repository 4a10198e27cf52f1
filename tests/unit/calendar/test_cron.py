"""What the dialect has that the published examples do not show."""

from datetime import UTC, datetime

import pytest

from jobs.calendar.cron import parse_cron
from jobs.calendar.instants import next_instants
from jobs.calendar.timing import Rule


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("0 0 * * FRI-SUN", "0 0 * * 5,6,0"),  # SUN is 0, and stands for 7 at the end of a range
        ("0 0 * * SUN-SUN", "0 0 * * 0"),
        ("0 0 * * 5-7", "0 0 * * 5,6,7"),
        ("0 0 * * FRIL", "0 0 * * 5L"),
        ("0 0 * * sun#1", "0 0 * * 7#1"),
        ("0 0 1 Jan-mar/2 *", "0 0 1 1,3 *"),
        ("5-5/2 * * * *", "5 * * * *"),
        ("05,007 00 * * *", "5,7 0 * * *"),
        ("  0\t0  * * *\n", "@daily"),
        ("0 30 2 * * *", "30 2 * * *"),
        ("@DAILY", "@midnight"),
    ],
)
def test_two_ways_to_write_the_same(text: str, same: str) -> None:
    after = datetime(2026, 1, 1, tzinfo=UTC)

    one, other = (list(next_instants(Rule(parse_cron(way), "Europe/Berlin"), after, count=300)) for way in (text, same))

    assert one == other


def test_the_text_is_kept_as_it_was_written_but_for_blanks() -> None:
    assert parse_cron(" 0  9 * *\tMon ").text == "0 9 * * Mon"
