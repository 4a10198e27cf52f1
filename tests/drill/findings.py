"""What is wrong with what came back. Each function yields one sentence for each thing that must not be."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from jobs.model import JobId
from tests.chaos.ledger import Status, Submission
from tests.drill.point import Asked, Point, Side


@dataclass(frozen=True)
class Again:
    """A request that was sent once more after the restore, and its last answer."""

    asked: Asked
    answer: Submission


def lost(requests: Sequence[Asked], present: Collection[JobId]) -> Iterator[str]:
    """Every job that was acknowledged before the point is there."""
    for asked in requests:
        if asked.side is Side.BEFORE:
            for job_id in asked.job_ids:
                if job_id not in present:
                    yield f"job {job_id} was acknowledged before the point, and is not there"


def not_undone(requests: Sequence[Asked], present: Collection[JobId]) -> Iterator[str]:
    """No job is there of which the first try was sent after the point: the restore stopped where it was told to."""
    for asked in requests:
        if asked.side is Side.BEYOND:
            for job_id in asked.job_ids:
                if job_id in present:
                    yield f"job {job_id} was asked for after the point, and is there"


def between(point: Point, present: Mapping[JobId, int]) -> Iterator[str]:
    """Each job's history is no shorter than just before the point, and no longer than just after it."""
    for job_id, least in point.before.items():
        if present.get(job_id, 0) < least:
            yield f"job {job_id} had {least} events just before the point, and has {present.get(job_id, 0)}"
    for job_id, count in present.items():
        if count > point.after.get(job_id, 0):
            yield f"job {job_id} had {point.after.get(job_id, 0)} events just after the point, and has {count}"


def accepted_twice(again: Sequence[Again], present: Collection[JobId]) -> Iterator[str]:
    """Who sends a request again is told of the jobs that are there, and of new ones only where none are."""
    for one in again:
        answer, side, known = one.answer, one.asked.side, one.asked.job_ids
        is_there = side is Side.BEFORE or (side is Side.IN_FLIGHT and any(job_id in present for job_id in known))
        if answer.status is Status.UNKNOWN:
            yield f"key {one.asked.key} had no answer when it was sent again"
        elif is_there and (answer.job_ids != known or not answer.replayed):
            yield f"key {one.asked.key} had jobs {_short(known)}; sent again, it was told of {_short(answer.job_ids)}"
        elif not is_there and set(answer.job_ids) & set(known):
            yield f"key {one.asked.key} was told of {_short(answer.job_ids)}, which had been undone"


def _short(ids: Sequence[JobId]) -> str:
    return ", ".join(map(str, ids[:3])) or "nothing"


def shortfalls(point: Point, requests: Sequence[Asked]) -> Iterator[str]:
    """Something was there to be lost: a drill that tried too little has shown nothing."""
    sizes = {side: sum(len(one.job_ids) for one in requests if one.side is side) for side in Side}
    for side, least in ((Side.BEFORE, 50), (Side.BEYOND, 20)):
        if sizes[side] < least:
            yield f"{sizes[side]} jobs were acknowledged {side} the point; a drill needs {least}"
    for state in ("queued", "running", "succeeded"):
        if not point.states.get(state):
            yield f"no job was {state} at the point"
