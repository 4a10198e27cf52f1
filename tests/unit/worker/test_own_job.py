"""What a task says of its progress must not end its attempt."""

from typing import NoReturn

import pytest
from sqlalchemy import Engine

from tests.factories import attempt
from worker.own_job import OwnJob


def no_database() -> NoReturn:
    raise RuntimeError("the pool is broken")


@pytest.mark.parametrize("done", [float("nan"), float("inf")])
def test_progress_takes_finite_numbers(done: float) -> None:
    job = OwnJob(attempt(), no_database)

    with pytest.raises(ValueError, match="finite"):
        job.progress(done, 1)


def test_the_last_report_of_an_attempt_that_cannot_be_stored_is_let_go() -> None:
    job = OwnJob(attempt(), no_database)
    with pytest.raises(RuntimeError):
        job.progress(1, 2)
    job._unsaid = {"done": 2}

    job.flush()

    assert job._unsaid is None


def test_a_note_is_kept_without_what_postgresql_cannot_store() -> None:
    engines: list[Engine] = []
    job = OwnJob(attempt(), engines.pop)
    with pytest.raises(IndexError):
        job.progress(1, 2, "a\0b")

    job._told_at = float("inf")
    job.progress(1, 2, "a\0b")

    assert job._unsaid is not None
    assert job._unsaid["note"] == "a\N{REPLACEMENT CHARACTER}b"
