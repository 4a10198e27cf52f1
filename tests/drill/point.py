"""A point in time, and what the clients' ledger says of both sides of it."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from jobs.model import JobId
from tests.chaos.ledger import Entries, Entry, Status, Submission


class Side(StrEnum):
    """Where a request lies, by what its client knew at the point."""

    BEFORE = "before"
    """It was acknowledged."""
    IN_FLIGHT = "in flight"
    """It was sent, and not acknowledged: either may be true."""
    BEYOND = "beyond"
    """It was sent later."""


@dataclass
class Asked:
    """All tries of one request, under one idempotency key."""

    key: str
    side: Side
    tries: list[Submission] = field(default_factory=list)

    @property
    def acknowledged(self) -> Submission | None:
        """The first try that was acknowledged, be it after the point."""
        return next((one for one in self.tries if one.status is Status.ACKNOWLEDGED), None)

    @property
    def job_ids(self) -> tuple[JobId, ...]:
        """The jobs that its client was told of."""
        return self.acknowledged.job_ids if self.acknowledged else ()

    @property
    def is_open(self) -> bool:
        """Whether its client was not told that nothing is stored."""
        return self.tries[-1].status is not Status.REFUSED


def sides(entries: Entries, at: datetime) -> list[Asked]:
    """Return the requests, each with its side of the point."""
    by_key: dict[str, list[Submission]] = defaultdict(list)
    for one in entries.submissions:
        if one.key is not None:
            by_key[one.key].append(one)
    return [Asked(key, _side(tries, at), tries) for key, tries in by_key.items()]


def _side(tries: Sequence[Submission], at: datetime) -> Side:
    if any(one.status is Status.ACKNOWLEDGED and _was_known(one, at) for one in tries):
        return Side.BEFORE
    return Side.IN_FLIGHT if tries[0].sent_at <= at else Side.BEYOND


def _was_known(entry: Entry, at: datetime) -> bool:
    return entry.answered_at is not None and entry.answered_at <= at


def as_of(entries: Entries, at: datetime) -> list[Entry]:
    """Return the ledger as it was at the point: what was sent later is not in it, and later answers are not known."""
    known: list[Entry] = []
    told: list[Entry] = [*entries.submissions, *entries.operations]
    for one in told:
        if one.sent_at > at:
            continue
        if one.status is not Status.ACKNOWLEDGED or _was_known(one, at):
            known.append(one)
        elif isinstance(one, Submission):
            known.append(replace(one, status=Status.UNKNOWN, answered_at=None, code=None, job_ids=()))
        else:
            known.append(replace(one, status=Status.UNKNOWN, answered_at=None, code=None, new_job_id=None))
    return known


@dataclass(frozen=True)
class Runs:
    """What tasks did, divided by the point and the restore; each run is a job and the number of its attempt."""

    kept: Sequence[bytes]
    """The records of attempts that began before the point, or after the restore."""
    undone: frozenset[tuple[str, int]]
    """The attempts that began between the two: no table tells of them."""
    later: frozenset[tuple[str, int]]
    """Those that began after the restore."""

    @property
    def jobs_again(self) -> int:
        """How many jobs ran again of which an attempt was undone."""
        return len({job for job, _ in self.undone} & {job for job, _ in self.later})

    @property
    def numbers_again(self) -> int:
        """How many attempts' numbers, and fencing tokens with them, were given out a second time."""
        return len(self.undone & self.later)


def runs(records: bytes, at: datetime, restored_at: datetime) -> Runs:
    """Return the records of executions, divided. One that was cut off is passed over."""
    kept: list[bytes] = []
    began: dict[str, float] = {}
    undone: set[tuple[str, int]] = set()
    later: set[tuple[str, int]] = set()
    for line in records.splitlines():
        try:
            facts = json.loads(line)
        except ValueError:
            continue
        if "began_at" in facts:
            began[facts["run"]] = facts["began_at"]
            if facts["began_at"] > at.timestamp():
                side = later if facts["began_at"] >= restored_at.timestamp() else undone
                side.add((facts["job_id"], facts["attempt"]))
        if not at.timestamp() < began.get(facts["run"], 0.0) < restored_at.timestamp():
            kept.append(line)
    return Runs(kept, frozenset(undone), frozenset(later))


@dataclass(frozen=True)
class Point:
    """A point in time while there was load, and the tables shortly before and after it."""

    at: datetime
    before: Mapping[JobId, int]
    """How many events each job had, shortly before."""
    after: Mapping[JobId, int]
    states: Mapping[str, int]
    """How many jobs were in each state, shortly before."""
