"""A fault counts when it was seen to hit, and is reported as missed when it was not."""

import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from jobs.model import JobId
from tests.chaos.faults.proof import OutOfMemory, was_killed
from tests.chaos.faults.scene import Strike
from tests.chaos.memory import AddressSpace, MemoryBound, bound
from tests.chaos.recorder import Recorder
from tests.chaos.schedule import Fault, Kind
from tests.chaos.tables import Tables
from tests.chaos.witness import Witness
from tests.factories import rescue, success
from tests.integration.jobs import scenes

GROWS = "import sys; sys.stdin.readline(); held = [b'x' * (1 << 20) for _ in range(int(sys.argv[1]))]"
SECONDS = 60


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that does nothing."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_a_process_that_was_killed_is_seen_to_be_gone(sleeper: "subprocess.Popen[bytes]") -> None:
    assert was_killed(sleeper.pid)
    assert sleeper.wait(SECONDS) == -9


def test_a_process_that_had_ended_before_was_not_killed(sleeper: "subprocess.Popen[bytes]") -> None:
    sleeper.kill()
    sleeper.wait(SECONDS)

    assert not was_killed(sleeper.pid)


def test_a_strike_that_missed_does_not_count() -> None:
    strike = Strike(Fault(1, 2.0, Kind.KILL_CHILD, "worker-1", None, 0.0, 0.5))

    strike.miss("no process ran")

    assert not strike.struck
    assert strike.failed == "no process ran"


@pytest.mark.parametrize("make", [lambda: bound("proof"), AddressSpace], ids=["best of this machine", "address space"])
def test_who_goes_beyond_its_memory_is_ended_and_a_kill_is_counted(make: Callable[[], MemoryBound]) -> None:
    memory = make()
    try:
        before = memory.kill_count()
        command = [sys.executable, "-c", GROWS, str(memory.beyond_megabytes)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            memory.adopt(process.pid)
            _, said = process.communicate(b"\n", timeout=SECONDS)

        assert memory.kill_count() - before == (1 if memory.kills else 0)
        assert process.returncode == -9 if memory.kills else b"MemoryError" in said
    finally:
        memory.close()


class Counted:
    """A bound on memory with a count that a test sets."""

    beyond_megabytes = 1

    def __init__(self, *, kills: bool) -> None:
        self.kills = kills
        self.count = 0

    def adopt(self, pid: int) -> None:
        """Bound nothing."""

    def kill_count(self) -> int:
        return self.count

    def close(self) -> None:
        """Nothing was made."""


@pytest.fixture
def tables(engine: Engine, database_url: str) -> Iterator[Tables]:
    found = Tables(database_url)
    yield found
    found.close()


def lost(engine: Engine) -> JobId:
    return scenes.ended(engine, rescue())


def succeeded(engine: Engine) -> JobId:
    return scenes.ended(engine, success())


@pytest.mark.parametrize(
    ("end", "kills", "is_seen"),
    [(lost, 1, True), (lost, 0, False), (succeeded, 1, False)],
    ids=["killed and lost", "lost for another reason", "somebody else was killed"],
)
def test_a_kill_and_a_lost_attempt_together_prove_it(
    end: Callable[[Engine], JobId], kills: int, is_seen: bool, engine: Engine, tables: Tables, tmp_path: Path
) -> None:
    memory = Counted(kills=True)
    proof = OutOfMemory([memory], tables, Witness(tmp_path / "executions"))

    job_id = end(engine)
    memory.count = kills

    assert proof.is_seen([job_id]) is is_seen
    assert not proof.is_seen([])


@pytest.mark.parametrize(("error", "is_seen"), [(MemoryError, True), (ValueError, False)])
def test_where_nothing_kills_the_task_must_say_that_it_had_no_memory(
    error: type[Exception], is_seen: bool, tables: Tables, tmp_path: Path
) -> None:
    proof = OutOfMemory([Counted(kills=False)], tables, Witness(tmp_path / "executions"))
    about: dict[str, Any] = {"job_id": uuid.UUID(int=1), "attempt": 1, "token": "t", "task": "chaos.grows"}

    with pytest.raises(error), Recorder(tmp_path / "executions").execution(**about):
        raise error

    assert proof.is_seen([uuid.UUID(int=1)]) is is_seen
