"""The months by which history is kept, at the ends of years too."""

from datetime import UTC, datetime, timedelta

import pytest

from jobs.model import JobId
from jobs.partitions import AHEAD, months


def id_at(instant: datetime) -> JobId:
    """Return the id of a job that was submitted at the instant."""
    return JobId(int=int(instant.timestamp() * 1000) << 80 | 0x7 << 76 | 0b10 << 62)


@pytest.mark.parametrize(
    ("now", "names"),
    [
        (datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC), ["2026_11", "2026_12", "2027_01"]),
        (datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC), ["2026_12", "2027_01", "2027_02"]),
        (datetime(2028, 2, 29, tzinfo=UTC), ["2028_02", "2028_03", "2028_04"]),
    ],
)
def test_the_months_are_this_one_and_the_next(now: datetime, names: list[str]) -> None:
    assert [month.name for month in months(now)] == names
    assert len(names) == AHEAD + 1


@pytest.mark.parametrize("month", range(1, 13))
def test_a_month_holds_its_own_jobs_and_no_others(month: int) -> None:
    begins = datetime(2027, month, 1, tzinfo=UTC)
    this, after, _ = months(begins)
    tick = timedelta(milliseconds=1)

    assert id_at(begins - tick) < this.begins <= id_at(begins)
    assert this.ends == after.begins
    assert id_at(datetime(2027 + month // 12, month % 12 + 1, 1, tzinfo=UTC) - tick) < this.ends
