"""A cursor belongs to one list, and nobody needs to know what is in it."""

from datetime import UTC, datetime
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import InvalidCursor
from jobs.model import new_job_id
from jobs.search import Filter, _read_cursor, _scope, _write_cursor
from jobs.state import JobState

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SCOPES = [
    _scope("jobs", "default", Filter()),
    _scope("jobs", "other", Filter()),
    _scope("jobs", "default", Filter(state=JobState.FAILED)),
    _scope("jobs", "default", Filter(queue="failed")),
    _scope("jobs", "default", Filter(task="failed")),
    _scope("jobs", "default", Filter(tag="failed")),
    _scope("jobs", "default", Filter(created_after=NOON)),
    _scope("jobs", "default", Filter(created_before=NOON)),
    _scope("dead-letters", "default", None, None),
    _scope("dead-letters", "default", "failed", None),
    _scope("dead-letters", "default", None, "failed"),
]


def test_a_cursor_leads_back_to_its_job() -> None:
    last = new_job_id()

    assert _read_cursor(_write_cursor(last, SCOPES[0]), SCOPES[0]) == last


def test_no_cursor_is_the_beginning() -> None:
    assert _read_cursor(None, SCOPES[0]) is None


@pytest.mark.parametrize(("mine", "other"), list(combinations(SCOPES, 2)))
def test_a_cursor_of_another_list_is_refused(mine: str, other: str) -> None:
    with pytest.raises(InvalidCursor):
        _read_cursor(_write_cursor(new_job_id(), mine), other)


@given(st.text())
def test_a_cursor_that_nobody_wrote_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidCursor):
        _read_cursor(cursor, SCOPES[0])


@given(st.integers(0, 63), st.sampled_from("!*é\x00~"))
def test_a_damaged_cursor_is_refused(place: int, damage: str) -> None:
    cursor = _write_cursor(new_job_id(), SCOPES[0])

    with pytest.raises(InvalidCursor):
        _read_cursor(cursor[:place] + damage + cursor[place + 1 :], SCOPES[0])
