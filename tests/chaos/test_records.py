"""What is written down during a run comes back as it was, also when its writer was killed in the middle."""

import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.chaos.ledger import Call, Ledger, Operation, Status, Submission, Wanted, fingerprint, read_ledger
from tests.chaos.recorder import MOST_PULSE_SECONDS, RETURNED, Execution, Recorder, read_executions
from tests.services.stack import eventually

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
JOB = uuid.UUID(int=7)


def test_a_ledger_gives_back_what_was_written(tmp_path: Path) -> None:
    wanted = Wanted(task="chaos.naps", payload={"seconds": 0.5}, run_at=NOW, unique_key="one")
    submission = Submission(
        status=Status.ACKNOWLEDGED, sent_at=NOW, answered_at=NOW, code=202, key="k", job_ids=(JOB,), jobs=(wanted,)
    )
    operation = Operation(call=Call.CANCEL, status=Status.UNKNOWN, sent_at=NOW, job_id=JOB)

    with Ledger(tmp_path / "ledger") as ledger:
        ledger.write(submission)
        ledger.write(operation)

    entries = read_ledger(tmp_path / "ledger")
    assert entries.submissions == [submission]
    assert entries.operations == [operation]


def test_a_ledger_whose_writer_was_killed_is_read_up_to_there(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    with Ledger(path) as ledger:
        ledger.write(Submission(status=Status.REFUSED, sent_at=NOW))

    with path.open("ab") as file:
        file.write(b'{"kind":"submi')

    assert len(read_ledger(path).submissions) == 1


@pytest.mark.parametrize(
    ("code", "problem", "status"),
    [
        (202, None, Status.ACKNOWLEDGED),
        (409, "wrong-state", Status.REFUSED),
        (503, "busy", Status.REFUSED),
        (503, "outcome-unknown", Status.UNKNOWN),
        (503, None, Status.UNKNOWN),
        (500, "internal-error", Status.UNKNOWN),
        (None, None, Status.UNKNOWN),
    ],
)
def test_only_a_clear_answer_is_taken_for_knowledge(code: int | None, problem: str | None, status: Status) -> None:
    assert Status.of(code, problem) is status


def test_the_order_of_keys_makes_no_other_request() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_an_execution_has_its_beginning_its_end_and_how_it_ended(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "executions")

    with recorder.execution(job_id=JOB, attempt=1, token="t:1", task="chaos.quick"):
        pass
    with (
        pytest.raises(ValueError, match="broken"),
        recorder.execution(job_id=JOB, attempt=2, token="t:2", task="chaos.quick"),
    ):
        raise ValueError("broken")

    first, second = read_executions(tmp_path / "executions")
    assert (first.attempt, first.how) == (1, RETURNED)
    assert first.ended_at is not None
    assert first.began_at <= first.ended_at
    assert (second.attempt, second.token, second.how) == (2, "t:2", "ValueError")


def test_an_execution_gives_signs_of_life_for_as_long_as_it_runs(tmp_path: Path) -> None:
    path = tmp_path / "executions"

    def lives() -> int:
        return sum(len(execution.seen_at) for execution in read_executions(path))

    with Recorder(path).execution(job_id=JOB, attempt=1, token="t", task="chaos.naps"):
        eventually(lambda: lives() >= 2, 20, "two signs of life")

    (execution,) = read_executions(path)
    assert execution.ended_at is not None
    assert execution.began_at < min(execution.seen_at) <= max(execution.seen_at) <= execution.ended_at


def test_the_time_that_a_function_ran_is_told_by_its_signs_of_life() -> None:
    execution = Execution(JOB, 1, "t", "chaos.naps", 1, began_at=10.0, seen_at=[10.5, 11.0, 71.0, 71.5])

    assert execution.ran_after(0.0) == 0.5 + 0.5 + MOST_PULSE_SECONDS + 0.5
    assert execution.ran_after(10.75) == 0.25 + MOST_PULSE_SECONDS + 0.5
    assert execution.ran_after(71.25) == 0.25
    assert execution.ran_after(80.0) == 0.0


@pytest.mark.parametrize(
    ("but", "seconds"),
    [
        ([], 1.5),
        ([(0.0, 100.0)], 0.0),
        ([(11.0, 11.25)], 1.25),
        ([(10.75, 11.0), (10.5, 11.25)], 0.75),
        ([(9.0, 10.25), (11.25, 20.0)], 1.0),
        ([(12.0, 13.0)], 1.5),
    ],
    ids=["none", "all", "one within", "two that overlap", "over both ends", "one afterwards"],
)
def test_spans_that_do_not_count_are_left_out(but: list[tuple[float, float]], seconds: float) -> None:
    execution = Execution(JOB, 1, "t", "chaos.naps", 1, began_at=10.0, seen_at=[10.5, 11.0, 11.5])

    assert execution.ran_after(0.0, but) == seconds


def test_an_execution_that_was_cut_off_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "executions"
    path.write_bytes(b'\n{"run":"1","began_at":1.0,"job')

    with Recorder(path).execution(job_id=JOB, attempt=1, token="t", task="chaos.quick"):
        assert [execution.ended_at for execution in read_executions(path)] == [None]

    assert [execution.how for execution in read_executions(path)] == [RETURNED]
