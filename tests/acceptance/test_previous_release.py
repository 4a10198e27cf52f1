"""The release before goes on working on the newest schema: a rolling deployment needs that, and a way back."""

from pathlib import Path

import pytest

from tests.acceptance import previous_release
from tests.acceptance.previous_release import NoHistoryError


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """The code of the release before, where the newest revision is the schema's."""
    try:
        previous_release.unpack(previous_release.previous(), tmp_path)
    except NoHistoryError as error:
        pytest.skip(str(error))  # in CI as well: no test fetches what the clone left out, and the summary names it
    return tmp_path


def test_the_release_before_passes_its_tests_on_the_newest_schema(release: Path) -> None:
    done = previous_release.run(release)

    assert done.returncode == 0, done.stdout[-4000:]


def test_what_is_missing_on_the_schema_fails_its_tests(release: Path) -> None:
    """A release that needs what the schema lacks is found: here, one whose jobs have a column more."""
    tables = release / "jobs" / "tables.py"
    tags = 'Column("tags", ARRAY(Text)'
    tables.write_text(tables.read_text().replace(tags, f'Column("colour", Text), {tags}', 1))

    done = previous_release.run(release, ["-x", "tests/integration/jobs/test_control.py"])

    assert done.returncode == 1
    assert "column jobs.colour does not exist" in done.stdout
