"""The pool of processes stays well when a child's end and the loss of the broker's connection meet."""

import subprocess
import sys

from deploy.stack.home import ROOT

SECONDS = 200


def played(scene: str) -> str:
    """Play a scene of `pool_scenes`, and return what went wrong."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.integration.worker.pool_scenes", scene],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return ended.stderr if ended.returncode else ""


def test_a_child_that_ended_and_is_still_in_the_pool_is_no_error_when_the_pool_is_registered_again() -> None:
    assert played("half_dead") == ""


def test_a_child_that_the_machine_has_no_room_for_is_started_later() -> None:
    assert played("no_room") == ""
