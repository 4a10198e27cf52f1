"""Ending the local stack: by Ctrl-C, by `stop`, and by a kill that nobody can prepare for."""

import os
import signal
import sys
from collections.abc import Callable

import pytest

from tests.services.stack import Stack, eventually, gone

LIMIT_SECONDS = 5.0


def test_ctrl_c_ends_everything_within_five_seconds_while_jobs_run(stack: Stack) -> None:
    stack.up()
    jobs = [stack.submit("demo.sleep", seconds=60) for _ in range(3)]
    eventually(lambda: stack.job(jobs[0])["state"] == "running", 10.0, "a job runs")
    processes = stack.processes()

    seconds = stack.interrupt()

    assert seconds < LIMIT_SECONDS
    assert gone(processes, 0.0) == []
    assert not (stack.home / "stack.json").exists()
    assert stack.supervisor is not None
    assert stack.supervisor.returncode == 0


def test_ctrl_c_while_starting_leaves_nothing(stack: Stack) -> None:
    stack.begin()
    eventually((stack.home / "log" / "prepare.log").exists, 30.0, "the servers run and the schema is being made")
    processes = stack.processes()

    seconds = stack.interrupt()

    assert seconds < LIMIT_SECONDS
    assert gone(processes, 0.0) == []


def test_a_job_that_ctrl_c_interrupted_runs_again_at_the_next_start(new_stack: Callable[..., Stack]) -> None:
    stack = new_stack(WORKERS="1").up()
    job_id = stack.submit("demo.sleep", seconds=3)
    eventually(lambda: stack.job(job_id)["state"] == "running", 10.0, "the job runs")
    stack.interrupt()

    stack.up()

    assert stack.finished(job_id, 60.0)["state"] == "succeeded"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
def test_a_killed_supervisor_leaves_no_process_and_loses_no_job(new_stack: Callable[..., Stack]) -> None:
    stack = new_stack(PENSTOCK_LEASE_SECONDS="3").up()
    done = stack.submit("demo.echo", message="kept")
    stack.finished(done)
    waiting = [stack.submit("demo.sleep", seconds=0.5) for _ in range(10)]
    processes = stack.processes()

    os.kill(stack.pids("supervisor")[0], signal.SIGKILL)

    assert gone(processes, 15.0) == []
    stack.up()
    assert stack.job(done)["result"] == "kept"
    assert {stack.finished(job_id, 60.0)["state"] for job_id in waiting} == {"succeeded"}


def test_a_start_right_after_a_kill_waits_for_what_still_ends(new_stack: Callable[..., Stack]) -> None:
    stack = new_stack(WORKERS="1").up()
    url = stack.facts["database_url"]

    os.kill(stack.pids("supervisor")[0], signal.SIGKILL)
    stack.up()

    assert stack.facts["database_url"].rsplit(":", 1)[0] == url.rsplit(":", 1)[0]
    assert stack.finished(stack.submit("demo.noop"))["state"] == "succeeded"


def test_a_stack_in_the_background_serves_until_it_is_stopped(new_stack: Callable[..., Stack]) -> None:
    stack = new_stack(WORKERS="1")
    started = stack.command("start")
    assert started.returncode == 0, started.stderr
    assert stack.facts["api_key"] in started.stdout
    assert stack.finished(stack.submit("demo.noop"))["state"] == "succeeded"
    processes = stack.processes()
    assert os.getsid(stack.pids("supervisor")[0]) != os.getsid(0)

    again = stack.command("start")
    assert (again.returncode, stack.facts["api_key"] in again.stdout) == (0, True)

    stopped = stack.command("stop")

    assert (stopped.returncode, gone(processes, 0.0)) == (0, [])
    assert stack.command("stop").stdout == "No stack runs here.\n"


def test_a_stack_that_cannot_start_in_the_background_says_why(stack: Stack) -> None:
    stack.environment["DATABASE_URL"] = "postgresql://nobody@127.0.0.1:1/nowhere"

    refused = stack.command("start")

    assert refused.returncode == 1
    assert "PostgreSQL" in refused.stderr
