"""A process that a deploy replaces must end when it is asked to, and be there again: if not, the run is not good."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.stack.child import Child, harmless_environment
from tests.chaos.faults.processes import roll
from tests.chaos.faults.scene import Scene, Strike
from tests.chaos.parts import Part
from tests.chaos.schedule import Fault, Kind

READY = "print('ready', flush=True)"
WILLING = f"import threading; {READY}; threading.Event().wait()"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WILLING}"
ONCE = f"""
import pathlib, sys, threading
been_here = pathlib.Path(sys.argv[1])
if not been_here.exists():
    been_here.touch()
    {READY}
threading.Event().wait()
"""
"""Ready only the first time."""
SECONDS = 30.0

Start = Callable[..., Part]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a part that is this little program."""
    started: list[Part] = []

    def make(program: str, **facts: Any) -> Part:
        log = tmp_path / "beat-1.log"
        part = Part("beat-1", ["none"], {}, log, "ready", **{"stop_seconds": SECONDS, "ready_seconds": SECONDS} | facts)
        command = [sys.executable, "-c", program, tmp_path / "been-here"]
        part.child = Child("beat-1", command, environment=harmless_environment(), log=log)
        started.append(part)
        part.start()
        part.wait_until_ready()
        return part

    yield make
    for part in started:
        part.kill()


def rolled(scene: Scene, part: Part) -> Strike:
    scene.over.set()  # nothing is waited for
    scene.plant.parts[part.name] = part
    strike = Strike(Fault(1, 2.0, Kind.ROLL_BEAT, part.name, None, 0.0, 0.5))
    roll(scene, strike)
    return strike


def test_a_process_that_ends_when_it_is_asked_to_is_replaced_without_trouble(start: Start, scene: Scene) -> None:
    part = start(WILLING)
    before = part.pid

    strike = rolled(scene, part)

    assert (strike.struck, strike.trouble) == (True, None)
    assert part.pid not in {before, None}


def test_a_process_that_does_not_end_when_it_is_asked_to_is_trouble(start: Start, scene: Scene) -> None:
    strike = rolled(scene, start(DEAF, stop_seconds=0.1))

    assert strike.struck
    assert strike.trouble == "roll_beat beat-1 at 2 s: it had not ended 0.1 s after SIGTERM, and was killed"


def test_a_process_that_does_not_get_ready_again_is_trouble(start: Start, scene: Scene) -> None:
    part = start(ONCE)
    part.ready_seconds = 0.1

    strike = rolled(scene, part)

    assert strike.trouble == "roll_beat beat-1 at 2 s: it was not ready 0.1 s after it was started again"
