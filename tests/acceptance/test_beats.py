"""Three beats, killed, stopped past every lock and resumed at random: no instant is missing, none is fired twice.

`python -m tests.chaos.beats --seconds 300` does the same for longer.
"""

from pathlib import Path

from tests.chaos.beats import run

SECONDS = 30.0
SCHEDULES = 40


def test_beats_in_trouble_fire_each_instant_once(database_url: str, broker_url: str, tmp_path: Path) -> None:
    found = run(
        database_url=database_url,
        broker_url=broker_url,
        home=tmp_path,
        seconds=SECONDS,
        count=SCHEDULES,
        seed=4,
    )

    assert found.findings == []
    assert found.instants >= SCHEDULES * (SECONDS - 2)
    assert found.fired >= found.instants / 2
    assert {"killed", "stopped", "stopped inside a transaction", "edited"} <= found.happened.keys()
