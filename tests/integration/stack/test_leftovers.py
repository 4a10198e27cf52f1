"""Processes that a killed supervisor left behind."""

import os
import subprocess

import psutil

from deploy.stack.leftovers import end_leftovers, noted, started_at
from tests.services.stack import eventually, gone

SECONDS = 10.0


def test_a_noted_process_that_still_runs_is_ended() -> None:
    with subprocess.Popen(["sleep", "60"], process_group=0) as process:
        processes = noted([process.pid, None])

        assert end_leftovers(processes, SECONDS) == [process.pid]

        assert process.wait(SECONDS) != 0


def test_a_process_that_does_not_listen_is_killed() -> None:
    deaf = "trap '' INT TERM; echo deaf; while :; do sleep 1; done"
    with subprocess.Popen(["/bin/sh", "-c", deaf], process_group=0, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children()]

        end_leftovers(noted([process.pid]), 0.1)

        assert gone(family, SECONDS) == []


def test_another_process_of_the_same_pid_is_left_alone() -> None:
    with subprocess.Popen(["sleep", "60"], process_group=0) as process:
        assert end_leftovers({process.pid: "some other time"}, SECONDS) == []

        assert process.poll() is None
        process.kill()


def test_a_process_that_has_ended_is_not_noted() -> None:
    process = subprocess.Popen(["true"])
    eventually(lambda: started_at(process.pid) is None, SECONDS, "the process is a zombie")

    assert noted([process.pid]) == {}

    process.wait()


def test_we_have_started_at_some_time() -> None:
    assert started_at(os.getpid()) == started_at(os.getpid()) is not None
