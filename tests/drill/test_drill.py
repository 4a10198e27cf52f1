"""A short drill gets everything back, and finds what it would be wrong to overlook.

Everything is lost once. From the same archive it is then restored several times, with and without a planted bug.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.stack.errors import NotInstalled
from deploy.stack.rabbitmq import find_or_install
from tests.drill.archive import BackupFailed
from tests.drill.options import Options, Plant
from tests.drill.report import as_json, as_markdown
from tests.drill.run import Drill, Outcome
from tests.services.fixtures import unavailable

Lost = Callable[[Plant | None], Drill]


@pytest.fixture(scope="module")
def lost() -> Iterator[Lost]:
    """Gives the drill as it is when everything has just been lost, with a bug planted in what follows."""
    home = Path(tempfile.mkdtemp(prefix="penstock-drill-"))
    home.chmod(0o711)
    drill = Drill(Options(seed=5, seconds=6.0), home, print)
    try:
        drill.prepare()
        assert drill.outcome.wrong == []
        archive, kept = drill.site.postgres.backup, home / "archive"
        subprocess.run(["cp", "-a", archive, kept], check=True)

        def give(plant: Plant | None) -> Drill:
            if drill.site.postgres.pid:
                drill.site.lose()
                shutil.rmtree(archive)
                subprocess.run(["cp", "-a", kept, archive], check=True)
            drill.options = replace(drill.options, plant=plant)
            drill.outcome = Outcome(drill.options, facts=dict(drill.outcome.facts))
            return drill

        yield give
    finally:
        drill.site.close()
        shutil.rmtree(home, ignore_errors=True)


def test_what_was_acknowledged_before_the_point_is_there_and_runs_to_its_end(lost: Lost) -> None:
    drill = lost(None)
    drill.restore()
    drill.look()
    drill.refill()
    drill.go_on()
    drill.check()

    outcome = drill.outcome
    assert outcome.wrong == []
    assert outcome.checked is not None
    assert outcome.checked.violations == []
    assert outcome.is_good
    assert outcome.checked.facts["acknowledged-kept"] > 50
    assert outcome.checked.facts["drained"] > 50
    assert outcome.facts["jobs of these that ran again"] > 0
    ready, doorbells = outcome.facts["ready jobs, and doorbells in the broker"]
    assert doorbells >= ready > 0
    told = as_json(outcome)
    assert told["good"]
    assert len(told["facts"]["beyond the point"]) >= 20
    assert {"RPO: lost with the disk", "RTO: PostgreSQL takes writes", "RTO: the API accepts"} <= told["seconds"].keys()
    assert "nothing acknowledged before the point is missing" in as_markdown(outcome)


def test_a_drill_whose_broker_is_rabbitmq_finds_nothing_wrong_either() -> None:
    try:
        find_or_install()
    except NotInstalled as error:
        unavailable(str(error))
    home = Path(tempfile.mkdtemp(prefix="penstock-drill-"))
    home.chmod(0o711)
    try:
        outcome = Drill(Options(seed=5, seconds=6.0, broker="rabbitmq"), home, print).execute()
    finally:
        shutil.rmtree(home, ignore_errors=True)

    assert outcome.wrong == []
    assert outcome.is_good
    ready, doorbells = outcome.facts["ready jobs, and doorbells in the broker"]
    assert doorbells >= ready > 0
    assert outcome.options.command == "make restore-drill SEED=5 SECONDS=6 BROKER=rabbitmq"


def test_a_job_that_is_missing_after_the_restore_is_named(lost: Lost) -> None:
    drill = lost(Plant.ROW)
    drill.restore()
    drill.look()

    assert any("was acknowledged before the point, and is not there" in wrong for wrong in drill.outcome.wrong)
    assert not drill.outcome.is_good
    assert "NOT GOOD" in as_markdown(drill.outcome)


def test_a_restore_that_went_beyond_the_point_is_no_restore_to_it(lost: Lost) -> None:
    drill = lost(Plant.LATE)
    drill.restore()
    drill.look()

    assert any("was asked for after the point, and is there" in wrong for wrong in drill.outcome.wrong)


def test_a_file_of_wal_that_is_missing_is_named_before_anything_is_restored(lost: Lost) -> None:
    drill = lost(Plant.WAL)

    with pytest.raises(BackupFailed, match=r"the archive has a gap: what follows .* is missing"):
        drill.restore()
