"""A part of the stack that dies is started again, and said so."""

import os
import signal
from collections.abc import Callable

import httpx
import pytest

from tests.services.stack import Stack, eventually

REPAIR_SECONDS = 30.0


def test_every_part_that_is_killed_comes_back_and_work_goes_on(stack: Stack) -> None:
    stack.up()

    for role in ("api", "worker", "beat", "valkey", "postgresql"):
        before = stack.pids(role)
        os.kill(before[0], signal.SIGKILL)
        eventually(lambda role=role, before=before: renewed(stack, role, before), REPAIR_SECONDS, f"{role} is back")  # type: ignore[misc]  # binds the loop's value
        eventually(lambda: serves(stack), REPAIR_SECONDS, f"the stack serves after {role} died")

        assert stack.finished(stack.submit("demo.echo", message=role), 60.0)["result"] == role
        assert f"{'worker-1' if role == 'worker' else role} ended" in stack.said()


def renewed(stack: Stack, role: str, before: list[int]) -> bool:
    now = stack.pids(role)
    return len(now) == len(before) and before[0] not in now


def serves(stack: Stack) -> bool:
    try:
        return stack.call("GET", "/ready").status_code == 200
    except httpx.TransportError:
        return False


def test_a_part_that_keeps_dying_has_its_log_shown(stack: Stack) -> None:
    stack.up()

    while "keeps dying" not in stack.said():
        (pid,) = stack.pids("beat")
        os.kill(pid, signal.SIGKILL)
        eventually(lambda pid=pid: stack.pids("beat") not in ([pid], []), REPAIR_SECONDS, "beat is back")  # type: ignore[misc]  # binds the loop's value

    assert "beat keeps dying. The end of its log:" in stack.said()


@pytest.mark.parametrize("workers", ["1", "3"])
def test_as_many_workers_run_as_were_asked_for(new_stack: Callable[..., Stack], workers: str) -> None:
    stack = new_stack(WORKERS=workers).up()

    assert len(stack.pids("worker")) == int(workers)
