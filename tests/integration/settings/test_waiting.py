"""A process that starts before the schema is there begins when it is."""

from pathlib import Path

from jobs.migrations import upgrade
from tests.services.databases import connect_to
from tests.services.local_processes import LocalProcess, surroundings
from tests.services.processes import PROMPTS
from tests.services.stack import eventually


def test_a_beat_that_starts_before_the_migration_waits_for_it(empty_url: str, broker_url: str, tmp_path: Path) -> None:
    told = {"DATABASE_URL": empty_url, "BROKER_URL": broker_url, "PENSTOCK_START_WAIT_SECONDS": 120}
    environment = surroundings(**told, PENSTOCK_LOG_FORMAT="json")
    log, prompt = tmp_path / "beat.log", PROMPTS["schedules"]
    beat = LocalProcess("schedules", ["schedules"], environment=environment, log=log, prompt=prompt)
    beat.start()
    try:
        eventually(lambda: '"event":"start_waits"' in beat.logs(), 30, "it says what it waits for")
        assert prompt not in beat.logs()
        engine = connect_to(empty_url)
        upgrade(engine)
        engine.dispose()

        beat.ready()
    finally:
        beat.teardown()
