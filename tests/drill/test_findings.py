"""The two sides of a point, and what must not be found on either."""

import json
import uuid
from datetime import timedelta
from typing import Any

from tests.chaos.ledger import Call, Entries, Operation, Status, Submission, Wanted
from tests.chaos.tales import DAWN
from tests.drill.findings import Again, accepted_twice, between, lost, not_undone, shortfalls
from tests.drill.point import Asked, Point, Side, as_of, runs, sides

ONE, OTHER = uuid.UUID(int=1), uuid.UUID(int=2)


def submission(sent: float, answered: float | None, key: str = "k", **facts: Any) -> Submission:
    """Return a try that was sent and answered so many seconds after the point."""
    given: dict[str, Any] = {
        "status": Status.UNKNOWN if answered is None else Status.ACKNOWLEDGED,
        "sent_at": DAWN + timedelta(seconds=sent),
        "answered_at": None if answered is None else DAWN + timedelta(seconds=answered),
        "job_ids": () if answered is None else (ONE,),
        "jobs": (Wanted(task="t"),),
    }
    return Submission(key=key, **given | facts)


def side_of(*tries: Submission) -> Asked:
    (asked,) = sides(Entries(submissions=list(tries)), DAWN)
    return asked


def test_a_request_lies_where_its_client_knew_it_to_be_at_the_point() -> None:
    assert side_of(submission(-2, -1)).side is Side.BEFORE
    assert side_of(submission(-2, None), submission(-1, 0)).side is Side.BEFORE
    assert side_of(submission(-2, 1)).side is Side.IN_FLIGHT
    assert side_of(submission(-2, None), submission(1, 2)).side is Side.IN_FLIGHT
    assert side_of(submission(1, 2)).side is Side.BEYOND


def test_the_ledger_of_the_point_knows_no_later_answer() -> None:
    cancel = Operation(call=Call.CANCEL, status=Status.ACKNOWLEDGED, sent_at=DAWN + timedelta(seconds=1), job_id=ONE)
    entries = Entries([submission(-2, -1, "a"), submission(-2, 1, "b"), submission(1, 2, "c")], [cancel])

    known = as_of(entries, DAWN)

    assert known[0] == entries.submissions[0]
    assert [(one.key, one.status) for one in known if isinstance(one, Submission)] == [
        ("a", Status.ACKNOWLEDGED), ("b", Status.UNKNOWN)
    ]  # fmt: skip
    assert len(known) == 2


def test_what_is_missing_and_what_should_be_is_named() -> None:
    before, beyond = side_of(submission(-2, -1)), side_of(submission(1, 2))

    assert [*lost([before, beyond], {ONE}), *not_undone([before, beyond], set())] == []
    assert [*lost([before], set())] == [f"job {ONE} was acknowledged before the point, and is not there"]
    assert [*not_undone([beyond], {ONE})] == [f"job {ONE} was asked for after the point, and is there"]


def test_a_history_lies_between_the_looks_before_and_after_the_point() -> None:
    point = Point(DAWN, {ONE: 2}, {ONE: 3}, {})

    assert [*between(point, {ONE: 2}), *between(point, {ONE: 3})] == []
    assert len([*between(point, {ONE: 1})]) == len([*between(point, {ONE: 4})]) == 1
    assert len([*between(point, {ONE: 2, OTHER: 1})]) == len([*between(point, {})]) == 1


def test_a_request_that_is_sent_again_makes_no_second_job() -> None:
    def told(asked: Asked, *ids: uuid.UUID, replayed: bool, there: bool) -> list[str]:
        answer = submission(9, 10, job_ids=ids, replayed=replayed)
        return [*accepted_twice([Again(asked, answer)], {ONE} if there else set())]

    before, in_flight, beyond = (side_of(submission(*when)) for when in ((-2, -1), (-2, 1), (1, 2)))

    assert told(before, ONE, replayed=True, there=True) == []
    assert told(in_flight, ONE, replayed=True, there=True) == []
    assert told(in_flight, OTHER, replayed=False, there=False) == []
    assert told(beyond, OTHER, replayed=False, there=False) == []
    assert len(told(before, OTHER, replayed=False, there=True)) == 1
    assert len(told(in_flight, OTHER, replayed=False, there=True)) == 1
    assert len(told(beyond, ONE, replayed=True, there=False)) == 1
    unanswered = submission(9, None)
    assert len([*accepted_twice([Again(before, unanswered)], {ONE})]) == 1


def test_attempts_between_the_point_and_the_restore_are_undone() -> None:
    def ran(run: str, at: float, attempt: int) -> list[dict[str, Any]]:
        began = DAWN.timestamp() + at
        return [
            {"run": run, "began_at": began, "job_id": str(ONE), "attempt": attempt},
            {"run": run, "ended_at": began + 1, "how": "returned"},
        ]

    records = [*ran("a", -1, 1), *ran("b", 1, 2), *ran("c", 11, 2)]
    lines = b"\n".join(json.dumps(one).encode() for one in records) + b"\n{cut"

    divided = runs(lines, DAWN, DAWN + timedelta(seconds=10))

    assert [json.loads(line)["run"] for line in divided.kept] == ["a", "a", "c", "c"]
    assert (divided.jobs_again, divided.numbers_again) == (1, 1)


def test_a_drill_in_which_nothing_was_at_stake_is_not_good() -> None:
    short = [*shortfalls(Point(DAWN, {}, {}, {"queued": 1}), [side_of(submission(-2, -1))])]

    assert short == [
        "1 jobs were acknowledged before the point; a drill needs 50",
        "0 jobs were acknowledged beyond the point; a drill needs 20",
        "no job was running at the point",
        "no job was succeeded at the point",
    ]
