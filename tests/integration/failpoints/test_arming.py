"""A process dies at a fail-point as by the power cut, and does not start with one that is not there."""

import signal
import subprocess
import sys

import pytest


def test_a_kill_leaves_the_process_no_time_for_anything() -> None:
    script = (
        "import atexit; from jobs.failpoints import *; atexit.register(print, 'goodbye')\n"
        "arm(FailPointSettings(fail_points='settle.write=kill')); print('hello', flush=True); reached('settle.write')"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == -signal.SIGKILL
    assert "hello" in done.stdout
    assert "point=settle.write" in done.stdout
    assert "goodbye" not in done.stdout


@pytest.mark.parametrize("module", ["api", "worker", "schedules"])
def test_no_process_starts_with_a_point_that_is_not_there(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_FAIL_POINTS", "nowhere=kill")
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    monkeypatch.setenv("BROKER_URL", "redis://127.0.0.1:1")

    done = subprocess.run([sys.executable, "-m", module], capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 2
    assert "PENSTOCK_FAIL_POINTS: there is no fail-point 'nowhere'" in done.stderr
