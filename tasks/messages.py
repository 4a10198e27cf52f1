"""The headers that carry a job: a doorbell as Celery's message protocol 2, without any payload.

Celery documents the protocol under "Message Protocol"; its `id` is the job's id and its `task` the task's
name, so that Flower and every other monitor names jobs as people know them. `penstock` is the version of
what is ours in it. A doorbell names one job, or several of one task in `jobs`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from jobs.errors import PenstockError
from jobs.model import DEFAULT_PRIORITY, PRIORITIES, Doorbell, JobId

VERSION: Final = 1
READABLE: Final = frozenset({VERSION})
"""Versions that this release understands; the next release keeps reading the last one."""

CONTENT_TYPE: Final = "application/json"
CONTENT_ENCODING: Final = "utf-8"
BODY: Final = "[[],{},{}]"
"""No arguments: the payload stays in PostgreSQL."""

MOST_JOBS: Final = 1000
"""Ids that one doorbell may carry."""


class UnreadableMessage(PenstockError):
    """This message is not a doorbell that this release understands."""


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
        "penstock_priority": bell.priority,
    }


def read(found: object) -> Ring:
    """Return what the headers say. Raises `UnreadableMessage`, and nothing else, for whatever they may be."""
    if not isinstance(found, Mapping):
        raise UnreadableMessage("The message has no headers.")
    version = found.get("penstock")
    if not isinstance(version, int) or version not in READABLE:
        raise UnreadableMessage(f"The message has version {version!r}; this release reads {sorted(READABLE)}.")
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
