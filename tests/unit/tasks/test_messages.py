"""A doorbell says which jobs; anything else is unreadable, and nothing worse."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.model import PRIORITIES, Doorbell, new_job_id
from tasks.messages import MOST_JOBS, READS, VERSION, ForNewerRelease, Ring, UnreadableMessage, headers, read

names = st.text(min_size=1)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.uuids(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
fields = st.sampled_from(["penstock", "penstock_reads", "task", "id", "jobs", "penstock_priority", "lang"])


@given(st.uuids(), names, st.sampled_from(PRIORITIES))
def test_what_is_written_can_be_read(job_id: UUID, task: str, priority: int) -> None:
    assert read(headers(Doorbell(job_id, task, "default", priority))) == Ring(task, (job_id,), priority)


@given(anything | st.dictionaries(fields | st.text(), anything))
def test_anything_is_read_or_unreadable(found: Any) -> None:
    try:
        ring = read(found)
    except (UnreadableMessage, ForNewerRelease):
        return
    assert ring.jobs


@given(fields, anything)
def test_a_doorbell_with_one_field_changed_is_read_or_unreadable(field: str, value: Any) -> None:
    changed = headers(Doorbell(new_job_id(), "demo.echo", "default", 5)) | {field: value}
    try:
        ring = read(changed)
    except (UnreadableMessage, ForNewerRelease):
        return
    assert all(isinstance(job_id, UUID) for job_id in ring.jobs)
    assert ring.priority in PRIORITIES


def test_a_doorbell_may_speak_of_many_jobs_but_not_of_too_many() -> None:
    good = headers(Doorbell(new_job_id(), "demo.echo", "default", 5))
    ids = [str(new_job_id()) for _ in range(MOST_JOBS)]

    assert len(read(good | {"jobs": ids}).jobs) == MOST_JOBS
    with pytest.raises(UnreadableMessage):
        read(good | {"jobs": [*ids, str(new_job_id())]})


# Releases side by side

GOOD = headers(Doorbell(new_job_id(), "demo.echo", "default", 5))


def test_a_release_reads_what_it_writes() -> None:
    assert READS <= VERSION


@given(st.integers(VERSION, 1000), st.integers(1, VERSION))
def test_a_later_release_is_understood_as_long_as_it_asks_for_no_more_than_ours(written: int, least: int) -> None:
    assert read(GOOD | {"penstock": written, "penstock_reads": least, "new": [1, 2]}).task == "demo.echo"


@given(st.integers(VERSION + 1, 1000), st.integers(0, 10))
def test_a_doorbell_that_asks_for_a_later_release_is_not_garbage(least: int, more: int) -> None:
    with pytest.raises(ForNewerRelease):
        read(GOOD | {"penstock": least + more, "penstock_reads": least})


def test_a_doorbell_that_does_not_say_whom_it_asks_for_asks_for_its_own_release() -> None:
    silent = {name: value for name, value in GOOD.items() if name != "penstock_reads"}

    assert read(silent).task == "demo.echo"
    with pytest.raises(ForNewerRelease):
        read(silent | {"penstock": VERSION + 1})


@pytest.mark.parametrize(
    ("written", "least"),
    [(0, 0), (1, 0), (-1, -1), (1, 2), (True, 1), (1, True), ("1", "1"), (1.0, 1), (None, 1), (1, None)],
)
def test_what_is_no_version_makes_no_doorbell(written: object, least: object) -> None:
    with pytest.raises(UnreadableMessage):
        read(GOOD | {"penstock": written, "penstock_reads": least})
