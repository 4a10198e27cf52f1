"""A doorbell says which jobs; anything else is unreadable, and nothing worse."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.model import PRIORITIES, Doorbell, new_job_id
from tasks.messages import MOST_JOBS, Ring, UnreadableMessage, headers, read

names = st.text(min_size=1)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.uuids(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
fields = st.sampled_from(["penstock", "task", "id", "jobs", "penstock_priority", "lang"])


@given(st.uuids(), names, st.sampled_from(PRIORITIES))
def test_what_is_written_can_be_read(job_id: UUID, task: str, priority: int) -> None:
    assert read(headers(Doorbell(job_id, task, "default", priority))) == Ring(task, (job_id,), priority)


@given(anything | st.dictionaries(fields | st.text(), anything))
def test_anything_is_read_or_unreadable(found: Any) -> None:
    try:
        ring = read(found)
    except UnreadableMessage:
        return
    assert ring.jobs


@given(fields, anything)
def test_a_doorbell_with_one_field_changed_is_read_or_unreadable(field: str, value: Any) -> None:
    changed = headers(Doorbell(new_job_id(), "demo.echo", "default", 5)) | {field: value}
    try:
        ring = read(changed)
    except UnreadableMessage:
        return
    assert all(isinstance(job_id, UUID) for job_id in ring.jobs)
    assert ring.priority in PRIORITIES


def test_a_doorbell_may_speak_of_many_jobs_but_not_of_too_many() -> None:
    good = headers(Doorbell(new_job_id(), "demo.echo", "default", 5))
    ids = [str(new_job_id()) for _ in range(MOST_JOBS)]

    assert len(read(good | {"jobs": ids}).jobs) == MOST_JOBS
    with pytest.raises(UnreadableMessage):
        read(good | {"jobs": [*ids, str(new_job_id())]})
