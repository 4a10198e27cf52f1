"""The error tree, and the picture of it."""

import re
from datetime import timedelta

import pytest

from jobs import errors
from jobs.errors import InvalidJob, PenstockError, StaleTransition, Throttled

EVERY_ERROR = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, PenstockError)]


def parent_of(kind: type[PenstockError]) -> str | None:
    return None if kind is PenstockError else kind.__bases__[0].__name__


def test_the_picture_shows_every_error_below_its_parent() -> None:
    drawn = re.findall(r"^    ([│ ├└─]*)(\w+)", errors.__doc__ or "", re.MULTILINE)
    names: dict[int, str] = {}
    parents: dict[str, str | None] = {}
    for branch, name in drawn:
        depth = len(branch)
        names[depth] = name
        above = [level for level in names if level < depth]
        parents[name] = names[max(above)] if above else None

    assert parents == {kind.__name__: parent_of(kind) for kind in EVERY_ERROR}


@pytest.mark.parametrize("kind", [kind for kind in EVERY_ERROR if kind is not Throttled])
def test_an_error_without_a_message_says_what_its_class_says(kind: type[PenstockError]) -> None:
    assert str(kind()) == kind.__doc__
    assert str(kind("another")) == "another"


def test_errors_carry_their_facts() -> None:
    refused = InvalidJob("no", errors=[{"field": "tags"}], index=3, existing_job_id="7")

    assert (refused.errors, refused.index, refused.facts) == ([{"field": "tags"}], 3, {"existing_job_id": "7"})
    assert StaleTransition(state="failed").state == "failed"
    assert Throttled(retry_after=timedelta(seconds=5)).retry_after == timedelta(seconds=5)
