"""The headers that carry a job: a doorbell as Celery's message protocol 2, without any payload.

Celery documents the protocol under "Message Protocol"; its `id` is the job's id and its `task` the task's
name, so that Flower and every other monitor names jobs as people know them. A doorbell names one job, or
several of one task in `jobs`.

Releases run side by side while one takes the place of another, and each writes doorbells that the other may get.
So a doorbell says two things of itself: `penstock`, the version in which it is written, and `penstock_reads`, the
least version whose readers may act on it. A reader looks at the second only. What a later version adds, an
earlier reader does not need: the row is the truth, and a doorbell that names its job has said enough. A version that
changes what is there already must raise `READS` with it; its doorbells are then left by earlier readers to later
ones, and never taken for garbage.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from jobs.errors import PenstockError
from jobs.model import DEFAULT_PRIORITY, PRIORITIES, Doorbell, JobId

VERSION: Final = 1
"""Of the doorbells that this release writes."""
READS: Final = 1
"""The least version whose readers may act on them; at most that of the release before, which runs beside this one."""

CONTENT_TYPE: Final = "application/json"
CONTENT_ENCODING: Final = "utf-8"
BODY: Final = "[[],{},{}]"
"""No arguments: the payload stays in PostgreSQL."""

MOST_JOBS: Final = 1000
"""Ids that one doorbell may carry."""


class UnreadableMessage(PenstockError):
    """This message is not a doorbell."""


class ForNewerRelease(PenstockError):
    """This doorbell asks for a newer release than this one."""


@dataclass(frozen=True, slots=True)
class Ring:
    """What a doorbell says."""

    task: str
    jobs: tuple[JobId, ...]
    priority: int = DEFAULT_PRIORITY
    """On the scale of people, whatever the broker's own is."""


def headers(bell: Doorbell) -> dict[str, Any]:
    """Return the headers of a doorbell for one job."""
    text = str(bell.id)
    return {
        "lang": "py",
        "task": bell.task,
        "id": text,
        "root_id": text,
        "parent_id": None,
        "group": None,
        "argsrepr": "()",
        "kwargsrepr": "{...}",
        "ignore_result": True,
        "penstock": VERSION,
        "penstock_reads": READS,
        "penstock_priority": bell.priority,
    }


def read(found: object) -> Ring:
    """Return what the headers say.

    Raises `ForNewerRelease` for a doorbell that this release may not act on, and `UnreadableMessage`, and
    nothing else, for whatever else they may be.
    """
    if not isinstance(found, Mapping):
        raise UnreadableMessage("The message has no headers.")
    written, least = _versions(found)
    if least > VERSION:
        raise ForNewerRelease(f"The message has version {written} and asks for {least}; this release has {VERSION}.")
    task = found.get("task")
    if not isinstance(task, str) or not task:
        raise UnreadableMessage("The message names no task.")
    ids = found.get("jobs") or [found.get("id")]
    if not isinstance(ids, Sequence) or isinstance(ids, str) or len(ids) > MOST_JOBS:
        raise UnreadableMessage("The message names no jobs.")
    priority = found.get("penstock_priority", DEFAULT_PRIORITY)
    if not isinstance(priority, int) or priority not in PRIORITIES:
        raise UnreadableMessage("The message has an impossible priority.")
    try:
        return Ring(task, tuple(UUID(text) for text in ids), priority)
    except (AttributeError, TypeError, ValueError):
        raise UnreadableMessage("The message names a job by something that is not a UUID.") from None


def _versions(found: Mapping[Any, Any]) -> tuple[int, int]:
    """Return the version that the message is written in, and the least one whose readers may act on it."""
    written = found.get("penstock")
    least = found.get("penstock_reads", written)
    # type(), not isinstance(): True is an int, and no version.
    if type(written) is not int or type(least) is not int or not 1 <= least <= written:
        raise UnreadableMessage(f"The message has version {written!r} and asks for {least!r}.")
    return written, least
